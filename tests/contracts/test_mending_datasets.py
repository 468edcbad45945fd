"""A dataset that is uploaded again is there afterwards, whatever had become of its copies, or it is said what is in the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from sqlalchemy import text
from watched_stores import watched

from trainmaster.catalog.candidates import Selection
from trainmaster.errors import (
    DatasetMissingError,
    LeaseLostError,
    NameConflictError,
    StorageUnavailableError,
    UploadUnderWayError,
)
from trainmaster.storage.library import dataset_path, dropped_path
from trainmaster.storage.removing import delete_dataset, sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import NewDataset, upload

BOTH = [SUPABASE, S3]


def stored(shelves: Shelves, providers: list[StorageProvider], *, dropping: bool = False) -> NewDataset:
    request = shelves.request([*chats(9), BAD], max_bad_fraction=0.1) if dropping else shelves.request(chats())
    new = shelves.sound(request)
    upload(shelves.library, new, providers)
    return new


def path_of(new: NewDataset, provider: StorageProvider) -> str:
    return dataset_path(provider, new.user_id, new.id)


def bytes_at(shelves: Shelves, provider: StorageProvider, path: str) -> bytes:
    with shelves.store(provider).get(path) as chunks:
        return b"".join(chunks)


def replace_by(shelves: Shelves, provider: StorageProvider, path: str, other: bytes, recorded: str = "") -> None:
    """As somebody else would; `recorded` is the SHA-256 that stays recorded beside it all the same."""
    shelves.store(provider).delete(path)
    if provider is S3:
        about = {"sha256": recorded} if recorded else {}
        shelves.s3.put_object(Bucket=shelves.store(S3).bucket, Key=path, Body=other, Metadata=about)
        return
    digest = hashlib.sha256(other).hexdigest()
    shelves.store(SUPABASE).put(path, io.BytesIO(other), size=len(other), sha256=digest, content_type="text/plain")


def flipped(content: bytes) -> bytes:
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


def hinder(shelves: Shelves, new: NewDataset, kind: Any) -> None:
    row = shelves.catalogue.datasets.get(new.id, new.user_id)
    assert row
    shelves.catalogue.migrations.hindered([(new.id, kind, "It was found so.", "Do something.", row.updated_at)])


def hindrance(shelves: Shelves, new: NewDataset) -> str | None:
    return shelves.catalogue.migrations.hindrances([new.id]).get(new.id)


@pytest.mark.parametrize("provider", BOTH)
def test_what_was_replaced_is_put_again_and_the_result_says_what_was_there(
    provider: StorageProvider, shelves: Shelves
) -> None:
    new = stored(shelves, BOTH)
    path, sound = path_of(new, provider), new.normalised.read_bytes()
    others = [b"hello", gzip.compress(b'{"not":"a chat"}'), flipped(sound)]
    for other in others:
        replace_by(shelves, provider, path, other, recorded=new.written.sha256)
        hinder(shelves, new, "damaged" if provider is S3 else "source_unsound")
        before = shelves.catalogue.datasets.get(new.id, new.user_id)
        done = upload(shelves.library, new, [provider])
        assert bytes_at(shelves, provider, path) == sound
        assert {copy.provider: copy.sent for copy in done.copies} == {each: each is provider for each in BOTH}
        [said] = done.warnings
        assert said.startswith(f"The copy in {provider} was put again: ")
        assert path in said or "gzip" in said
        after = shelves.catalogue.datasets.get(new.id, new.user_id)
        assert before
        assert after
        old, renewed = before.copy_at(provider), after.copy_at(provider)
        assert old
        assert renewed
        assert renewed.verified_at > old.verified_at
        assert renewed.version
        assert (hindrance(shelves, new), shelves.pending(), shelves.rows()) == (None, 0, 1)
        assert upload(shelves.library, new, BOTH).warnings == []


def test_the_same_object_put_there_again_by_somebody_is_read_and_left(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    replace_by(shelves, SUPABASE, path_of(new, SUPABASE), new.normalised.read_bytes())
    done = upload(shelves.library, new, [SUPABASE])
    assert ([copy.sent for copy in done.copies], done.warnings) == ([False], [])


def test_a_copy_that_is_as_it_was_verified_is_looked_at_and_not_read(shelves: Shelves) -> None:
    new, read = stored(shelves, BOTH), list[str]()

    def reading(real: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
        read.append(path)
        return real(path, *args, **kwargs)

    upload(watched(shelves, read=reading), new, BOTH)
    assert read == []
    hinder(shelves, new, "damaged")
    upload(watched(shelves, read=reading), new, BOTH)
    assert set(read) == {path_of(new, S3)}
    assert hindrance(shelves, new) is None


@pytest.mark.parametrize("kind", ["source_missing", "source_unsound"])
def test_a_source_that_was_found_wrong_is_read_whole_and_clear_once_it_is_right(kind: str, shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    hinder(shelves, new, kind)
    assert upload(shelves.library, new, [SUPABASE]).warnings == []
    assert hindrance(shelves, new) is None


def test_a_copy_that_nobody_asked_for_is_no_copy_if_nothing_is_there(shelves: Shelves) -> None:
    new = stored(shelves, BOTH)
    shelves.store(S3).delete(path_of(new, S3))
    done = upload(shelves.library, new, [SUPABASE])
    assert {copy.provider: copy.sent for copy in done.copies} == {"supabase": False, "s3": True}
    assert shelves.content(S3, path_of(new, S3))
    assert "nothing is at s3://" in done.warnings[0]


def test_a_row_from_before_copies_were_recorded_is_read_and_recorded_then(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    with shelves.catalogue.database.writing() as connection:
        connection.execute(text("delete from dataset_copies"))
    replace_by(shelves, SUPABASE, path_of(new, SUPABASE), flipped(new.normalised.read_bytes()))
    done = upload(shelves.library, new, [SUPABASE])
    assert [copy.sent for copy in done.copies] == [True]
    assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()


@pytest.mark.parametrize("provider", BOTH)
def test_what_was_dropped_is_put_again_with_the_dataset(provider: StorageProvider, shelves: Shelves) -> None:
    new = stored(shelves, [provider], dropping=True)
    path = path_of(new, provider)
    replace_by(shelves, provider, path, b"hello")
    replace_by(shelves, provider, dropped_path(path), b"rotten")
    upload(shelves.library, new, [provider])
    assert new.dropped
    assert bytes_at(shelves, provider, path) == new.normalised.read_bytes()
    assert bytes_at(shelves, provider, dropped_path(path)) == new.dropped.read_bytes()


def test_a_dataset_that_has_other_bytes_by_now_is_left_alone_and_that_is_said(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    with shelves.catalogue.database.writing() as connection:
        connection.execute(text("update dataset_copies set sha256 = :other"), {"other": "0" * 64})
    with pytest.raises(NameConflictError, match="under another name"):
        upload(shelves.library, new, [SUPABASE])
    assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()


def test_a_damaged_copy_that_was_let_go_is_not_taken_for_sound_because_of_what_is_recorded_beside_it(
    shelves: Shelves,
) -> None:
    new = stored(shelves, BOTH)
    row = shelves.catalogue.datasets.get(new.id, new.user_id)
    assert row
    ours = row.copy_at(S3)
    assert ours
    replace_by(shelves, S3, ours.path, flipped(new.normalised.read_bytes()), recorded=new.written.sha256)
    assert shelves.catalogue.migrations.damaged(new.id, ours, "Another SHA-256.", "Copy it again.", by="a test")
    done = upload(shelves.library, new, BOTH)
    assert {copy.provider: copy.sent for copy in done.copies} == {"supabase": False, "s3": True}
    assert bytes_at(shelves, S3, ours.path) == new.normalised.read_bytes()
    assert (hindrance(shelves, new), shelves.pending()) == (None, 0)


class TestInterrupted:
    @pytest.mark.parametrize("dies_at", ["delete", "put"])
    def test_one_that_dies_half_way_leaves_a_dataset_that_the_next_upload_mends(
        self, dies_at: str, shelves: Shelves
    ) -> None:
        class Killed(BaseException):
            pass

        def die(_real: Callable[..., Any], *_args: Any, **_kwargs: Any) -> Any:
            raise Killed

        new = stored(shelves, BOTH)
        replace_by(shelves, S3, path_of(new, S3), b"hello")
        with pytest.raises(Killed):
            upload(watched(shelves, **{dies_at: die}), new, [S3])
        shelves.run_out()
        assert sweep(shelves.library).objects == []
        assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()
        assert [copy.sent for copy in upload(shelves.library, new, [S3]).copies] == [False, True]
        assert bytes_at(shelves, S3, path_of(new, S3)) == new.normalised.read_bytes()
        assert shelves.pending() == 0

    def test_of_many_at_once_one_mends_and_none_takes_from_it(self, shelves: Shelves) -> None:
        new, gate, wrong = stored(shelves, BOTH), threading.Barrier(4), list[BaseException]()
        replace_by(shelves, SUPABASE, path_of(new, SUPABASE), b"hello")

        def run() -> None:
            gate.wait()
            try:
                upload(shelves.library, new, BOTH)
            except UploadUnderWayError:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test
                wrong.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert wrong == []
        assert upload(shelves.library, new, BOTH).warnings == []
        assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()

    @pytest.mark.parametrize("slept_in", [1, 2, 3, 4])
    def test_one_that_slept_while_another_mended_removes_nothing(self, slept_in: int, shelves: Shelves) -> None:
        new, looks, others = stored(shelves, [SUPABASE]), list[str](), list[Any]()
        replace_by(shelves, SUPABASE, path_of(new, SUPABASE), b"hello" * 99)

        def look(real: Callable[..., Any], path: str) -> Any:
            seen = real(path)
            looks.append(path)
            if len(looks) == slept_in:
                shelves.run_out()
                others.append(upload(shelves.library, new, [SUPABASE]))
            return seen

        with pytest.raises((LeaseLostError, UploadUnderWayError)):
            upload(watched(shelves, look=look), new, [SUPABASE])
        assert [copy.sent for copy in others[0].copies] == [True]
        assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()
        assert (shelves.rows(), shelves.pending()) == (1, 0)

    def test_a_dataset_deleted_while_it_is_mended_takes_everything_with_it(self, shelves: Shelves) -> None:
        new = stored(shelves, [S3])
        replace_by(shelves, S3, path_of(new, S3), b"hello")

        def put(real: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
            delete_dataset(shelves.library, new.id, shelves.user_id)
            return real(*args, **kwargs)

        with pytest.raises(DatasetMissingError):
            upload(watched(shelves, put=put), new, [S3])
        assert (shelves.rows(), shelves.pending(), shelves.objects()) == (0, 0, set())

    def test_while_a_store_is_out_of_reach_nothing_is_said_of_its_copy(self, shelves: Shelves) -> None:
        new = stored(shelves, BOTH)
        replace_by(shelves, S3, path_of(new, S3), b"hello")

        def delete(_real: Callable[..., bool], key: str) -> bool:
            raise StorageUnavailableError(f"{key} cannot be removed now")

        done = upload(watched(shelves, delete=delete), new, [SUPABASE])
        [said] = done.warnings
        assert said.startswith("The copy in s3 may not be sound: ")
        assert bytes_at(shelves, S3, path_of(new, S3)) == b"hello"
        assert upload(shelves.library, new, [SUPABASE]).warnings[0].startswith("The copy in s3 was put again")


def test_s3s_sound_copy_is_the_way_back_where_supabases_is_spoilt_by_one_upload_from_it(shelves: Shelves) -> None:
    new = stored(shelves, BOTH)
    replace_by(shelves, SUPABASE, path_of(new, SUPABASE), b"hello")
    from_s3 = shelves.sound(
        shelves.request([]).model_copy(update={"file": f"s3://{shelves.store(S3).bucket}/{path_of(new, S3)}"})
    )
    assert from_s3.id == new.id
    upload(shelves.library, from_s3, [SUPABASE])
    assert bytes_at(shelves, SUPABASE, path_of(new, SUPABASE)) == new.normalised.read_bytes()
    [seen] = shelves.catalogue.migrations.candidates(Selection(dataset_ids=[new.id]))
    assert (seen.hindrance, json.loads(chats()[0])) == (None, shelves.content(SUPABASE, path_of(new, SUPABASE))[0])
    assert replace(from_s3, name="another").id != new.id
