"""Uploads: exactly once, in every store that was chosen, and nothing half-way when something fails."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from sqlalchemy import text
from waiting import until
from watched_stores import WatchedStores, watched

from trainmaster.catalog.pending import PendingObject, PendingObjects
from trainmaster.errors import (
    DatasetMissingError,
    DatasetRefusedError,
    LeaseLostError,
    NotConfiguredError,
    StorageUnavailableError,
    UploadUnderWayError,
)
from trainmaster.storage import intake
from trainmaster.storage.library import Library
from trainmaster.storage.removing import delete_dataset, sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import upload

BOTH = [SUPABASE, S3]


def without_s3(shelves: Shelves) -> Library:
    """S3 does not answer, at all."""
    return replace(shelves.library, stores=Stores(shelves.settings, nowhere))


def nowhere() -> Any:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}", region_name="us-east-1",
            aws_access_key_id="x", aws_secret_access_key="y", config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip


def upload_of(shelves: Shelves, obj: str) -> Any:
    """The mark that each upload puts on its object: another mark, another upload."""
    provider, _, path = obj.partition("://")
    found = shelves.store(StorageProvider(provider)).stat(path)
    assert found
    assert found.metadata
    return found.metadata["upload"]


class TestStoring:
    @pytest.mark.parametrize(("storage", "providers"), [("supabase", [SUPABASE]), ("s3", [S3]), ("both", BOTH)])
    def test_a_dataset_goes_where_it_was_asked_to(
        self, storage: str, providers: list[StorageProvider], shelves: Shelves
    ) -> None:
        request = shelves.request(chats(), storage=storage, description="what people asked")
        assert intake.providers_of(request) == providers
        done = upload(shelves.library, shelves.sound(request), providers)
        folders = {SUPABASE: "private", S3: "datasets"}
        paths = {at: f"{shelves.user_id}/{folders[at]}/{done.dataset_id}.jsonl.gz" for at in providers}
        assert shelves.objects() == {f"{at}://{path}" for at, path in paths.items()}
        for at, path in paths.items():
            assert shelves.content(at, path) == [json.loads(line) for line in chats()]
            assert [copy.uri for copy in done.copies if copy.provider == at] == [
                f"{at}://{shelves.store(at).bucket}/{path}"
            ]
        assert (done.storage_provider, done.found, done.warnings) == (providers[0], False, [])
        assert all(copy.sent for copy in done.copies)
        assert shelves.pending() == 0

    def test_the_catalogue_keeps_what_was_found(self, shelves: Shelves) -> None:
        request = shelves.request(chats(4), description="what people asked")
        new = shelves.sound(request)
        upload(shelves.library, new, [S3])
        row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
        assert row
        assert (row.name, row.description, row.format) == ("my chats", "what people asked", "chatml")
        assert (row.storage_provider, row.total_examples) == ("s3", 4)
        assert row.file_size_bytes == new.written.size == new.normalised.stat().st_size
        assert row.avg_input_length == new.report.statistics.avg_input_length
        assert row.metadata
        assert row.metadata["normalised"]["sha256"] == hashlib.sha256(new.normalised.read_bytes()).hexdigest()
        assert row.metadata["source"]["uri"] == request.file
        assert row.metadata["statistics"]["quality"]["score"] == new.report.statistics.quality.score
        assert "problems" not in row.metadata

    def test_users_and_names_and_contents_make_datasets(self, shelves: Shelves, embedded: Any, tmp_path: Path) -> None:
        other = Shelves(embedded.environment, tmp_path)
        news = [
            shelves.sound(shelves.request(chats())),
            shelves.sound(shelves.request(chats(), name="another name")),
            shelves.sound(shelves.request(chats(4))),
            shelves.sound(shelves.request(chats(), format="jsonl")),
            other.sound(other.request(chats())),
        ]
        assert len({new.id for new in news}) == len(news)
        assert shelves.sound(shelves.request(chats(), description="other words")).id == news[0].id
        other.catalogue.close()


class TestAgain:
    def test_the_same_upload_finds_the_dataset_and_moves_no_byte(self, shelves: Shelves) -> None:
        first = upload(shelves.library, shelves.sound(shelves.request(chats())), BOTH)
        marks = {obj: upload_of(shelves, obj) for obj in shelves.objects()}
        calls: list[str] = []

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            calls.append("put")
            return real(*args, **kwargs)

        again = upload(watched(shelves, put=put), shelves.sound(shelves.request(chats())), BOTH)
        assert (again.found, again.dataset_id, calls) == (True, first.dataset_id, [])
        assert [copy.sent for copy in again.copies] == [False, False]
        assert {obj: upload_of(shelves, obj) for obj in shelves.objects()} == marks
        assert (shelves.rows(), shelves.pending()) == (1, 0)
        assert "nothing was sent" in again.sentence()

    def test_asking_for_both_adds_the_missing_copy_only(self, shelves: Shelves) -> None:
        upload(shelves.library, shelves.sound(shelves.request(chats())), [S3])
        [there] = shelves.objects()
        mark = upload_of(shelves, there)
        done = upload(shelves.library, shelves.sound(shelves.request(chats())), BOTH)
        assert {copy.provider: copy.sent for copy in done.copies} == {"supabase": True, "s3": False}
        assert (done.storage_provider, upload_of(shelves, there)) == ("s3", mark)

    def test_what_was_lost_of_a_catalogued_dataset_is_put_back(self, shelves: Shelves) -> None:
        done = upload(shelves.library, shelves.sound(shelves.request(chats())), BOTH)
        path = f"{shelves.user_id}/datasets/{done.dataset_id}.jsonl.gz"
        shelves.store(S3).delete(path)
        again = upload(shelves.library, shelves.sound(shelves.request(chats())), BOTH)
        assert {copy.provider: copy.sent for copy in again.copies} == {"supabase": False, "s3": True}
        assert len(shelves.content(S3, path)) == 3

    def test_another_description_is_not_taken_and_that_is_said(self, shelves: Shelves) -> None:
        upload(shelves.library, shelves.sound(shelves.request(chats(), description="as it was")), [S3])
        again = upload(shelves.library, shelves.sound(shelves.request(chats(), description="other")), [S3])
        assert again.warnings == ["It was catalogued before as 'as it was'; that description was left as it is."]

    def test_of_many_at_once_one_stores_it_and_none_is_harmed(self, shelves: Shelves) -> None:
        new, gate = shelves.sound(shelves.request(chats())), threading.Barrier(6)
        done, waited, failed = list[Any](), list[Any](), list[BaseException]()

        def run() -> None:
            gate.wait()
            try:
                done.append(upload(shelves.library, new, BOTH))
            except UploadUnderWayError as error:
                waited.append(error)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failed.append(error)

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert done
        assert sum(copy.sent for one in done for copy in one.copies) <= 2
        assert not upload(shelves.library, new, BOTH).warnings
        assert (shelves.rows(), shelves.pending(), len(shelves.objects())) == (1, 0, 2)


class TestDropped:
    def test_what_was_dropped_is_kept_beside_each_copy_and_goes_with_the_dataset(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
        done = upload(shelves.library, new, BOTH)
        assert done.dropped_examples == 1
        dropped = {obj for obj in shelves.objects() if obj.endswith(f"{done.dataset_id}.dropped.jsonl.gz")}
        assert len(dropped) == 2
        for obj in dropped:
            provider, _, path = obj.partition("://")
            [kept] = shelves.content(StorageProvider(provider), path)
            assert "no list" in json.dumps(kept)
        row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
        assert row
        assert row.metadata
        assert row.metadata["dropped"]["examples"] == 1
        assert len(delete_dataset(shelves.library, new.id, shelves.user_id).objects) == 2
        assert shelves.objects() == set()

    def test_other_dropped_examples_are_another_dataset_though_what_is_left_is_the_same(self, shelves: Shelves) -> None:
        """Else the second upload would find the first, and its dropped examples would be lost."""
        news = [
            shelves.sound(shelves.request([*chats(9), *bad], max_bad_fraction=0.3))
            for bad in ([], [BAD], [BAD.replace("no list", "no list either")])
        ]
        assert len({new.written.sha256 for new in news}) == 1
        assert len({upload(shelves.library, new, [S3]).dataset_id for new in news}) == 3

    def test_they_are_removed_with_what_an_upload_left(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
        refuse_rows(shelves)
        with pytest.raises(DatasetRefusedError):
            upload(shelves.library, new, [S3])
        assert shelves.objects() == set()


def refuse_rows(shelves: Shelves) -> None:
    """The database takes no dataset any more."""
    with shelves.catalogue.database.writing() as connection:
        connection.execute(
            text("create trigger no_more before insert on training_datasets begin select raise(abort, 'no more'); end")
        )


def take_rows(shelves: Shelves) -> None:
    with shelves.catalogue.database.writing() as connection:
        connection.execute(text("drop trigger no_more"))


class TestFailures:
    def test_a_second_copy_that_fails_is_a_warning_and_the_same_upload_adds_it(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))
        done = upload(without_s3(shelves), new, BOTH)
        assert [copy.provider for copy in done.copies] == ["supabase"]
        [warning] = done.warnings
        assert warning.startswith("There is no copy in s3: ")
        assert "Run the same upload again to add it" in warning
        assert any(row["value"] == warning for row in done.table())
        assert shelves.pending() == 0
        again = upload(shelves.library, new, BOTH)
        assert {copy.provider: copy.sent for copy in again.copies} == {"supabase": False, "s3": True}
        assert again.warnings == []

    def test_a_first_copy_that_fails_leaves_the_second_to_readers(self, shelves: Shelves) -> None:
        done = upload(without_s3(shelves), shelves.sound(shelves.request(chats())), [S3, SUPABASE])
        assert (done.storage_provider, len(done.copies), len(done.warnings)) == ("supabase", 1, 1)

    def test_when_every_copy_fails_so_does_the_upload_and_leaves_nothing(self, shelves: Shelves) -> None:
        with pytest.raises(StorageUnavailableError):
            upload(without_s3(shelves), shelves.sound(shelves.request(chats())), [S3])
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())

    def test_a_copy_asked_for_alone_that_fails_is_no_success_because_of_another(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))
        upload(shelves.library, new, [SUPABASE])
        with pytest.raises(StorageUnavailableError):
            upload(without_s3(shelves), new, [S3])

    def test_a_bucket_that_is_not_there_is_refused_by_name(self, shelves: Shelves) -> None:
        elsewhere = shelves.settings.model_copy(update={"dataset_bucket": "not-there-{user_id}"})
        library = replace(shelves.library, stores=Stores(elsewhere, lambda: shelves.s3))
        with pytest.raises(NotConfiguredError, match=f"not-there-{shelves.user_id}"):
            intake.require_stores(library, shelves.request(chats(), storage="s3"), shelves.settings)

    def test_a_row_the_catalogue_refuses_takes_its_object_with_it(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))
        refuse_rows(shelves)
        for provider in BOTH:
            with pytest.raises(DatasetRefusedError, match="no more"):
                upload(shelves.library, new, [provider])
            assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())
        take_rows(shelves)
        assert upload(shelves.library, new, BOTH).warnings == []

    def test_an_object_that_cannot_be_removed_stays_claimed_until_a_sweep_can(self, shelves: Shelves) -> None:
        def delete(_real: Callable[..., bool], key: str) -> bool:
            raise StorageUnavailableError(f"{key} cannot be removed now")

        new = shelves.sound(shelves.request(chats()))
        refuse_rows(shelves)
        with pytest.raises(DatasetRefusedError, match="no more"):
            upload(watched(shelves, delete=delete), new, [S3])
        assert (shelves.rows(), shelves.pending(), len(shelves.objects())) == (0, 1, 1)
        assert sweep(shelves.library).objects == []  # its claim has not run out
        shelves.run_out()
        [left] = sweep(watched(shelves, delete=delete)).left
        assert "cannot be removed now" in left
        shelves.run_out()
        assert sweep(shelves.library, sparing=new.id).objects == []
        assert len(sweep(shelves.library).objects) == 1
        assert (shelves.pending(), shelves.objects()) == (0, set())


class TestClaims:
    def test_a_claim_is_renewed_for_as_long_as_bytes_are_on_their_way(self, shelves: Shelves) -> None:
        """More than once, each time for as long again, and nothing is taken from under it."""
        swept: list[str] = []

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            sent = real(*args, **kwargs)
            for _ in range(2):
                [had] = shelves.leases()
                until(lambda had=had: shelves.leases()[0] > had)
                swept.extend(sweep(shelves.library).objects)
            return sent

        lease = timedelta(seconds=16)  # renewed every 4: a machine may stand still for 12
        done = upload(
            replace(watched(shelves, put=put), lease=lease), shelves.sound(shelves.request(chats())), [SUPABASE]
        )
        assert (swept, done.found, len(shelves.objects())) == ([], False, 1)

    def test_an_upload_that_slept_through_its_lease_leaves_nothing_behind_the_sweep(self, shelves: Shelves) -> None:
        """As when a machine sleeps: meanwhile the claim was swept, and then the bytes arrive all the same."""

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            shelves.run_out()
            sweep(shelves.library)
            return real(*args, **kwargs)

        new = shelves.sound(shelves.request(chats()))
        with pytest.raises(LeaseLostError):
            upload(watched(shelves, put=put), new, [S3])
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())
        assert not upload(shelves.library, new, [S3]).found

    def test_one_that_slept_while_another_finished_takes_nothing_from_it(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
        others: list[Any] = []

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            if not others:
                shelves.run_out()
                others.append(upload(shelves.library, new, [S3]))
            return real(*args, **kwargs)

        done = upload(watched(shelves, put=put), new, [S3])
        assert [copy.sent for copy in done.copies] == [False]
        shelves.run_out()
        assert sweep(shelves.library).objects == []
        assert (shelves.rows(), shelves.pending(), len(shelves.objects())) == (1, 0, 2)

    def test_one_overtaken_by_another_provider_adds_its_copy_to_that_row(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            upload(shelves.library, new, [SUPABASE])
            return real(*args, **kwargs)

        done = upload(watched(shelves, put=put), new, [S3])
        assert (done.storage_provider, [copy.provider for copy in done.copies]) == ("supabase", ["supabase", "s3"])
        assert (shelves.rows(), shelves.pending(), len(shelves.objects())) == (1, 0, 2)

    def test_a_sweep_leaves_alone_what_was_taken_up_again_a_moment_ago(self, shelves: Shelves) -> None:
        new, library = shelves.sound(shelves.request(chats())), shelves.library
        upload(library, new, [S3])
        [held] = shelves.catalogue.datasets.delete(
            new.id, shelves.user_id, holder="me", lease=library.lease, buckets={}
        )
        shelves.run_out()

        class TakenUp(PendingObjects):
            def expired(self, limit: int = 100) -> Sequence[PendingObject]:
                found = super().expired(limit)
                self.renew(held, library.lease)
                return found

        catalogue = replace(library.catalogue, pending=TakenUp(library.catalogue.database))
        removed = sweep(replace(library, catalogue=catalogue))
        assert (removed.objects, removed.left, len(shelves.objects())) == ([], [], 1)

    def test_a_sweep_that_slept_while_the_same_was_uploaded_anew_removes_nothing(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
        upload(shelves.library, new, [S3])
        library = shelves.library
        shelves.catalogue.datasets.delete(new.id, shelves.user_id, holder="dead", lease=library.lease, buckets={})
        shelves.run_out()

        class Sleeping(WatchedStores):
            def at(self, provider: StorageProvider, bucket: str) -> Any:
                shelves.run_out()
                upload(library, new, [S3])
                return super().at(provider, bucket)

        asleep: Any = Sleeping(library.stores, {})
        removed = sweep(replace(library, stores=asleep))
        assert (removed.objects, removed.left) == ([], [])
        assert (shelves.rows(), shelves.pending(), len(shelves.objects())) == (1, 0, 2)

    def test_a_dataset_deleted_while_a_copy_is_added_takes_that_with_it(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))
        upload(shelves.library, new, [SUPABASE])

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            sent = real(*args, **kwargs)
            delete_dataset(shelves.library, new.id, shelves.user_id)
            return sent

        with pytest.raises(DatasetMissingError):
            upload(watched(shelves, put=put), new, [S3])
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())


class TestDeleting:
    def test_row_and_copies_go_and_a_second_time_there_is_nothing(self, shelves: Shelves) -> None:
        done = upload(shelves.library, shelves.sound(shelves.request(chats())), BOTH)
        new_id = shelves.sound(shelves.request(chats())).id
        removed = delete_dataset(shelves.library, new_id, shelves.user_id)
        assert sorted(removed.objects) == sorted(copy.uri for copy in done.copies)
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())
        with pytest.raises(DatasetMissingError, match=f"There is no dataset {new_id} of user"):
            delete_dataset(shelves.library, new_id, shelves.user_id)

    def test_another_users_dataset_is_as_missing_as_any(self, shelves: Shelves, embedded: Any, tmp_path: Path) -> None:
        new = shelves.sound(shelves.request(chats()))
        upload(shelves.library, new, [S3])
        other = Shelves(embedded.environment, tmp_path)
        with pytest.raises(DatasetMissingError):
            delete_dataset(other.library, new.id, other.user_id)
        assert len(shelves.objects()) == 1
        other.catalogue.close()

    def test_a_store_out_of_reach_leaves_its_object_to_the_sweep(self, shelves: Shelves) -> None:
        new = shelves.sound(shelves.request(chats()))
        upload(shelves.library, new, BOTH)
        removed = delete_dataset(without_s3(shelves), new.id, shelves.user_id)
        assert (len(removed.objects), len(removed.left), shelves.rows()) == (1, 1, 0)
        shelves.run_out()
        assert len(sweep(shelves.library).objects) == 1
        assert (shelves.pending(), shelves.objects()) == (0, set())

    def test_what_the_application_stored_itself_is_removed_too(self, shelves: Shelves) -> None:
        dataset_id = store_as_the_application_does(shelves)
        assert len(delete_dataset(shelves.library, dataset_id, shelves.user_id).objects) == 1
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())


def store_as_the_application_does(shelves: Shelves) -> Any:
    """A row without copies, as there are from before us."""
    new = shelves.sound(shelves.request(chats(), name="an older one"))
    upload(shelves.library, new, [SUPABASE])
    with shelves.catalogue.database.writing() as connection:
        connection.execute(text("delete from dataset_copies"))
    return new.id
