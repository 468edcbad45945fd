"""What becomes of the catalogue when its database is not there, not ready, not ours, or gone in the middle."""

from __future__ import annotations

import fcntl
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from catalogues import Place, held, new_dataset
from postgres import Postgres, migrations, run
from pydantic import SecretStr
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import make_url

from trainmaster.catalog import database
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.database import connection_options
from trainmaster.catalog.datasets import DatasetPage
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError, UploadUnderWayError

PASSWORD = "s3cr3t-pa55"


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.migrated()
    yield made
    postgres.drop(made)


@pytest.fixture
def catalogue(url: str, tmp_path: Path) -> Iterator[Catalogue]:
    opened = open_catalogue(url, tmp_path)
    yield opened
    opened.close()


class TestSqlite:
    def test_the_first_use_makes_it_whoever_is_first(self, tmp_path: Path, user: uuid.UUID) -> None:
        for n in range(5):
            place, gate = Place(None, tmp_path / "not" / "there" / str(n)), threading.Barrier(8)

            def use(place: Place, gate: threading.Barrier) -> DatasetPage:
                gate.wait()
                opened = place.open()
                try:
                    return opened.datasets.page(user)
                finally:
                    opened.close()

            with ThreadPoolExecutor(8) as threads:
                assert set(map(str, threads.map(use, [place] * 8, [gate] * 8))) == {str(DatasetPage([], None))}
            with closing(sqlite3.connect(place.state_dir / "catalog.db")) as connection:
                assert connection.execute("pragma journal_mode").fetchone() == ("wal",)

    def test_its_folder_is_nobody_elses_to_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "not there yet"
        Place(None, folder).open().close()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_who_is_second_waits_until_the_first_has_made_it(self, tmp_path: Path) -> None:
        """Of processes that switch a new file to WAL at once, a few in a thousand are told that it is locked."""
        with ThreadPoolExecutor(1) as threads:
            with (tmp_path / "catalog.lock").open("a") as first:
                fcntl.flock(first, fcntl.LOCK_EX)
                second = threads.submit(Place(None, tmp_path).open)
                assert not wait([second], timeout=0.3).done
                assert not (tmp_path / "catalog.db").exists()
            second.result(timeout=60).close()

    def test_names_are_found_whatever_the_case_of_any_alphabet(self, tmp_path: Path, user: uuid.UUID) -> None:
        catalogue = Place(None, tmp_path).open()
        catalogue.datasets.insert(new_dataset(user, name="ÄTNA кошки"))
        assert len(catalogue.datasets.page(user, name="ätna КОШКИ").datasets) == 1
        catalogue.close()

    def test_what_one_wrote_another_reads(self, tmp_path: Path, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        first = Place(None, tmp_path).open()
        first.datasets.insert(dataset)
        first.close()
        second = Place(None, tmp_path).open()
        assert second.datasets.get(dataset.id, user) == dataset
        second.close()

    def test_a_file_of_an_earlier_version_gets_what_it_lacks_and_keeps_what_it_has(
        self, tmp_path: Path, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        first = Place(None, tmp_path).open()
        first.datasets.insert(dataset)
        had = held(first, new_dataset(user, ("s3",)))
        first.close()
        with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
            whole = sorted(
                connection.execute("select type, name, sql from sqlite_master where name not like 'sqlite_%'")
            )
            connection.executescript(
                """
                drop table dataset_hindrances; drop table dataset_moves;
                drop index dataset_copies_verified_idx; drop index training_datasets_path_idx;
                alter table dataset_copies drop column version;
                alter table pending_objects drop column upload_id;
                alter table pending_objects drop column part_size;
                alter table pending_objects drop column source_version;
                """
            )
        with ThreadPoolExecutor(4) as threads:  # any of several may be the first of the new version
            opened = list(threads.map(lambda _: Place(None, tmp_path).open(), range(4)))
        second = opened[0]
        assert second.datasets.get(dataset.id, user) == dataset
        second.migrations.begun(had, upload_id="u", part_size=1, source_version="v")
        assert held(second, new_dataset(user, id=had.dataset_id, providers=("s3",))).upload_id == "u"
        assert second.migrations.moves(dataset.id) == []
        for each in opened:
            each.close()
        with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
            now = sorted(connection.execute("select type, name, sql from sqlite_master where name not like 'sqlite_%'"))
        assert [(kind, name) for kind, name, _ in now] == [(kind, name) for kind, name, _ in whole]

    def test_it_waits_for_another_writer_and_then_says_later(
        self, tmp_path: Path, user: uuid.UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
        catalogue = Place(None, tmp_path).open()
        other = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(CatalogueUnavailableError, match="database is locked"):
            catalogue.datasets.insert(new_dataset(user))
        assert catalogue.datasets.page(user).datasets == []  # readers need not wait
        other.close()
        catalogue.datasets.insert(new_dataset(user))
        catalogue.close()

    def test_a_folder_that_cannot_be_made_is_a_clear_refusal(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(NotConfiguredError, match="TRAINMASTER_STATE_DIR"):
            Place(None, tmp_path / "file" / "state").open()

    def test_a_file_that_is_no_database_is_a_clear_refusal(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").write_text("not a database, however long it goes on\n" * 100)
        with pytest.raises(NotConfiguredError, match="file is not a database"):
            Place(None, tmp_path).open()


class TestPostgres:
    def test_either_spelling_of_the_address_is_taken(self, url: str, tmp_path: Path, user: uuid.UUID) -> None:
        for address in (url, url.replace("postgresql://", "postgres://"), SecretStr(url)):
            opened = open_catalogue(address, tmp_path)
            assert opened.datasets.page(user).datasets == []
            opened.close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("applied", [None, 0, 1])
    def test_without_the_migrations_it_says_which_to_apply(
        self, postgres: Postgres, tmp_path: Path, user: uuid.UUID, applied: int | None
    ) -> None:
        url = postgres.empty() if applied is None else postgres.before()
        for file in migrations()[: applied or 0]:
            run(url, file.read_text())
        opened = open_catalogue(url, tmp_path)
        with pytest.raises(NotConfiguredError, match=r"Apply the migrations of deployments/supabase/migrations"):
            opened.datasets.page(user)
        with pytest.raises(NotConfiguredError, match="Apply the migrations"):
            held(opened, new_dataset(user))
        opened.close()
        with psycopg.connect(url) as connection:
            query = "select count(*) from pg_tables where tablename in ('dataset_copies', 'pending_objects')"
            assert connection.execute(query).fetchone() == (0,)
        postgres.drop(url)

    @pytest.mark.parametrize("wrong", [{"username": "nobody"}, {"database": "nowhere"}])
    def test_a_login_that_fails_is_said_with_what_to_check(
        self, url: str, tmp_path: Path, user: uuid.UUID, wrong: dict[str, str]
    ) -> None:
        """It may be a server that is starting, or an address that was never right: PostgreSQL's library does not say which."""
        opened = open_catalogue(make_url(url).set(**wrong).render_as_string(hide_password=False), tmp_path)
        with pytest.raises(CatalogueUnavailableError, match=r"(?s)FATAL.*check DATABASE_URL"):
            opened.datasets.page(user)
        opened.close()

    def test_a_connection_lost_between_two_uses_is_made_anew(
        self, url: str, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        catalogue.datasets.page(user)
        end_connections(url)
        assert catalogue.datasets.page(user).datasets == []

    def test_a_connection_lost_in_the_middle_may_pass_and_leaves_nothing(
        self, url: str, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        insert = text("insert into training_configs (user_id, name, config_json) values (:u, 'n', '{}')")

        def write() -> None:
            with catalogue.database.writing() as connection:
                connection.execute(insert, {"u": user})
                end_connections(url)
                connection.execute(text("select 1"))

        with pytest.raises(CatalogueUnavailableError):
            write()
        with catalogue.database.reading() as connection:
            query = text("select count(*) from training_configs where user_id = :u")
            assert connection.execute(query, {"u": user}).scalar_one() == 0

    def test_a_row_another_holds_too_long_may_pass(
        self, url: str, tmp_path: Path, user: uuid.UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "LOCK_SECONDS", 0.2)
        opened = open_catalogue(url, tmp_path)
        dataset = new_dataset(user, ("supabase", "s3"))
        opened.datasets.insert(dataset)
        with psycopg.connect(url) as other:
            other.execute("select * from training_datasets where id = %s for update", [dataset.id])
            with pytest.raises(CatalogueUnavailableError, match="lock timeout"):
                opened.datasets.add_copy(dataset.id, user, dataset.copies[0])
        assert opened.datasets.add_copy(dataset.id, user, dataset.copies[0]) == dataset
        opened.close()

    def test_a_dataset_deleted_while_it_is_found_to_be_there_already_may_be_inserted_later(
        self, url: str, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)

        def delete_it(connection: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO training_datasets"):
                run(url, f"delete from training_datasets where id = '{dataset.id}'")  # noqa: S608

        event.listen(Engine, "after_cursor_execute", delete_it)
        try:
            with pytest.raises(UploadUnderWayError, match="deleted at this moment"):
                catalogue.datasets.insert(dataset)
        finally:
            event.remove(Engine, "after_cursor_execute", delete_it)
        assert catalogue.datasets.insert(dataset) == dataset

    def test_a_statement_that_takes_too_long_may_pass(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "STATEMENT_SECONDS", 2)
        opened = open_catalogue(url, tmp_path)
        with (
            pytest.raises(CatalogueUnavailableError, match="statement timeout"),
            opened.database.reading() as connection,
        ):
            connection.execute(text("select pg_sleep(60)"))
        opened.close()

    def test_of_transactions_that_cannot_both_be_one_may_be_tried_again(
        self, url: str, tmp_path: Path, user: uuid.UUID
    ) -> None:
        strict = make_url(url).update_query_dict({"options": "-c default_transaction_isolation=serializable"})
        catalogue = open_catalogue(strict.render_as_string(hide_password=False), tmp_path)
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        change = text("update training_datasets set name = name || 'x' where id = :id")

        def cross() -> None:
            with catalogue.database.writing() as one:
                one.execute(text("select count(*) from training_datasets"))
                with catalogue.database.writing() as other:
                    other.execute(change, {"id": dataset.id})
                one.execute(change, {"id": dataset.id})

        with pytest.raises(CatalogueUnavailableError, match="could not serialize"):
            cross()
        catalogue.close()

    def test_it_takes_no_more_connections_than_it_says(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "CONNECTIONS", 1)
        monkeypatch.setattr(database, "POOL_SECONDS", 0.2)
        opened = open_catalogue(url, tmp_path)
        with (
            opened.database.reading(),
            pytest.raises(CatalogueUnavailableError, match="all 1 connections are in use"),
            opened.database.reading(),
        ):
            pass
        opened.close()

    def test_times_are_utc_whatever_the_session_thinks(self, url: str, tmp_path: Path, user: uuid.UUID) -> None:
        east = make_url(url).update_query_dict({"options": "-c timezone=Asia/Kathmandu"})
        opened = open_catalogue(east.render_as_string(hide_password=False), tmp_path)
        dataset = new_dataset(user)
        opened.datasets.insert(dataset)
        found = opened.datasets.get(dataset.id, user)
        assert found == dataset
        assert str(found.created_at.utcoffset()) == "0:00:00"
        assert held(opened, new_dataset(user)).lease_until.utcoffset() == timedelta(0)
        opened.close()

    @pytest.mark.parametrize(("asked", "kept"), [({}, True), ({"pgbouncer": "true", "connection_limit": "1"}, False)])
    def test_behind_a_transaction_pooler_no_statement_is_prepared(
        self, url: str, tmp_path: Path, user: uuid.UUID, asked: dict[str, str], kept: bool
    ) -> None:
        address = make_url(url).update_query_dict(asked).render_as_string(hide_password=False)
        opened = open_catalogue(address, tmp_path)
        for _ in range(10):
            opened.datasets.page(user)
        with opened.database.reading() as connection:
            count = connection.execute(text("select count(*) from pg_prepared_statements")).scalar_one()
        assert (count > 0) is kept
        opened.close()


class TestAddresses:
    def test_the_transaction_poolers_port_alone_is_enough(self) -> None:
        address = "postgresql://u@db.example:{}/postgres"
        assert connection_options(make_url(address.format(6543)))["prepare_threshold"] is None
        assert "prepare_threshold" not in connection_options(make_url(address.format(5432)))

    def test_a_server_that_is_not_there_may_come_back_and_the_password_is_not_said(
        self, tmp_path: Path, user: uuid.UUID
    ) -> None:
        opened = open_catalogue(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db", tmp_path)
        with pytest.raises(CatalogueUnavailableError, match=r"127\.0\.0\.1") as failure:
            opened.datasets.page(user)
        assert_not_said(failure.value)
        assert PASSWORD not in repr(opened) + repr(opened.database) + str(opened.datasets)

    @pytest.mark.parametrize(
        "address",
        [
            "",
            PASSWORD,
            f"https://u:{PASSWORD}@db.example/x",
            f"mysql://u:{PASSWORD}@db.example/x",
            f"postgresql://u:x@db.example:{PASSWORD}/x",  # where the port should be
        ],
    )
    def test_what_is_no_address_is_refused_without_saying_it(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(NotConfiguredError, match="DATABASE_URL is not an address of PostgreSQL") as refusal:
            open_catalogue(address, tmp_path)
        assert_not_said(refusal.value)

    def test_a_wrong_option_in_the_address_is_refused_without_saying_it(self, tmp_path: Path, user: uuid.UUID) -> None:
        opened = open_catalogue(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db?nonsense=1", tmp_path)
        with pytest.raises(NotConfiguredError, match="nonsense") as refusal:
            opened.datasets.page(user)
        assert_not_said(refusal.value)


class TestTheServerOfTheTests:
    def test_it_goes_when_its_starter_is_killed(self) -> None:
        helper = Path(__file__).parents[1] / "postgres.py"
        script = "import os, signal; from postgres import Postgres; print(Postgres().folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        environment = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"}  # and no TEST_DATABASE_URL
        ended = subprocess.run(
            [sys.executable, "-c", script],
            cwd=helper.parent,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        folder = Path(ended.stdout.strip())
        assert folder.name.startswith("trainmaster-postgres-")
        assert gone_within(folder, timedelta(seconds=30))


def assert_not_said(error: BaseException) -> None:
    """Neither in the error nor in any that led to it."""
    one: BaseException | None = error
    while one is not None:
        assert PASSWORD not in str(one) + repr(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def end_connections(url: str) -> None:
    """End every other connection to the database, as a restart or a network does."""
    query = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    run(url, query)


def gone_within(folder: Path, limit: timedelta) -> bool:
    end = time.monotonic() + limit.total_seconds()
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return not folder.exists()
