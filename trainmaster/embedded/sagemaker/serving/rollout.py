"""How an update takes over: which share of the traffic when, how long it bakes, and what brings the old version back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from trainmaster.embedded.sagemaker.serving.plan import VariantPlan
from trainmaster.embedded.sagemaker.wire import Json, invalid

EXECUTION_SECONDS = 28_800.0
"""The longest an update may take where its policy does not say; AWS's upper limit for one that does."""
WHOLE = Fraction(1)


@dataclass(frozen=True)
class Rollout:
    """`steps` are growing shares of the traffic, the last one all of it; each bakes for `baking` seconds."""

    steps: tuple[Fraction, ...] = (WHOLE,)
    baking: float = 0.0
    termination_wait: float = 0.0
    timeout: float = EXECUTION_SECONDS
    alarms: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Json | None, plans: Iterable[VariantPlan]) -> Rollout:
        """What a DeploymentConfig asks of these variants. Raises AwsError as AWS refuses it."""
        policy = (config or {}).get("BlueGreenUpdatePolicy") or {}
        if config and ("RollingUpdatePolicy" in config or not policy):
            raise invalid("The embedded AWS rolls out by a BlueGreenUpdatePolicy only; leave RollingUpdatePolicy out.")
        routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
        sizes = [plan for plan in plans if not plan.shadow]
        if config and any(plan.serverless for plan in sizes):
            raise invalid("Deployment guardrails are not supported for serverless endpoints.")
        alarms = ((config or {}).get("AutoRollbackConfiguration") or {}).get("Alarms") or []
        rollout = cls(
            tuple(_steps(routing, sum(plan.instances for plan in sizes))),
            routing["WaitIntervalInSeconds"],
            policy.get("TerminationWaitInSeconds", 0),
            policy.get("MaximumExecutionTimeoutInSeconds", EXECUTION_SECONDS),
            tuple(alarm["AlarmName"] for alarm in alarms if alarm.get("AlarmName")),
        )
        waits = rollout.baking * len(rollout.steps) + rollout.termination_wait
        if rollout.timeout < waits:
            raise invalid(
                f"MaximumExecutionTimeoutInSeconds is {rollout.timeout:g}; it must be larger than the {waits:g} seconds that "
                "WaitIntervalInSeconds and TerminationWaitInSeconds come to."
            )
        return rollout


def _steps(routing: Json, instances: int) -> Iterator[Fraction]:
    match routing["Type"]:
        case "CANARY":
            yield _share(routing, "CanarySize", instances, least=Fraction(0), most=Fraction(1, 2))
        case "LINEAR":
            step = _share(routing, "LinearStepSize", instances, least=Fraction(1, 10), most=Fraction(1, 2))
            share = step
            while share < WHOLE:
                yield share
                share += step
    yield WHOLE


def _share(routing: Json, member: str, instances: int, *, least: Fraction, most: Fraction) -> Fraction:
    size = routing.get(member)
    if size is None:
        raise invalid(f"TrafficRoutingConfiguration of Type {routing['Type']} needs a {member}.")
    share = Fraction(size["Value"], 100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    if not least <= share <= most:
        raise invalid(
            f"{member} is {float(share):.0%} of the variants' {instances} instances; it must be "
            f"{f'from {float(least):.0%} to' if least else 'at most'} {float(most):.0%}."
        )
    return share
