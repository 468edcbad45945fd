"""From a request to a plan: every question about it answered, everything wrong with it said at once, nothing launched."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trainmaster.budget.approval import Approval, approval_of
from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Reservation
from trainmaster.catalog.datasets import Dataset
from trainmaster.errors import TrainingRefusedError
from trainmaster.migration.copying import copy_now
from trainmaster.storage.address import S3Address
from trainmaster.storage.bodies import measured
from trainmaster.storage.library import Library
from trainmaster.storage.s3 import S3Store
from trainmaster.storage.stores import Stores
from trainmaster.training.channels import is_in_s3
from trainmaster.training.circumstances import find_problems
from trainmaster.training.desk import Desk
from trainmaster.training.inputs import Finding, config_of, find_inputs
from trainmaster.training.plan import Place, TrainingPlan, job_name_of, plan_training
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PRICED = {"price", "budget", "instance_type"}
"""Kinds of problems that are none for a job whose price was agreed on when it was launched."""


def prepare_training(desk: Desk, request: TrainingRequest, *, first: TrainingRequest | None = None) -> TrainingPlan:
    """The plan of a request that can be launched; `first` as in `plan_training`. Raises TrainingRefusedError with every problem it has.

    Of a job whose money is set aside already, by a launch that died or was tried again, the amount and the rate are the ledger's:
    prices may have changed since. What the job needs in S3 is there afterwards; a dry run puts nothing there.
    """
    request = asked_by(desk, request)
    finding = find_inputs(desk, request)
    region = request.region or desk.settings.region
    job_name = job_name_of(request, finding.inputs, region) if finding.inputs else ""
    known = desk.ledger.find(job_name) if job_name else None
    standing = known if known and known.state != "released" else None
    verdict = find_problems(
        desk,
        request,
        job_name=job_name,
        checkpoints=bool(request.checkpoint_s3_uri) or (finding.trainer is None or finding.trainer.checkpoints),
        need=finding.need,
    )
    approval = _as_reserved(request, standing) if standing else verdict.approval
    problems = [*verdict.problems, *finding.problems, *_elsewhere(desk, region)]
    if standing:
        problems = [problem for problem in problems if problem.kind not in _PRICED]
    if problems or finding.inputs is None or approval is None:
        raise TrainingRefusedError(_subject(request, finding), problems)
    bucket = desk.settings.required("bucket")
    if not request.dry_run:
        _upload(desk.client("s3"), finding.uploads)
    output_uri = f"s3://{bucket}/{finding.folder}/jobs"
    place = Place(region, desk.settings.required("execution_role_arn"), output_uri, str(desk.catalogue.installation))
    plan = plan_training(request, finding.inputs, approval, place, first=first and asked_by(desk, first))
    return replace(plan, notes=(*finding.notes, *verdict.notes), circumstances=verdict.circumstances)


def migrate_missing(desk: Desk, request: TrainingRequest) -> list[Dataset]:
    """Copy the datasets of the request's config that SageMaker cannot read yet to S3; those that were missing there.

    Safe to repeat and to race: what somebody else is copying is waited for. Nothing is copied by a dry run, nor unless
    `migrate_missing` asks for it. Raises what `copy_now` does.
    """
    request = asked_by(desk, request)
    config = config_of(desk, request)
    if config is None or request.dry_run or not request.migrate_missing:
        return []
    library = Library(desk.catalogue, Stores(desk.settings, lambda: desk.client("s3")))
    return copy_now(library, [dataset for dataset in config.datasets if not is_in_s3(dataset)])


def asked_by(desk: Desk, request: TrainingRequest) -> TrainingRequest:
    """The same request, with nobody left out whose run it is and who pays."""
    return request.paid_by(Payer(desk.settings.user_id, desk.settings.team))


def _as_reserved(request: TrainingRequest, reservation: Reservation) -> Approval:
    return approval_of(
        reservation.charge,
        approved=request.budget_limit,
        asked_runtime_seconds=request.max_runtime_seconds,
        kept_seconds=request.warm_pool_seconds,
    )


def _elsewhere(desk: Desk, region: str) -> list[Problem]:
    """A desk's clients are of one region; a job planned for another would be launched there all the same."""
    if region == desk.settings.region:
        return []
    said = f"The run was started with AWS clients of {desk.settings.region}, and the job is to run in {region}."
    return [Problem("request", said, f"Set TRAINMASTER_REGION={region} where it is started, or leave region out.")]


def _subject(request: TrainingRequest, finding: Finding) -> str:
    return f"Training {finding.name or request.training_config_id or request.data_uri or 'job'}"


def _upload(s3: S3Client, files: Mapping[str, bytes]) -> None:
    """Put what is not there yet; each is named after its content, so that what is there is the same."""
    for uri, content in files.items():
        address = S3Address.parse(uri)
        store = S3Store(s3, address.bucket)
        if store.stat(address.key):
            continue
        sha256, size = measured(io.BytesIO(content))
        kind = "application/gzip" if uri.endswith(".gz") else "application/json"
        store.put(address.key, io.BytesIO(content), size=size, sha256=sha256, content_type=kind)
