"""A run's batches at work: a few at a time, in threads of this process or on a Dask cluster; ended when their run is.

Never more of them are submitted than are at work: what ends the run early then leaves none that begins afterwards.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakValueDictionary

import httpx
from prefect import Task, get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from trainmaster.errors import NotConfiguredError, TrainmasterError
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.storage.copy import Tally
from trainmaster.training.followers import ALIVE

if TYPE_CHECKING:
    from prefect_dask.client import PrefectDaskClient
    from prefect_dask.task_runners import DaskTaskRunner

SCHEDULER_ANSWERS_SECONDS = 15
LOOK_SECONDS = 2.0
"""How often a batch asks Prefect whether its run is still wanted."""
ENDING_SECONDS, TELLING_SECONDS = 18.0, 8.0
"""How long batches that were told to stop are waited for, and then to be heard: Prefect kills a cancelled run after 30 s."""
B = TypeVar("B")
R = TypeVar("R")

SHOWN_SECONDS = 5.0
"""How often it is shown how far the batches at work are."""

_stops: WeakValueDictionary[str, threading.Event] = WeakValueDictionary()
_tallies: WeakValueDictionary[str, Tally] = WeakValueDictionary()


class AtWork(Generic[B, R]):
    """Batches at work on a task runner, at most so many at once."""

    def __init__(self, runner: TaskRunner[Any], at_once: int) -> None:
        self._runner, self._at_once = runner, at_once
        self._batches: dict[PrefectFuture[R], B] = {}
        self._done: SimpleQueue[PrefectFuture[R]] = SimpleQueue()
        self._begins_more = True
        self._broke: TrainmasterError | None = None

    def results(
        self, task: Task[..., R], batches: Iterable[B], *, of: Any, meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[B, R | BaseException]]:
        """What `task(batch, of)` came to, or raised after its last retry, as batches end. `batches` is read as they begin.

        An error of ours that it raises is raised when those at work have ended. `meanwhile` is called every few seconds.
        """
        waiting = iter(batches)
        while True:
            while self._begins_more and len(self._batches) < self._at_once:
                self._begin_next(task, waiting, of)
            if not self._batches:
                break
            try:
                future = self._done.get(timeout=SHOWN_SECONDS)
            except Empty:
                meanwhile()
                continue
            came_to = _came_to(future)
            yield self._batches.pop(future), came_to
        if self._broke:
            raise self._broke

    def begin_no_more(self) -> None:
        """Those at work are still waited for."""
        self._begins_more = False

    def wait(self, seconds: float) -> None:
        """Until all that are at work have ended, or the time is up."""
        deadline = time.monotonic() + seconds
        for future in self._batches:
            future.wait(max(0.0, deadline - time.monotonic()))

    def _begin_next(self, task: Task[..., R], waiting: Iterator[B], of: Any) -> None:
        try:
            batch = next(waiting)
        except StopIteration:
            self._begins_more = False
            return
        except TrainmasterError as error:
            self._begins_more, self._broke = False, error
            return
        future = self._runner.submit(task, {"batch": batch, "request": of})
        self._batches[future] = batch
        future.add_done_callback(self._done.put)


def _came_to(future: PrefectFuture[R]) -> R | BaseException:
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 - of a Dask worker that died, for one: what this batch came to, and not the others
        return error


@contextmanager
def batches_at_work(request: MigrateDatasetsRequest) -> Iterator[AtWork[Any, Any]]:
    """Room for as many batches at once as the request says. What is at work when the block ends is told to stop, and waited for.

    Raises NotConfiguredError where there is no Dask to work on.
    """
    stop = _stop_of(str(flow_run.id))
    with _runner(request) as runner:
        at_work = AtWork[Any, Any](runner, request.workers)
        try:
            yield at_work
        finally:
            stop.set()
            at_work.wait(ENDING_SECONDS)


@contextmanager
def stopping_with_run() -> Iterator[threading.Event]:
    """In a batch: an event that is set as soon as its run is to end, cancelled, dead or shut down, wherever the batch is at work."""
    run, done = str(flow_run.id), threading.Event()
    stop = _stop_of(run)
    # in this context Prefect's settings are those of the run, on a Dask worker as well
    watch = threading.Thread(target=copy_context().run, args=(_watch, run, stop, done), name="watch-run", daemon=True)
    watch.start()
    try:
        yield stop
    finally:
        done.set()
        watch.join()


def _stop_of(run: str) -> threading.Event:
    """The one of all batches that a run has at work in this process."""
    return _stops.setdefault(run, threading.Event())


def tally_of(run: str) -> Tally:
    """Figures of all batches that a run has at work in this process; on Dask they are at work in others."""
    return _tallies.setdefault(run, Tally())


def _watch(run: str, stop: threading.Event, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.wait(LOOK_SECONDS):
            try:
                state = client.read_flow_run(run).state  # type: ignore[arg-type]
            except ObjectNotFound:
                stop.set()
            except (httpx.HTTPError, PrefectException):
                continue  # a server that is away cancels nothing
            else:
                if state and state.type.value not in ALIVE:
                    stop.set()


@contextmanager
def _runner(request: MigrateDatasetsRequest) -> Iterator[TaskRunner[Any]]:
    if request.task_runner == "threads":
        with ThreadPoolTaskRunner[Any](max_workers=request.workers) as threads:
            yield threads
        return
    with _dask(request) as dask:
        try:
            dask.client  # noqa: B018 - connects here, rather than in the middle of the work
        except OSError as error:
            raise NotConfiguredError(
                f"No Dask scheduler answers at {request.dask_address or 'this machine'}. Start one there, give another"
                " dask_address, leave it empty for a cluster on this machine, or choose threads."
            ) from error
        if request.dask_address:
            yield dask
            return
        dask.client.run(_leave_ending_to_us)
        try:
            yield dask
        finally:
            _let_them_tell(dask.client)


def _leave_ending_to_us() -> None:
    """In each process of a cluster of ours: who cancels a run sends SIGTERM to all its processes, and these would die of it at once,
    with their batches held until the leases run out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _let_them_tell(client: PrefectDaskClient) -> None:
    """Have the processes of a cluster that is about to be closed send Prefect what they have not: Dask kills them within seconds."""
    with suppress(TimeoutError, OSError):  # of one that has died, or ends by no means: what it had to say is lost
        workers = client.scheduler_info(-1)["workers"]
        telling = [client.submit(_tell_all, workers=[one], pure=False) for one in workers]  # type: ignore[no-untyped-call]
        for one in telling:
            one.exception(timeout=TELLING_SECONDS)


def _tell_all() -> None:
    APILogWorker.drain_all(timeout=TELLING_SECONDS)
    EventsWorker.drain_all(timeout=TELLING_SECONDS)


def _dask(request: MigrateDatasetsRequest) -> DaskTaskRunner:
    """Processes of one thread each; their memory is bounded by the engine, which needs no nanny to kill it."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise NotConfiguredError(
            "task_runner is dask, but Dask is not installed on this worker. Install it with"
            " `pip install 'trainmaster[dask]'`, or choose threads."
        ) from error
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of each connection
    if request.dask_address:
        return DaskTaskRunner(address=request.dask_address, client_kwargs={"timeout": SCHEDULER_ANSWERS_SECONDS})
    cluster = {
        "n_workers": request.workers,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": None,
    }
    return DaskTaskRunner(cluster_kwargs={**cluster, "processes": True})
