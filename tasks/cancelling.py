"""Who cancels a run stops its jobs: at once by the hook of the flow, and by `reconcile` where no hook could run.

A job is paid for whether anybody follows it or not. So only a person's cancelling stops it, and only when no other run that
follows the same job goes on: not a worker that shuts down or dies, nor a run that crashed, which is retried and finds the job again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import Flow, State, get_client, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run as current_run

from tasks.aws import desk_of
from trainmaster.catalog.deployments import Deployment
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.followers import ALIVE, CANCELLED
from trainmaster.training.reconciling import PASSING
from trainmaster.training.stopping import stop_training

SHUTTING_DOWN = "Runner is shutting down."
"""What Prefect says of a run whose runner ends, when it calls the hook as if the run were cancelled: a new release is no reason
to stop what is paid for."""
WHY = "its run was cancelled"
_AT_ONCE = 100
_DEEPEST = 20


def run_id() -> str:
    """Whom a job launched here belongs to: the run that a person started and can cancel, not the subflow within it."""
    return str(current_run.root_flow_run_id or "")


def stop_jobs_of_cancelled(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook `on_cancellation`, in whichever process Prefect calls it: all it knows is which run it was."""
    logger = flow_run_logger(flow_run, flow)
    if is_shutdown(state):
        logger.info("The worker is shutting down, which stops no job. Retry the run, and it follows its job again.")
        return
    with get_client(sync_client=True) as client:
        run = root_of(client, flow_run)
    _stop_jobs(run, logger)


@contextmanager
def stopping_when_cancelled() -> Iterator[None]:
    """What is in the block is interrupted when its run is cancelled under a worker, and its jobs are stopped at once.

    The hook comes to the same in a process of its own, which takes seconds to start, and longer on a busy machine.
    """
    try:
        yield
    except TerminationSignal:
        run = run_id()
        if states_of_runs([run]).get(run) in CANCELLED:
            _stop_jobs(run, get_run_logger())
        raise


def _stop_jobs(run: str, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
    with desk_of(Settings()) as desk:
        for job in desk.deployments.of_run(run):
            try:
                if leave(desk, job, run).job.stop:
                    stop_training(desk.client("sagemaker"), job.deployment_id)
                    logger.info("Training job %s is told to stop.", job.deployment_id)
                else:
                    logger.info("Training job %s goes on: others want it.", job.deployment_id)
            except (
                PASSING
            ) as error:  # its run is cancelled all the same, by which reconcile knows that it is to be stopped
                logger.warning("Training job %s is stopped by reconcile: %s", job.deployment_id, error)


def is_shutdown(state: State[Any]) -> bool:
    """Whether it was the runner that ended a run, and no person."""
    return (state.message or "").startswith(SHUTTING_DOWN)


def leave(desk: Desk, job: Deployment, run: str) -> Deployment:
    """Take a cancelled run off a job; or, if nobody else is at it, no run nor the sweep, note that it is to be stopped.

    Of two runs cancelled at once each sees that the other is being cancelled, and both note it.
    """
    others = [one for one in job.job.runs if one != run]
    if job.job.handed_over or ALIVE & set(states_of_runs(others).values()):
        return desk.deployments.leave(job.id, run)
    return desk.deployments.ask_stop(job.id, by=f"flow run {run}", why=WHY)


def states_of_runs(runs: Sequence[str]) -> Mapping[str, str]:
    """The type of the state each flow run is in; without those Prefect does not know.

    One whose worker was shut down counts as crashed: nobody cancelled it, whatever Prefect calls it.
    """
    ids = [UUID(run) for run in dict.fromkeys(runs) if _is_uuid(run)]
    found: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        for start in range(0, len(ids), _AT_ONCE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _AT_ONCE]))
            for run in client.read_flow_runs(flow_run_filter=some, limit=_AT_ONCE):
                if run.state:
                    found[str(run.id)] = "CRASHED" if is_shutdown(run.state) else run.state.type.value
    return found


def _is_uuid(run: str) -> bool:
    try:
        UUID(run)
    except ValueError:
        return False
    return True


def root_of(client: SyncPrefectClient, run: FlowRun) -> str:
    """The run that a person started: this one, or the one it is a part of."""
    for _ in range(_DEEPEST):
        if run.parent_task_run_id is None:
            break
        parent = client.read_task_run(run.parent_task_run_id).flow_run_id
        if parent is None:
            break
        run = client.read_flow_run(parent)
    return str(run.id)
