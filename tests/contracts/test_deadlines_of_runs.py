"""A run whose time is up, in the middle of what it is at: nothing more is begun, nothing has failed, and the next run goes on."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from copied_shelves import (
    FAST,
    PARTS,
    Call,
    applications_own,
    assert_nothing_came,
    between,
    current,
    packed,
    run,
    unavailable,
    uploaded,
    uploads_left,
)
from library_shelves import S3, Shelves
from moved_datasets import BY, candidate, copy_of, in_both, noise, now, promoted, request, verification, with_calls

from trainmaster.migration.deadline import Deadline
from trainmaster.migration.promoting import promote_datasets
from trainmaster.migration.verifying import verify_copies

HOUR = timedelta(hours=1)
WHY = "60 minutes were asked for at most"


class Clock:
    """Tells the time, or that it is later."""

    def __init__(self) -> None:
        self._later = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._later

    def goes_on(self, time: timedelta) -> None:
        self._later += time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("trainmaster.migration.deadline.now", clock)
    return clock


def in_an_hour() -> Deadline:
    return Deadline(datetime.now(UTC) + HOUR, WHY)


class TestCopying:
    def test_a_batch_whose_time_is_up_is_not_begun(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        result = run(shelves, dataset, until=Deadline(datetime.now(UTC), WHY))
        assert (result.left, result.left_off, result.copied) == (1, WHY, 0)
        assert_nothing_came(shelves, dataset)

    def test_one_under_way_begins_nothing_more_and_the_next_run_copies_the_rest(
        self, shelves: Shelves, clock: Clock
    ) -> None:
        datasets, read = [applications_own(shelves, packed(n)) for n in range(12)], list[str]()

        def slow(real: Call, path: str, *args: Any, **kwargs: Any) -> Any:
            read.append(path)
            if len(read) == 3:
                clock.goes_on(HOUR)
            return real(path, *args, **kwargs)

        library, one = between(shelves.library, source={"read": slow}), replace(FAST, most_at_once=1)
        result = run(shelves, *datasets, library=library, limits=one, until=in_an_hour())
        assert (len(read), result.copied, result.left) == (3, 3, 9)
        assert (result.left_off, result.failures, result.stopped, result.ended_early) == (WHY, (), False, "")
        assert shelves.pending() == 9, "begun by nobody, held by nobody: the next run finds them at once"
        again = run(shelves, *datasets)
        assert (again.copied, again.found, again.under_way) == (9, 3, 0)
        assert shelves.pending() == 0

    def test_a_large_object_is_broken_off_and_its_parts_are_sent_once(self, shelves: Shelves, clock: Clock) -> None:
        dataset = applications_own(shelves, gzip.compress(os.urandom(27 << 20), 0))
        sent, read = list[int](), list[int]()

        def put_part(real: Call, key: str, upload_id: str, number: int, *args: Any, **kwargs: Any) -> Any:
            part = real(key, upload_id, number, *args, **kwargs)
            sent.append(number)
            if len(sent) == 2:
                clock.goes_on(HOUR)
            return part

        library, one = between(shelves.library, destination={"put_part": put_part}), replace(PARTS, most_at_once=1)
        result = run(shelves, dataset, library=library, limits=one, until=in_an_hour())
        assert (sent, result.left, result.left_off, result.failures) == ([1, 2], 1, WHY, ())
        assert current(shelves, dataset).hindrance is None
        assert len(uploads_left(shelves)) == 1

        def reading(real: Call, path: str, start: int, *args: Any, **kwargs: Any) -> Any:
            read.append(start >> 20)
            return real(path, start, *args, **kwargs)

        again = run(shelves, dataset, library=between(shelves.library, source={"read": reading}), limits=PARTS)
        assert (again.copied, again.failures) == (1, ())
        assert sorted(read) == [10, 15, 20, 25]
        assert uploads_left(shelves) == []

    def test_what_a_store_fails_then_has_not_failed_for_it_is_not_tried_again(
        self, shelves: Shelves, clock: Clock
    ) -> None:
        dataset, tried = applications_own(shelves, packed()), list[int]()

        def failing(real: Call, *args: Any, **kwargs: Any) -> Any:
            tried.append(1)
            clock.goes_on(HOUR)
            return unavailable(real)

        library = between(shelves.library, source={"read": failing})
        result = run(shelves, dataset, library=library, until=in_an_hour())
        assert (len(tried), result.left, result.failures) == (1, 1, ())
        assert current(shelves, dataset).hindrance is None
        assert run(shelves, dataset).copied == 1


class TestPhases:
    def test_a_promotion_ends_with_its_time_and_the_next_goes_on(self, shelves: Shelves, clock: Clock) -> None:
        made, looked = [in_both(shelves) for _ in range(20)], list[str]()

        def look(real: Any, path: str) -> Any:
            looked.append(path)
            clock.goes_on(HOUR)
            return real.look(path)

        asked = request(shelves, "promote", max_minutes=60)
        result = promote_datasets(with_calls(shelves, look=look), asked, by=BY)
        assert 1 <= result.datasets == len(looked) <= 8
        assert (result.left_off, result.failed, dict(result.left)) == (WHY, 0, {})
        again = promote_datasets(shelves.library, request(shelves, "promote"), by=BY)
        assert (again.datasets, again.found) == (20 - result.datasets, result.datasets)
        assert {now(shelves, each.id).storage_provider for each in made} == {"s3"}

    def test_the_end_of_a_window_ends_it_in_the_middle_as_well(self, shelves: Shelves, clock: Clock) -> None:
        in_both(shelves), in_both(shelves)
        opened = datetime.now(UTC) - HOUR
        window = f"{opened:%H:%M}-{opened + 3 * HOUR:%H:%M}"

        def look(real: Any, path: str) -> Any:
            clock.goes_on(3 * HOUR)
            return real.look(path)

        asked = request(shelves, "promote", window=window, limit=1)
        result = promote_datasets(with_calls(shelves, look=look), asked, by=BY)
        assert (result.datasets, result.left_off) == (1, f"the time window {window} UTC is closed")

    def test_a_rehearsal_has_its_time_but_needs_no_window(self, shelves: Shelves, clock: Clock) -> None:
        in_both(shelves)
        opens = datetime.now(UTC) + 2 * HOUR
        asked = request(shelves, "promote", dry_run=True, max_minutes=60, window=f"{opens:%H:%M}-{opens + HOUR:%H:%M}")
        assert promote_datasets(shelves.library, asked, by=BY).datasets == 1
        clock.goes_on(HOUR)
        assert promote_datasets(shelves.library, asked, by=BY).left_off == WHY

    def test_a_copy_that_is_being_read_is_left_unverified(self, shelves: Shelves, clock: Clock) -> None:
        dataset, pieces = promoted(shelves, *noise(13)), list[int]()

        def read(real: Any, path: str, start: int, *more: Any) -> Any:
            pieces.append(start)
            if len(pieces) == 2:
                clock.goes_on(HOUR)
            return real.read(path, start, *more)

        asked = verification(shelves, max_minutes=60)
        result = verify_copies(with_calls(shelves, read=read), asked, by=BY)
        assert (result.read, result.damaged_count, result.failed, result.left_off) == (0, 0, 0, WHY)
        assert len(pieces) == 2
        assert copy_of(now(shelves, dataset.id), S3) == copy_of(dataset, S3)
        assert candidate(shelves, dataset.id).hindrance is None
        assert verify_copies(shelves.library, verification(shelves), by=BY).read == 1
