"""Datasets copied from Supabase to S3: verified, once, without moving readers, and nothing half-way when something fails."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from catalogues import at_once, insert_as_the_application
from library_shelves import BAD, S3, SUPABASE, Shelves, chats

from trainmaster.catalog.datasets import Dataset
from trainmaster.errors import (
    CorruptedUploadError,
    DatasetMissingError,
    DatasetRefusedError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
    TrainmasterError,
    UploadUnderWayError,
)
from trainmaster.storage.library import Library, dataset_path
from trainmaster.storage.migrating import migrate_dataset
from trainmaster.storage.removing import delete_dataset
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.uploading import upload


@pytest.fixture
def shelves(embedded: Any, tmp_path: Path) -> Iterator[Shelves]:
    shelves = Shelves(embedded.environment, tmp_path)
    yield shelves
    shelves.catalogue.close()


def uploaded(shelves: Shelves, *lines: str, **choices: Any) -> Dataset:
    """One that is in Supabase alone."""
    new = shelves.sound(shelves.request(lines or chats(), **choices))
    upload(shelves.library, new, [SUPABASE])
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    return row


def applications_own(shelves: Shelves, content: bytes) -> Dataset:
    """One the application stored itself: its row, its object, and nothing recorded of what is in it."""
    id_, now = uuid4(), datetime.now(UTC)
    path = dataset_path(SUPABASE, shelves.user_id, id_)
    body = io.BytesIO(content)
    sha256 = hashlib.sha256(content).hexdigest()
    shelves.store(SUPABASE).put(path, body, size=len(content), sha256=sha256, content_type="application/gzip")
    dataset = Dataset(id_, shelves.user_id, "theirs", "chatml", "supabase", path, now, now)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def migrate(shelves: Shelves, dataset: Dataset, library: Library | None = None) -> Dataset:
    return migrate_dataset(library or shelves.library, dataset, shelves.folder / "migrations")


def with_calls(shelves: Shelves, **instead: Callable[..., Any]) -> Library:
    """A library of whose stores these calls go elsewhere: each is given the store and the call's arguments."""

    def store(real: ObjectStore) -> Any:
        names = {name: getattr(real, name) for name in ("provider", "bucket", "put", "get", "stat", "delete")}
        return SimpleNamespace(**names | {name: _bound(call, real) for name, call in instead.items()})

    def home(provider: StorageProvider, user_id: Any) -> Any:
        return store(shelves.library.stores.home(provider, user_id))

    def at(provider: StorageProvider, bucket: str) -> Any:
        return store(shelves.library.stores.at(provider, bucket))

    return replace(shelves.library, stores=SimpleNamespace(home=home, at=at))  # type: ignore[arg-type]


def _bound(call: Callable[..., Any], real: ObjectStore) -> Callable[..., Any]:
    return lambda *args, **kwargs: call(real, *args, **kwargs)


def assert_nothing_came(shelves: Shelves, dataset: Dataset) -> None:
    """S3 has nothing, the row is as it was, and nobody holds anything."""
    assert [each for each in shelves.objects() if each.startswith("s3:")] == []
    assert shelves.pending() == 0
    row = shelves.catalogue.datasets.get(dataset.id, dataset.user_id)
    assert row is None or row.copy_at("s3") is None


class TestCopying:
    def test_a_copy_has_the_very_bytes_and_readers_stay_where_they_are(self, shelves: Shelves) -> None:
        before = uploaded(shelves)
        after = migrate(shelves, before)
        [theirs, ours] = [after.copy_at("supabase"), after.copy_at("s3")]
        assert theirs
        assert ours
        assert (ours.sha256, ours.size_bytes) == (theirs.sha256, theirs.size_bytes)
        assert ours.path == f"{shelves.user_id}/datasets/{before.id}.jsonl.gz"
        assert ours.verified_by.startswith("trainmaster migrate ")
        assert (after.storage_provider, after.storage_path) == ("supabase", before.storage_path)
        assert after.updated_at == before.updated_at
        with shelves.store(S3).get(ours.path) as chunks:
            assert hashlib.sha256(b"".join(chunks)).hexdigest() == ours.sha256
        assert shelves.pending() == 0
        assert [found.name for found in (shelves.folder / "migrations").iterdir()] == [".lock"]

    def test_what_was_dropped_is_copied_too_and_goes_with_the_dataset(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        migrate(shelves, dataset)
        assert len([each for each in shelves.objects() if each.endswith(".dropped.jsonl.gz")]) == 2
        delete_dataset(shelves.library, dataset.id, shelves.user_id)
        assert shelves.objects() == set()

    def test_what_the_application_stored_itself_is_copied_and_its_content_recorded(self, shelves: Shelves) -> None:
        content = gzip.compress("".join(f"{line}\n" for line in chats(200)).encode())
        done = migrate(shelves, applications_own(shelves, content))
        [copy] = done.copies
        assert (copy.provider, copy.size_bytes) == ("s3", len(content))
        assert copy.sha256 == hashlib.sha256(content).hexdigest()

    def test_again_moves_no_byte(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        first = migrate(shelves, dataset)

        def never(_real: ObjectStore, *_args: Any, **_kwargs: Any) -> Any:
            raise AssertionError("bytes were moved")

        assert migrate(shelves, dataset, with_calls(shelves, get=never, put=never)) == first

    def test_of_many_at_once_one_copies_and_the_others_are_told_or_find_it(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        sent: list[str] = []

        def put(real: ObjectStore, key: str, *args: Any, **kwargs: Any) -> bool:
            sent.append(key)
            return real.put(key, *args, **kwargs)

        done = at_once(6, lambda _: migrate(shelves, dataset, with_calls(shelves, put=put)))
        assert len(sent) == 1
        copied = [each for each in done if isinstance(each, Dataset)]
        assert copied
        assert all(isinstance(each, UploadUnderWayError) for each in done if each not in copied)
        assert (len(shelves.objects()), shelves.pending()) == (2, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (gzip.compress(b"{}\n" * 9000)[:-20], "gzip data that breaks off"),
            (gzip.compress(b"{}\n") + b"tail", "something else after the end"),
            (gzip.compress(b"{}\n" * 99)[:-8] + b"\0" * 8, "damaged gzip"),
            (b'{"messages": []}\n', "is not gzip"),
            (b"", "is not gzip"),
        ],
        ids=["cut", "tail", "checksum", "plain", "empty"],
    )
    def test_what_is_no_whole_gzip_is_refused(self, content: bytes, said: str, shelves: Shelves) -> None:
        dataset = applications_own(shelves, content)
        with pytest.raises(DatasetRefusedError, match=said):
            migrate(shelves, dataset)
        assert_nothing_came(shelves, dataset)

    def test_other_bytes_than_were_catalogued_are_refused(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        store, other = shelves.store(SUPABASE), gzip.compress(b"{}\n")
        store.delete(dataset.storage_path)
        sha256 = hashlib.sha256(other).hexdigest()
        store.put(
            dataset.storage_path, io.BytesIO(other), size=len(other), sha256=sha256, content_type="application/gzip"
        )
        with pytest.raises(CorruptedUploadError, match="Nothing was copied"):
            migrate(shelves, dataset)
        assert_nothing_came(shelves, dataset)

    def test_a_source_that_is_gone_is_said(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        with pytest.raises(ObjectMissingError, match=str(dataset.id)):
            migrate(shelves, dataset)
        assert_nothing_came(shelves, dataset)

    def test_a_source_that_is_replaced_while_it_is_read_is_not_copied(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, gzip.compress(b"{}\n"))
        looked: list[str] = []

        def stat(real: ObjectStore, key: str) -> Any:
            if real.provider is SUPABASE and key in looked:  # the second look: somebody was there in between
                shelves.store(SUPABASE).delete(key)
                new = gzip.compress(b"[]\n")
                sha256 = hashlib.sha256(new).hexdigest()
                real.put(key, io.BytesIO(new), size=len(new), sha256=sha256, content_type="application/gzip")
            looked.append(key)
            return real.stat(key)

        with pytest.raises(ObjectChangedError):
            migrate(shelves, dataset, with_calls(shelves, stat=stat))
        assert_nothing_came(shelves, dataset)

    def test_a_dataset_that_is_deleted_meanwhile_leaves_nothing(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)

        def put(real: ObjectStore, *args: Any, **kwargs: Any) -> bool:
            delete_dataset(shelves.library, dataset.id, shelves.user_id)
            return real.put(*args, **kwargs)

        with pytest.raises(DatasetMissingError):
            migrate(shelves, dataset, with_calls(shelves, put=put))
        assert (shelves.objects(), shelves.pending()) == (set(), 0)

    def test_a_dataset_that_was_never_there_is_missing(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        delete_dataset(shelves.library, dataset.id, shelves.user_id)
        with pytest.raises(DatasetMissingError):
            migrate(shelves, dataset)
        assert (shelves.objects(), shelves.pending()) == (set(), 0)

    def test_a_row_that_names_somebody_elses_object_is_refused(self, shelves: Shelves) -> None:
        dataset = replace(
            applications_own(shelves, gzip.compress(b"{}\n")), id=uuid4(), storage_path=f"{uuid4()}/private/x.jsonl.gz"
        )
        insert_as_the_application(shelves.catalogue, dataset)
        with pytest.raises(DatasetRefusedError, match="names no object of its user"):
            migrate(shelves, dataset)
        assert_nothing_came(shelves, dataset)


class TestTroubles:
    def test_too_little_room_is_said_before_a_byte_is_fetched(
        self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = uploaded(shelves)
        usage = shutil.disk_usage(shelves.folder)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
        with pytest.raises(StorageUnavailableError, match="10 are free"):
            migrate(shelves, dataset)
        assert_nothing_came(shelves, dataset)

    def test_what_a_dead_try_left_of_an_older_source_is_replaced(self, shelves: Shelves) -> None:
        dataset, old = uploaded(shelves), gzip.compress(b"old")
        path = dataset_path(S3, shelves.user_id, dataset.id)
        sha256 = hashlib.sha256(old).hexdigest()
        shelves.store(S3).put(path, io.BytesIO(old), size=len(old), sha256=sha256, content_type="application/gzip")
        copy = migrate(shelves, dataset).copy_at("s3")
        assert copy
        found = shelves.store(S3).stat(copy.path)
        assert found
        assert found.sha256 == copy.sha256 != sha256

    def test_a_store_that_fails_leaves_nothing_and_the_next_try_succeeds(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)

        def put(_real: ObjectStore, *_args: Any, **_kwargs: Any) -> bool:
            raise StorageUnavailableError("S3 is out of reach")

        with pytest.raises(StorageUnavailableError, match="out of reach"):
            migrate(shelves, dataset, with_calls(shelves, put=put))
        assert_nothing_came(shelves, dataset)
        assert migrate(shelves, dataset).copy_at("s3")

    def test_a_claim_is_kept_for_as_long_as_it_is_worked_on(self, shelves: Shelves) -> None:
        """Somebody else waits until the lease would have run out without renewal, and does not get it."""
        dataset, told, go_on = uploaded(shelves), list[TrainmasterError](), threading.Event()

        def put(real: ObjectStore, *args: Any, **kwargs: Any) -> bool:
            renewed = shelves.catalogue.pending.renew

            def noticed(*of: Any) -> Any:
                answer = renewed(*of)
                go_on.set()
                return answer

            shelves.catalogue.pending.renew = noticed  # type: ignore[method-assign]
            assert go_on.wait(60)
            try:
                migrate(shelves, dataset)
            except UploadUnderWayError as error:
                told.append(error)
            return real.put(*args, **kwargs)

        short = replace(with_calls(shelves, put=put), lease=shelves.library.lease / 60)
        assert migrate(shelves, dataset, short).copy_at("s3")
        assert len(told) == 1
