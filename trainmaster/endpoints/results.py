"""What came of a deployment or a removal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.smoke import SmokeTest
from trainmaster.endpoints.plan import Desired, Plan, Step
from trainmaster.endpoints.removing import Belongings


def listed(values: Mapping[str, Any]) -> str:
    """What was asked or answered, for people: `bedrooms 3, bathrooms 2.5`; what lies in one another as JSON."""
    return ", ".join(f"{name} {_said(value)}" for name, value in values.items())


def _said(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


class ServedModel(BaseModel):
    """A model in service: by which names, what was done to get there (nothing, when it served already), and the proof."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    endpoint_name: str
    config_name: str
    model_name: str
    model_uri: str
    hourly_cost: Decimal
    steps: list[str]
    smoke_test: SmokeTest

    def sentence(self) -> str:
        return f"Endpoint {self.endpoint_name} serves {self.model_name} for ${self.hourly_cost} an hour until it is removed."

    def table(self) -> list[dict[str, Any]]:
        rows = {
            "endpoint": self.endpoint_name,
            "configuration": self.config_name,
            "model": self.model_name,
            "artifact": self.model_uri,
            "cost": f"${self.hourly_cost} an hour",
            "steps": ", ".join(self.steps) or "none needed",
            "asked": listed(self.smoke_test.inputs),
            "answered": listed(self.smoke_test.answer),
            "latency": f"{min(self.smoke_test.milliseconds)} ms",
            "agreement": self.smoke_test.agreement.sentence(),
        }
        return [{"what": what, "value": str(value)} for what, value in rows.items()]


def served_model(desired: Desired, package: ModelPackage, steps: Iterable[Step], tested: SmokeTest) -> ServedModel:
    """The deployment that these led to."""
    return ServedModel(
        endpoint_name=desired.endpoint_name,
        config_name=desired.config_name,
        model_name=desired.model_name,
        model_uri=package.uri,
        hourly_cost=desired.hourly_cost,
        steps=[str(step) for step in steps],
        smoke_test=tested,
    )


class PlannedDeployment(BaseModel):
    """What a deployment would do, and what an hour of the endpoint costs before and after, in US dollars.

    `hourly_before` is 0 where none serves and None where nobody knows.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    endpoint_name: str
    config_name: str
    model_uri: str
    steps: list[str]
    hourly_before: Decimal | None
    hourly_after: Decimal

    def sentence(self) -> str:
        before = "an unknown amount" if self.hourly_before is None else f"${self.hourly_before}"
        todo = f"would take {len(self.steps)} steps" if self.steps else "serves this already"
        return (
            f"Endpoint {self.endpoint_name} {todo}; an hour of it costs {before} now and at most ${self.hourly_after} then."
            " Nothing was done."
        )

    def table(self) -> list[dict[str, Any]]:
        return [{"step": number, "what": step} for number, step in enumerate(self.steps, 1)]


def planned_deployment(desired: Desired, package: ModelPackage, plan: Plan) -> PlannedDeployment:
    """What a dry run says."""
    return PlannedDeployment(
        endpoint_name=desired.endpoint_name,
        config_name=desired.config_name,
        model_uri=package.uri,
        steps=[str(step) for step in plan.steps],
        hourly_before=plan.hourly_before,
        hourly_after=desired.hourly_cost,
    )


class Removal(BaseModel):
    """What was removed, or would be."""

    model_config = ConfigDict(frozen=True)

    found: Belongings
    removed: bool

    def sentence(self) -> str:
        return f"Removed {self.found}." if self.removed else f"Would remove {self.found}. Set dry_run=False to do it."
