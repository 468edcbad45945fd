"""Batches on a task runner: a few at a time, none begun too early or too late, all ended with their run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling

from tasks import batching
from tasks.aws import step
from tasks.batching import AtWork, batches_at_work, stopping_with_run
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError
from trainmaster.migration.request import MigrateDatasetsRequest

WITHIN = 90.0


class Shop:
    """What its batches do, and how many there are."""

    def __init__(self) -> None:
        self.lock, self.at_once, self.most, self.begun = threading.Lock(), 0, 0, list[int]()
        self.meet: threading.Barrier | None = None
        self.stopped = list[bool]()

    def batches(self, count: int) -> Iterator[int]:
        for number in range(count):
            # Whoever asks for one more has room for it.
            assert self.at_once < 3
            yield number

    def work(self, number: int) -> int:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.begun.append(number)
        if self.meet:
            self.meet.wait(WITHIN)
        with self.lock:
            self.at_once -= 1
        return number * 10


def run(request: MigrateDatasetsRequest, body: Any) -> Any:
    """What `body(at_work)` comes to in a flow."""

    @flow(name="batches", flow_run_name="batches", persist_result=False)
    def batches() -> Any:
        with batches_at_work(request) as at_work:
            return body(at_work)

    return batches(return_state=True)


@pytest.fixture
def shop(stack: Any) -> Shop:
    return Shop()


THREE = MigrateDatasetsRequest(workers=3)


def test_so_many_are_at_work_at_once_and_others_are_not_even_read(shop: Shop) -> None:
    shop.meet = threading.Barrier(3)  # broken unless three are at work at the same time

    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> int:
        return shop.work(batch)

    came = run(THREE, lambda at_work: list(at_work.results(work, shop.batches(9), of=None))).result()
    assert sorted(came) == [(number, number * 10) for number in range(9)]
    assert shop.most == 3


def test_what_one_raises_is_what_it_came_to_and_the_others_go_on(shop: Shop) -> None:
    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> int:
        if batch == 1:
            raise ZeroDivisionError
        return shop.work(batch)

    came = dict(run(THREE, lambda at_work: list(at_work.results(work, range(4), of=None))).result())
    assert isinstance(came.pop(1), ZeroDivisionError)
    assert came == {0: 0, 2: 20, 3: 30}


def test_none_begins_after_it_was_said_that_no_more_begin(shop: Shop) -> None:
    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> int:
        return shop.work(batch)

    def body(at_work: AtWork[int, int]) -> int:
        for _ in at_work.results(work, range(100), of=None):
            at_work.begin_no_more()
        return len(shop.begun)

    assert run(MigrateDatasetsRequest(workers=2), body).result() == 2


def test_what_batches_are_read_from_may_break_and_those_at_work_still_count(shop: Shop) -> None:
    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> int:
        return shop.work(batch)

    def breaking() -> Iterator[int]:
        yield 1
        raise CatalogueUnavailableError("It does not answer.")

    came: list[Any] = []

    def body(at_work: AtWork[int, int]) -> None:
        came.extend(at_work.results(work, breaking(), of=None))

    with pytest.raises(CatalogueUnavailableError):
        run(THREE, body).result()
    assert came == [(1, 10)]


def test_batches_of_a_cancelled_run_are_told_to_stop_wherever_they_are(shop: Shop) -> None:
    """By Prefect alone, as on another machine: the run goes on here, as one does that no worker carries out."""

    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> bool:
        with get_client(sync_client=True) as client, stopping_with_run() as stop:
            client.set_flow_run_state(str(flow_run.id), Cancelling())  # type: ignore[arg-type]
            return stop.wait(WITHIN)

    seen: list[Any] = []

    def body(at_work: AtWork[int, int]) -> None:
        seen.extend(at_work.results(work, [1], of=None))

    run(THREE, body)
    assert seen == [(1, True)]


def test_batches_are_told_to_stop_when_the_run_breaks_off_and_are_waited_for(shop: Shop) -> None:
    at_work_now = threading.Barrier(3)

    @step(task_run_name="batch {batch}", retries=0)
    def work(batch: int, request: Any) -> bool:
        if batch == 0:
            at_work_now.wait(WITHIN)
            return True
        with stopping_with_run() as stop:
            at_work_now.wait(WITHIN)
            shop.stopped.append(stop.wait(WITHIN))
        return True

    def body(at_work: AtWork[int, int]) -> None:
        for _ in at_work.results(work, range(3), of=None):
            raise KeyError("the flow is broken")

    state = run(THREE, body)
    assert state.is_failed()
    assert shop.stopped == [True, True]


def test_a_dask_scheduler_that_is_not_there_is_said_by_its_address(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "SCHEDULER_ANSWERS_SECONDS", 1)
    nowhere = MigrateDatasetsRequest(task_runner="dask", dask_address="tcp://127.0.0.1:9")
    with pytest.raises(NotConfiguredError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run(nowhere, lambda _: None).result()
