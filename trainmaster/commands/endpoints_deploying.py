"""A deployment in a terminal, step by step as the flow `deploy-endpoint` takes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainmaster.aws.polling import Patience
from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import shown
from trainmaster.commands.train_following import StatusLine
from trainmaster.commands.train_reporting import note
from trainmaster.commands.train_showing import labelled
from trainmaster.endpoints.deploying import Found, apply_plan, describe_endpoint, note_proof, require_serving, settle
from trainmaster.endpoints.metering import meter_endpoint, reserve_hours, see_hours
from trainmaster.endpoints.package import ModelPackage, inspect_model
from trainmaster.endpoints.plan import Desired, Step, approve_hosting, desired_endpoint, plan_deployment
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import ServedModel, served_model
from trainmaster.endpoints.seen import hourly_of
from trainmaster.endpoints.smoke import SmokeTest, smoke_test
from trainmaster.endpoints.undoing import undo_deployment
from trainmaster.errors import DeploymentFailedError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.image import sklearn_image_uri


@dataclass(frozen=True)
class Planned:
    """What would be done, of which model, and what an hour costs then."""

    package: ModelPackage
    desired: Desired
    steps: list[Step]
    hourly_now: Decimal | None

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"Endpoint {self.desired.endpoint_name}: {'nothing to do, it serves this already' if not self.steps else 'to do'}."
        yield from (f"  {number}. {step}" for number, step in enumerate(self.steps, 1))
        now = "by use, or not known" if self.hourly_now is None else f"{shown(self.hourly_now)} an hour"
        yield from labelled(
            {
                "model": self.package.uri,
                "SHA-256": self.package.sha256,
                "config": self.desired.config_name,
                "costs now": now,
                "then": f"{shown(self.desired.hourly_cost)} an hour at most, until it is removed",
            }
        )

    def facts(self) -> dict[str, Any]:
        """For machines. Money is text, with every digit."""
        return {
            "endpoint_name": self.desired.endpoint_name,
            "config_name": self.desired.config_name,
            "model_name": self.desired.model_name,
            "model_uri": self.package.uri,
            "sha256": self.package.sha256,
            "steps": [str(step) for step in self.steps],
            "hourly_cost_now": None if self.hourly_now is None else f"{self.hourly_now:f}",
            "hourly_cost": f"{self.desired.hourly_cost:f}",
        }


def patience_of(settings: Settings) -> Patience:
    """How long a deployment may take, from the settings."""
    return Patience(settings.poll_seconds, settings.outage_seconds, settings.deploy_timeout_seconds)


def planned(desk: Desk, request: EndpointRequest) -> Planned:
    """What the request comes to, once the endpoint has settled. Raises RefusedError of whatever kind, and botocore's errors."""
    settings, sagemaker = desk.settings, desk.client("sagemaker")
    approve_hosting(request, desk.prices, settings.region)
    package = inspect_model(desk.client("s3"), request.model_uri)
    desired = desired_endpoint(
        request,
        package,
        image_uri=sklearn_image_uri(settings.region),
        role_arn=settings.required("execution_role_arn"),
        region=settings.region,
        prices=desk.prices,
    )
    _settled(desk, desired)
    steps = plan_deployment(desired, describe_endpoint(sagemaker, desired))
    return Planned(package, desired, steps, hourly_of(desk, request.endpoint_name))


def deploy(desk: Desk, request: EndpointRequest) -> ServedModel:
    """Plan it, reserve its first hours, carry it out, prove it. Raises DeploymentFailedError when what served before serves again."""
    found = planned(desk, request)
    desired, steps = found.desired, found.steps
    note(f"Plan: {'; '.join(map(str, steps)) or 'nothing to do, it serves this already'}.")
    payer = request.payer(Payer(desk.settings.user_id, desk.settings.team))
    reserve_hours(desk, desired, payer, whatever=not steps)
    with _told_when_interrupted(desired), _undone_on_failure(desk, desired):
        apply_plan(desk.client("sagemaker"), desired, steps, patience_of(desk.settings))
        see_hours(desk, desired, payer, whatever=not steps)
        require_serving(_settled(desk, desired), desired)
        tested = _proven(desk, found)
    meter_endpoint(desk, desired.endpoint_name)
    return served_model(desired, found.package, steps, tested)


def _settled(desk: Desk, desired: Desired) -> Found:
    line = StatusLine(sys.stderr, f"Endpoint {desired.endpoint_name}")
    try:
        return settle(
            desk.client("sagemaker"),
            desired.endpoint_name,
            patience_of(desk.settings),
            on_status=lambda status: line.show(status, f"Endpoint {desired.endpoint_name} is {status}."),
        )
    finally:
        line.clear()


def _proven(desk: Desk, found: Planned) -> SmokeTest:
    tested = smoke_test(desk.client("sagemaker-runtime"), found.desired.endpoint_name, found.package)
    note_proof(desk.client("sagemaker"), found.desired)
    return tested


@contextmanager
def _undone_on_failure(desk: Desk, desired: Desired) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # raised again below; whatever it was, an unproven model must not go on serving
        note(f"It failed, and is undone: {error}")
        said = undo_deployment(desk.client("sagemaker"), desired, patience_of(desk.settings))
        meter_endpoint(desk, desired.endpoint_name)
        raise DeploymentFailedError(f"{error}\n{said}") from error


@contextmanager
def _told_when_interrupted(desired: Desired) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(
            f"\nAWS goes on with endpoint {desired.endpoint_name}; {desired.config_name} has not proven itself yet.",
            f"Prove it: the same command again. Take it back: trainmaster endpoints rollback {desired.endpoint_name}",
        )
        raise
