"""A deployment in a terminal, step by step as the flows `deploy-endpoint` and `rollback-endpoint` take them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import shown
from trainmaster.commands.terminal.reporting import note
from trainmaster.commands.terminal.status_line import StatusLine
from trainmaster.commands.terminal.tables import labelled
from trainmaster.endpoints import deployment, rolling_back
from trainmaster.endpoints.api import publishing
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.plan import Desired, Plan
from trainmaster.endpoints.rehearsing import rehearsal_of, rehearse
from trainmaster.endpoints.request import EndpointRequest, RollbackRequest
from trainmaster.endpoints.results import ServedModel, served_model
from trainmaster.errors import DeploymentFailedError
from trainmaster.training.desk import Desk


@dataclass(frozen=True)
class Planned:
    """What would be done, of which model, and what an hour costs then."""

    models: ChosenModels
    desired: Desired
    plan: Plan

    def lines(self) -> Iterator[str]:
        """For people."""
        todo = "to be done, in this order:" if self.plan.steps else "nothing to do, it serves this already."
        yield f"Endpoint {self.desired.endpoint_name}: {todo}"
        yield from (f"  {number}. {step}" for number, step in enumerate(self.plan.steps, 1))
        before = self.plan.hourly_before
        now = "not known" if before is None else f"{shown(before)} an hour" if before else "nothing, there is none"
        yield from labelled(
            {
                "model": self.models.main.uri,
                "SHA-256": self.models.main.sha256,
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
            "model_uri": self.models.main.uri,
            "sha256": self.models.main.sha256,
            "steps": [str(step) for step in self.plan.steps],
            "hourly_cost_now": None if self.plan.hourly_before is None else f"{self.plan.hourly_before:f}",
            "hourly_cost": f"{self.desired.hourly_cost:f}",
        }


def planned(desk: Desk, request: EndpointRequest) -> Planned:
    """What the request comes to, once the endpoint has settled. Raises RefusedError of whatever kind, and botocore's errors."""
    deployment.approve(request, desk.prices, desk.settings)
    models = deployment.choose_models(desk, request)
    desired = deployment.desire(desk, request, models)
    with _status_line(desired) as on_status:
        return Planned(models, desired, deployment.plan(desk, desired, on_status=on_status))


def planned_rollback(desk: Desk, request: RollbackRequest) -> Planned:
    """What going back, or bringing back what is gone, comes to. Raises RefusedError where there is nothing to go back to."""
    desired, models = rolling_back.desire_earlier(desk, request)
    with _status_line(desired) as on_status:
        return Planned(models, desired, deployment.plan(desk, desired, on_status=on_status))


def carry_out(desk: Desk, found: Planned, payer: Payer) -> ServedModel:
    """Reserve its first hours, do it, prove it. Raises DeploymentFailedError when what served before serves again."""
    desired, plan = found.desired, found.plan
    note(f"Plan: {plan}.")
    deployment.reserve(desk, desired, plan, payer)
    with _told_when_interrupted(found), _undone_on_failure(desk, desired):
        if plan.rehearses:
            with _status_line(rehearsal_of(desired)) as on_status:
                rehearse(desk, desired, found.models, payer, on_status=on_status)
        with _status_line(desired) as on_status:
            deployment.bring_up(desk, desired, plan, payer, on_status=on_status)
        tested = deployment.prove(desk, desired, found.models)
    if not desired.earlier:
        deployment.prune(desk, desired)
    meter_endpoint(desk, desired.endpoint_name)
    with _status_line(desired, "The API of") as on_status:
        publishing.republished(desk.client, desired.endpoint_name, desk.settings, on_status)
    return served_model(desired, found.models.main, plan.steps, tested)


@contextmanager
def _status_line(desired: Desired, what: str = "Endpoint") -> Iterator[deployment.OnStatus]:
    line = StatusLine(sys.stderr, "AWS")
    try:
        yield lambda status: line.show(status, f"{what} {desired.endpoint_name} is {status}.")
    finally:
        line.clear()


@contextmanager
def _undone_on_failure(desk: Desk, desired: Desired) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # raised again below; whatever it was, an unproven model must not go on serving
        note(f"It failed, and is undone: {error}")
        said = deployment.undo(desk, desired, error)
        meter_endpoint(desk, desired.endpoint_name)
        raise DeploymentFailedError(f"{error}\n{said}") from error


@contextmanager
def _told_when_interrupted(found: Planned) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        desired = found.desired
        is_first = any(step.kind == "create-endpoint" for step in found.plan.steps)
        back = f"remove {desired.endpoint_name} --yes" if is_first else f"rollback {desired.endpoint_name}"
        note(
            f"\nAWS goes on with endpoint {desired.endpoint_name}; {desired.config_name} has not proven itself yet.",
            f"Prove it: the same command again. Take it back: trainmaster endpoints {back}",
        )
        raise
