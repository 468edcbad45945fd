"""A plan before it is carried out, as text for a terminal, as Markdown for an artifact in the Prefect UI, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import ROUND_UP, Decimal
from typing import Any

from trainmaster.aws import quotas
from trainmaster.budget.budgets import Standing
from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.money import CENT, rounded, shown
from trainmaster.datasets.showing.markdown import plain
from trainmaster.plain_words import printable
from trainmaster.training.checking import Room
from trainmaster.training.plan import TrainingPlan

SPOT_SHARE = Decimal("0.3")
"""Of the on-demand price a spot job usually pays so much. AWS names no figure but "up to 90 %" off; nothing is promised, so
nothing but what is shown as likely depends on it: https://aws.amazon.com/sagemaker/pricing/ and the managed spot guide."""
_GAP = 2


def likely_cost(plan: TrainingPlan) -> Decimal:
    """US dollars of a job that runs its longest: spot at its usual share, on-demand in full. An estimate, never a bound."""
    share = SPOT_SHARE if plan.request.use_spot_instances else Decimal(1)
    return plan.approval.rate.cost(plan.approval.max_runtime_seconds) * share


def plan_text(plan: TrainingPlan, *, with_request: bool = True) -> str:
    """For a terminal: what is to run, what it costs, what is left, and the request that AWS would get, unless it is left out."""
    facts = list(_facts(plan))
    width = max(len(label) for label, _ in facts) + _GAP
    lines = [f"{label:<{width}}{printable(said)}" for label, said in facts]
    notes = [f"Note: {printable(note)}" for note in plan.notes]
    request = ["", "CreateTrainingJob", printable_json(plan.create_request)] if with_request else []
    return "\n".join([*lines, *([""] if notes else []), *notes, *request, ""])


def plan_markdown(plan: TrainingPlan) -> str:
    """The same for an artifact; nothing a user wrote is markup in it."""
    rows = [f"| {plain(label)} | {plain(said)} |" for label, said in _facts(plan)]
    notes = [f"- {plain(note)}" for note in plan.notes]
    # Indented, since no run of backticks in what a user wrote can end it.
    request = "\n".join(f"    {line}" for line in printable_json(plan.create_request).splitlines())
    parts = [
        f"# Plan of training job {plain(plan.job_name)}",
        "\n".join(["| | |", "|---|---|", *rows]),
        *(["## Notes", "\n".join(notes)] if notes else []),
        "## CreateTrainingJob",
        request,
    ]
    return "\n\n".join(parts) + "\n"


def plan_value(plan: TrainingPlan) -> dict[str, Any]:
    """The same as JSON; amounts are strings of US dollars, so that none loses a cent."""
    around, approval = plan.circumstances, plan.approval
    return {
        "job_name": plan.job_name,
        "fingerprint": plan.fingerprint,
        "region": plan.charge.resource.split(":")[3],
        "instance_type": plan.request.instance_type,
        "instance_count": plan.request.instance_count,
        "spot": plan.request.use_spot_instances,
        "max_runtime_seconds": approval.max_runtime_seconds,
        "worst_case_usd": str(rounded(approval.worst_case)),
        "likely_usd": str(rounded(likely_cost(plan))),
        "hourly_usd": str(rounded(approval.rate.hourly)),
        "budget_limit_usd": str(approval.approved),
        "budgets": [_standing(standing) for standing in (around.standings if around else ())],
        "quotas": [_room(room) for room in (around.rooms if around else ())],
        "launched_before": bool(around and around.launched),
        "notes": list(plan.notes),
        "create_training_job": plan.create_request,
    }


def printable_json(value: Any) -> str:
    """Indented, in ASCII alone: nothing in it commands a terminal."""
    return json.dumps(value, indent=2, default=str)


def _facts(plan: TrainingPlan) -> Iterator[tuple[str, str]]:
    request, approval, around = plan.request, plan.approval, plan.circumstances
    yield "Training job", plan.job_name
    if around and around.launched:
        yield "Launched", "before; it would be followed, not launched again"
    yield "Runs on", _machines(plan)
    cut = ", cut to what the budget pays for" if approval.is_cut else ""
    yield "At most for", f"{approval.max_runtime_seconds:,} s of training{cut}"
    if request.use_spot_instances:
        yield "Waits", f"at most {plan.longest_wait_seconds:,} s for spot instances and training together"
    if request.warm_pool_seconds:
        yield "Warm pool", f"{request.warm_pool_seconds:,} s after the job, billed like it"
    yield "At worst", f"{shown(approval.worst_case)} of its budget_limit of {shown(approval.approved)}"
    yield "Likely", _likely(plan)
    for standing in around.standings if around else ():
        yield "Budget", _budget(standing)
    for room in around.rooms if around else ():
        yield "Quota", _quota(room)


def _machines(plan: TrainingPlan) -> str:
    request = plan.request
    hardware = hardware_of(request.instance_type)
    inside = f" ({hardware.gpus_said})" if hardware and hardware.gpus else ""
    kind = "spot" if request.use_spot_instances else "on demand"
    region = plan.charge.resource.split(":")[3]
    return f"{request.instance_count} × {request.instance_type}{inside}, {kind}, in {region}"


def _likely(plan: TrainingPlan) -> str:
    cost = f"about {_about(likely_cost(plan))}"
    if plan.request.use_spot_instances:
        return f"{cost} if it runs its longest; an estimate, with the 70 % that spot usually saves and AWS does not promise"
    return f"{cost} if it runs its longest; less if it ends sooner"


def _about(dollars: Decimal) -> str:
    """An estimate to two figures and not below a cent, as far as anything about it is known."""
    if dollars < CENT:
        return "a cent"
    places = Decimal(1).scaleb(max(dollars.adjusted() - 1, -2))
    return (
        f"${dollars.quantize(places, ROUND_UP):,f}"
        if dollars < 100
        else f"${int(dollars.quantize(places, ROUND_UP)):,}"
    )


def _budget(standing: Standing) -> str:
    said = standing.sentence()
    return said[:1].upper() + said[1:]


def _quota(room: Room) -> str:
    if room.quota.name == quotas.LONGEST_RUNTIME:
        return f"{room.quota.name}: {room.quota.value:,} s"
    return f"{room.quota.name}: {room.left} of {room.quota.value} left"


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "budget": standing.budget.code,
        "month": standing.month,
        "limit_usd": None if standing.limit is None else str(standing.limit),
        "left_usd": None if standing.left is None else str(standing.left),
    }


def _room(room: Room) -> dict[str, Any]:
    quota = room.quota
    return {"name": quota.name, "code": quota.code, "value": quota.value, "used": room.used, "left": room.left}
