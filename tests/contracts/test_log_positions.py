"""Where readers of jobs' logs stopped, on both databases."""

from __future__ import annotations

from uuid import uuid4

import pytest
from catalogues import Place, at_once
from sqlalchemy.exc import StatementError

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.log_positions import LogPositions
from trainmaster.errors import NotConfiguredError


@pytest.fixture
def positions(catalogue: Catalogue) -> LogPositions:
    return LogPositions(catalogue.database)


@pytest.fixture
def job() -> str:
    return f"job-{uuid4().hex}"


def test_a_reader_finds_where_it_was_and_no_other_does(positions: LogPositions, job: str) -> None:
    assert positions.load(job, "run-1") == {}
    positions.save(job, "run-1", {f"{job}/algo-1": "f/123", f"{job}/algo-2": None})
    positions.save(job, "sweep", {f"{job}/algo-1": "f/1"})
    positions.save(job, "run-1", {f"{job}/algo-1": "f/124"})
    positions.save(job, "run-1", {})
    assert positions.load(job, "run-1") == {f"{job}/algo-1": "f/124", f"{job}/algo-2": None}
    assert positions.load(job, "sweep") == {f"{job}/algo-1": "f/1"}
    assert positions.load(f"{job}-1", "run-1") == {}


def test_what_was_forgotten_is_read_anew_and_other_jobs_are_not(positions: LogPositions, job: str) -> None:
    for one in (job, f"{job}-2"):
        positions.save(one, "run", {"stream": "f/1"})
    positions.forget(job)
    positions.forget(job)
    assert positions.load(job, "run") == {}
    assert positions.load(f"{job}-2", "run") == {"stream": "f/1"}


def test_all_streams_are_saved_or_none(positions: LogPositions, job: str) -> None:
    positions.save(job, "run", {"a": "1", "b": "1"})
    with pytest.raises((StatementError, NotConfiguredError)):
        positions.save(job, "run", {"a": "2", "b": object()})  # type: ignore[dict-item]
    assert positions.load(job, "run") == {"a": "1", "b": "1"}


def test_many_hosts_and_many_savers_at_once_leave_one_row_a_stream(
    positions: LogPositions, catalogue_place: Place, job: str
) -> None:
    streams = [f"{job}/algo-{host}" for host in range(20)]

    def save(number: int) -> None:
        opened = catalogue_place.open()
        for turn in range(5):
            order = streams if number % 2 else streams[::-1]
            LogPositions(opened.database).save(job, "run", dict.fromkeys(order, f"{number}-{turn}"))
        opened.close()

    assert at_once(6, save) == [None] * 6
    found = positions.load(job, "run")
    assert sorted(found) == sorted(streams)
    assert len(set(found.values())) == 1
