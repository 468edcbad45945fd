"""Copies in S3 read again: whatever is not what was catalogued is found and said, and trouble of the moment is not taken for it."""

from __future__ import annotations

import gzip
import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from moved_datasets import (
    BY,
    candidate,
    content,
    copy_of,
    dropped_of,
    in_both,
    noise,
    now,
    promoted,
    put_in_s3,
    rot,
    set_copy,
    tag_of,
    verification,
    with_calls,
)

from trainmaster.errors import NotConfiguredError, StorageUnavailableError
from trainmaster.migration.outcomes import VerifiedCopies
from trainmaster.migration.proving import PIECE
from trainmaster.migration.verifying import verify_copies
from trainmaster.plain_words import size as shown
from trainmaster.storage.ends.protocols import Source, Version
from trainmaster.storage.library import Library, dropped_path
from trainmaster.storage.removing import delete_dataset, sweep


def verify(shelves: Shelves, library: Library | None = None, **choices: Any) -> VerifiedCopies:
    return verify_copies(library or shelves.library, verification(shelves, **choices), by=BY)


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


class TestSoundCopies:
    def test_are_read_whole_and_it_is_noted_when_and_by_whom(self, shelves: Shelves) -> None:
        made = [in_both(shelves) for _ in range(3)]
        result = verify(shelves)
        size = sum(copy_of(each, S3).size_bytes for each in made)
        assert (result.read, result.bytes, result.damaged_count, result.failed) == (3, size, 0, 0)
        assert result.megabytes_per_second > 0
        assert result.sentence().startswith(f"3 copies in S3 read again ({shown(size)}, ")
        for dataset in made:
            copy, before = copy_of(now(shelves, dataset.id), S3), copy_of(dataset, S3)
            assert copy.verified_by == BY
            assert copy.verified_at > before.verified_at
            assert copy_of(now(shelves, dataset.id), SUPABASE) == copy_of(dataset, SUPABASE)

    def test_the_version_that_was_read_is_noted_where_none_was(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        set_copy(shelves, dataset.id, S3, version=None)
        verify(shelves)
        assert copy_of(now(shelves, dataset.id), S3).version == tag_of(shelves, copy_of(dataset, S3))

    def test_a_sample_is_of_those_that_were_not_read_for_longest(self, shelves: Shelves) -> None:
        made = [in_both(shelves) for _ in range(4)]
        for days, dataset in zip((3, 9, 1, 7), made, strict=True):
            set_copy(shelves, dataset.id, S3, verified_at=ago(days))
        assert verify(shelves, sample=2).read == 2
        again = {each.id for each in made if copy_of(now(shelves, each.id), S3).verified_by == BY}
        assert again == {made[1].id, made[3].id}
        assert verify(shelves, everything=True, sample=1).read == 4

    def test_a_large_one_is_read_in_pieces_of_one_version(self, shelves: Shelves) -> None:
        dataset = in_both(shelves, *noise(9))
        size = copy_of(dataset, S3).size_bytes
        asked: list[tuple[int, int]] = []

        def read(real: Source, path: str, start: int, length: int, version: Version | None) -> Any:
            assert (version is None) == (start == 0)
            piece = real.read(path, start, length, version)
            asked.append((length, len(piece.data)))
            return piece

        result = verify(shelves, with_calls(shelves, read=read))
        assert (result.read, result.bytes, result.damaged_count) == (1, size, 0)
        assert {length for length, _ in asked} == {PIECE}
        assert sum(came for _, came in asked) == size
        assert len(asked) == -(-size // PIECE) > 2

    def test_a_large_one_that_is_replaced_between_two_pieces_is_no_damage(self, shelves: Shelves) -> None:
        dataset = in_both(shelves, *noise(5))
        copy = copy_of(dataset, S3)

        def read(real: Source, path: str, start: int, *more: Any) -> Any:
            if start:
                put_in_s3(shelves, copy, content(shelves, copy)[::-1])
            return real.read(path, start, *more)

        result = verify(shelves, with_calls(shelves, read=read))
        assert (result.damaged_count, dict(result.left)) == (0, {"changed_meanwhile": 1})

    def test_only_those_that_were_asked_for(self, shelves: Shelves) -> None:
        mine, other = in_both(shelves), in_both(shelves)
        assert verify(shelves, dataset_ids=[str(mine.id)]).read == 1
        assert copy_of(now(shelves, other.id), S3) == copy_of(other, S3)

    def test_what_was_restored_is_damaged_no_more(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy, bytes_ = copy_of(dataset, S3), content(shelves, copy_of(dataset, S3))
        rot(shelves, copy)
        assert verify(shelves).damaged_count == 1
        put_in_s3(shelves, copy, bytes_)
        assert verify(shelves).damaged_count == 0
        assert candidate(shelves, dataset.id).hindrance is None


class TestDamage:
    def test_one_flipped_bit_is_found_and_it_is_said_what_to_do(self, shelves: Shelves) -> None:
        dataset, other = promoted(shelves), promoted(shelves)
        rot(shelves, copy_of(dataset, S3))
        result = verify(shelves)
        assert (result.read, result.damaged_count, result.failed) == (2, 1, 0)
        [found] = result.damaged
        assert (found.dataset_id, found.kind) == (dataset.id, "damaged")
        assert copy_of(dataset, S3).uri in found.reason
        assert "run migrate-datasets with phase rollback for this dataset, then with phase copy" in found.advice
        assert result.table()[0]["Outcome"] == "damaged"
        assert "1 damaged" in result.sentence()
        hindrance = candidate(shelves, dataset.id).hindrance
        assert hindrance
        assert (hindrance.kind, hindrance.reason, hindrance.advice) == ("damaged", found.reason, found.advice)
        assert copy_of(now(shelves, dataset.id), S3) == copy_of(dataset, S3)
        assert copy_of(now(shelves, other.id), S3).verified_by == BY
        [_, failed] = shelves.catalogue.migrations.moves(dataset.id)
        assert (failed.phase, failed.by) == ("verify-failed", BY)

    @pytest.mark.parametrize("befalls", ["gone", "cut", "longer", "empty"])
    def test_so_is_what_is_gone_or_has_another_size(self, befalls: str, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, S3)
        bytes_ = content(shelves, copy)
        if befalls == "gone":
            shelves.store(S3).delete(copy.path)
        else:
            put_in_s3(shelves, copy, {"cut": bytes_[:-5], "longer": bytes_ + b"\0", "empty": b""}[befalls])
        result = verify(shelves)
        [found] = result.damaged
        said = {
            "gone": "nothing is at",
            "cut": f"has {len(bytes_) - 5:,} bytes; {len(bytes_):,} were catalogued",
            "longer": f"has {len(bytes_) + 1:,} bytes",
            "empty": "has 0 bytes",
        }
        assert said[befalls] in found.reason

    @pytest.mark.parametrize("befalls", ["one bit is another", "no gzip", "cut"])
    def test_so_is_what_was_dropped_and_lies_beside_a_sound_copy(self, befalls: str, shelves: Shelves) -> None:
        dataset = promoted(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        copy = copy_of(dataset, S3)
        whole, key = dropped_of(shelves, copy), dropped_path(copy.path)
        recorded = shelves.store(S3).stat(key)
        assert recorded
        assert recorded.sha256
        other = {"one bit is another": gzip.compress(b"{}\n"), "no gzip": b"{}\n", "cut": whole[:-3]}[befalls]
        size = copy.size_bytes + 2 * len(other)
        shelves.s3.put_object(Bucket=copy.bucket, Key=key, Body=other, Metadata={"sha256": recorded.sha256})
        result = verify(shelves)
        [found] = result.damaged
        assert dropped_path(copy.path) in found.reason or "dropped examples" in found.reason
        assert "phase rollback for this dataset, then with phase copy" in found.advice
        assert result.bytes == size
        shelves.s3.put_object(Bucket=copy.bucket, Key=key, Body=whole, Metadata={"sha256": recorded.sha256})
        assert verify(shelves).damaged_count == 0

    def test_so_is_what_was_catalogued_as_it_is_but_is_no_whole_gzip(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        copy = copy_of(dataset, S3)
        cut = gzip.compress(b"{}\n" * 9000)[:-7]
        put_in_s3(shelves, copy, cut)
        set_copy(shelves, dataset.id, S3, size_bytes=len(cut), sha256=hashlib.sha256(cut).hexdigest())
        assert "breaks off" in verify(shelves).damaged[0].reason

    def test_where_readers_get_supabase_the_damaged_copy_is_let_go_and_will_be_made_anew(
        self, shelves: Shelves
    ) -> None:
        dataset = in_both(shelves)
        rot(shelves, copy_of(dataset, S3))
        [found] = verify(shelves).damaged
        assert "the next run with phase copy copies it again" in found.advice
        assert now(shelves, dataset.id).copy_at(S3) is None
        shelves.run_out()
        sweep(shelves.library)
        assert {each.partition(":")[0] for each in shelves.objects()} == {"supabase"}

    def test_a_damaged_copy_is_kept_where_it_is_the_only_one(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        shelves.store(SUPABASE).delete(copy_of(dataset, SUPABASE).path)
        rot(shelves, copy_of(dataset, S3))
        [found] = verify(shelves).damaged
        assert "No other copy is known to be good" in found.advice
        shelves.run_out()
        sweep(shelves.library)
        assert content(shelves, copy_of(now(shelves, dataset.id), S3))

    def test_nor_is_one_let_go_whose_source_was_lost_before_readers_were_sent_away(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        shelves.store(SUPABASE).delete(copy_of(dataset, SUPABASE).path)
        rot(shelves, copy_of(dataset, S3))
        assert "No other copy is known to be good" in verify(shelves).damaged[0].advice
        shelves.run_out()
        sweep(shelves.library)
        assert content(shelves, copy_of(now(shelves, dataset.id), S3))


class TestTroublesOfTheMoment:
    @pytest.mark.parametrize("error", [StorageUnavailableError("busy"), NotConfiguredError("no permission")])
    def test_a_store_that_fails_is_no_damage(self, error: Exception, shelves: Shelves) -> None:
        dataset = promoted(shelves)

        def read(_real: Source, *_: Any) -> Any:
            raise error

        result = verify(shelves, with_calls(shelves, read=read))
        assert (result.read, result.damaged_count, result.failed) == (0, 0, 1)
        assert str(error) in result.failures[0].reason
        assert candidate(shelves, dataset.id).hindrance is None
        assert verify(shelves).read == 1

    def test_one_bad_reading_is_read_again(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        readings: list[str] = []

        def read(real: Source, path: str, *more: Any) -> Any:
            readings.append(path)
            piece = real.read(path, *more)
            return replace(piece, data=memoryview(bytes(piece.data)[::-1])) if len(readings) == 1 else piece

        result = verify(shelves, with_calls(shelves, read=read))
        assert (len(readings), result.read, result.damaged_count) == (2, 1, 0)
        assert copy_of(now(shelves, dataset.id), S3).verified_by == BY

    def test_a_dataset_that_is_deleted_while_it_is_read_is_no_damage(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)

        def read(real: Source, *of: Any) -> Any:
            delete_dataset(shelves.library, dataset.id, shelves.user_id)
            return real.read(*of)

        result = verify(shelves, with_calls(shelves, read=read))
        assert (result.damaged_count, result.failed, dict(result.left)) == (0, 0, {"changed_meanwhile": 1})

    def test_a_copy_that_is_made_anew_while_it_is_read_is_no_damage(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy, other = copy_of(dataset, S3), gzip.compress(b"{}\n")

        def read(real: Source, *of: Any) -> Any:
            put_in_s3(shelves, copy, other)
            sha256 = hashlib.sha256(other).hexdigest()
            set_copy(shelves, dataset.id, S3, size_bytes=len(other), sha256=sha256)
            return real.read(*of)

        result = verify(shelves, with_calls(shelves, read=read))
        assert (result.damaged_count, dict(result.left)) == (0, {"changed_meanwhile": 1})


class TestLimits:
    def test_it_begins_no_more_once_it_has_read_what_it_may(self, shelves: Shelves) -> None:
        for _ in range(3):
            in_both(shelves)
        result = verify(shelves, max_gigabytes=1e-9, everything=True)
        assert result.read == 1
        assert "GB were asked for at most" in result.left_off
        assert result.ended_early == ""

    def test_told_to_stop_it_stops_and_takes_nothing_for_damaged(self, shelves: Shelves) -> None:
        made = [promoted(shelves) for _ in range(3)]
        stop = threading.Event()

        def read(real: Source, *of: Any) -> Any:
            stop.set()
            return real.read(*of)

        asked = verification(shelves, megabytes_per_second=1e-6)
        result = verify_copies(with_calls(shelves, read=read), asked, by=BY, stop=stop)
        assert (result.stopped, result.read, result.damaged_count) == (True, 0, 0)
        assert [now(shelves, each.id) for each in made] == made

    def test_a_bucket_that_gives_nothing_ends_it_early(self, shelves: Shelves) -> None:
        for _ in range(12):
            in_both(shelves)

        def read(_real: Source, *_: Any) -> Any:
            raise NotConfiguredError("the bucket is gone")

        result = verify(shelves, with_calls(shelves, read=read), everything=True)
        assert "the bucket is gone" in result.ended_early
        assert result.damaged_count == 0
        assert result.failed >= 10
