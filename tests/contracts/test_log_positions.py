"""Where readers of jobs' logs stopped, on both databases."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from catalogues import Place, at_once
from sqlalchemy import update
from sqlalchemy.exc import StatementError

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.log_positions import LogPositions
from trainmaster.catalog.tables import log_positions
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


def age(catalogue: Catalogue, job: str, reader: str, days: int) -> None:
    """As if that reader had read so long ago."""
    of_it = (log_positions.c.job == job, log_positions.c.reader == reader)
    with catalogue.database.writing() as connection:
        then = catalogue.database.now(connection) - timedelta(days=days)
        connection.execute(update(log_positions).where(*of_it).values(at=then))


def test_what_nobody_read_for_longer_than_any_job_runs_is_forgotten_and_nothing_else(
    catalogue: Catalogue, positions: LogPositions, job: str
) -> None:
    for one, days in ((job, 36), (f"{job}-2", 34)):
        for reader in ("run", "sweep"):
            positions.save(one, reader, {"a": "f/1", "b": "f/1"})
        age(catalogue, one, "run", days)
    assert positions.forget_unread() >= 2
    assert positions.load(job, "run") == {}
    kept = [positions.load(job, "sweep"), positions.load(f"{job}-2", "run"), positions.load(f"{job}-2", "sweep")]
    assert kept == [{"a": "f/1", "b": "f/1"}] * 3
    assert positions.forget_unread() == 0


def test_so_many_are_forgotten_at_once_and_the_rest_the_next_time_however_many_do_it(
    catalogue: Catalogue, positions: LogPositions, catalogue_place: Place, job: str
) -> None:
    positions.save(job, "run", {f"algo-{host}": "f/1" for host in range(25)})
    age(catalogue, job, "run", 36)
    assert positions.forget_unread(most=5) == 5
    assert len(positions.load(job, "run")) == 20

    def forget(_: int) -> int:
        opened = catalogue_place.open()
        forgotten = LogPositions(opened.database).forget_unread(most=10)
        opened.close()
        return forgotten

    at_once(4, forget)
    while positions.forget_unread():
        pass
    assert positions.load(job, "run") == {}


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
