"""Steps of moving datasets: the plan, a batch of copies, the phases after it, and the proof that copies are what they were.

What travels to a batch, perhaps to another machine, is the batch and the request; keys are read there, from its own settings.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prefect import get_run_logger
from prefect.runtime import flow_run

from tasks.aws import client, step
from tasks.batching import stopping_with_run, tally_of
from trainmaster.migration import copying, promoting, pruning, rolling_back, verifying
from trainmaster.migration.batches import Batch, batches, portion
from trainmaster.migration.naming import refuse_unknown
from trainmaster.migration.outcomes import PhaseResult, VerifiedCopies
from trainmaster.migration.plan import MigrationPlan
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest, VerifyCopiesRequest
from trainmaster.migration.result import BatchResult
from trainmaster.settings import Settings
from trainmaster.storage.library import Library, open_library


def name_of_migration() -> str:
    """What a run is called: by its phase, and whose datasets it is about."""
    request = MigrateDatasetsRequest.model_validate(flow_run.parameters["request"])
    whose = f" of user {request.user_id[:8]}" if request.user_id else ""
    what = f"{len(request.dataset_ids)} datasets" if request.dataset_ids else "datasets"
    return f"{'plan to ' if request.rehearsed else ''}{request.phase} {what}{whose}"


def name_of_verification() -> str:
    """What a run is called: by how many copies it reads."""
    request = VerifyCopiesRequest.model_validate(flow_run.parameters["request"])
    return "verify all copies" if request.everything else f"verify {request.sample} copies"


@contextmanager
def library_of(settings: Settings) -> Iterator[Library]:
    """Catalogue and stores, by the configured credentials."""
    with open_library(settings, partial(client, settings, "s3")) as library:
        yield library


@step(task_run_name="plan")
def plan_copies(request: MigrateDatasetsRequest) -> MigrationPlan:
    """What there is to copy, what that takes and costs, and what is left out and why. Changes nothing."""
    with library_of(Settings()) as library:
        refuse_unknown(library, request.user_id, request.dataset_ids)
        plan = plan_migration(library, request)
    get_run_logger().info("%s", plan.text())
    return plan


def batches_of(request: MigrateDatasetsRequest, plan: MigrationPlan) -> Iterator[Batch]:
    """Datasets to copy, read from the catalogue as batches begin, until its limits are reached or its time is over."""
    with library_of(Settings()) as library:
        most = portion(plan.now, request.workers)
        yield from batches(library, request, most_datasets=most.datasets, most_bytes=most.bytes, until=plan.until)


@step(task_run_name="copy {batch.title}")
def copy_batch(batch: Batch, request: MigrateDatasetsRequest) -> BatchResult:
    """Copy the datasets of a batch, verify and catalogue each. Tried again, it finds those it had done."""
    with library_of(Settings()) as library, stopping_with_run() as stop:
        limits, tally = copying.limits_of(request, batch.among), tally_of(str(flow_run.id))
        result = copying.copy_batch(library, batch, limits, by=_asked_by(request), stop=stop, tally=tally)
    get_run_logger().info("%s", result.sentence())
    return result


@step(task_run_name="{request.phase}")
def carry_out_phase(request: MigrateDatasetsRequest) -> PhaseResult:
    """Promote, prune or roll back what the request is about, or say what that would do. Tried again, it finds what it had done."""
    phases = {
        "promote": promoting.promote_datasets,
        "prune": pruning.prune_datasets,
        "rollback": rolling_back.roll_back_datasets,
    }
    with library_of(Settings()) as library, stopping_with_run() as stop:
        refuse_unknown(library, request.user_id, request.dataset_ids)
        result = phases[request.phase](library, request, by=_asked_by(request), stop=stop)
    get_run_logger().info("%s", result.sentence())
    return result


@step(task_run_name="read the copies again")
def verify(request: VerifyCopiesRequest) -> VerifiedCopies:
    """Read copies in S3 whole; what differs from the catalogue is noted there as damaged."""
    with library_of(Settings()) as library, stopping_with_run() as stop:
        refuse_unknown(library, request.user_id, request.dataset_ids)
        verified = verifying.verify_copies(library, request, by=f"flow run {flow_run.id}", stop=stop)
    get_run_logger().info("%s", verified.sentence())
    return verified


def _asked_by(request: MigrateDatasetsRequest) -> str:
    """Who the catalogue says did it, and which process of which machine."""
    return f"{request.asked_by or f'flow run {flow_run.id}'} on {socket.gethostname()}:{os.getpid()}"
