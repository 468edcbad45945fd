"""Asking somebody: a run over budget is suspended until it is approved up to an amount, or refused.

Part of the flow itself and no step: only a flow can be suspended. It ends the process; the answer starts the flow anew, which
then finds the answer here and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from prefect import get_run_logger, pause_flow_run, suspend_flow_run
from prefect.events import emit_event
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.input.actions import read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import deployment, flow_run
from pydantic import Field, create_model

from tasks.aws import desk_of, step
from trainmaster.budget.approval import ENDING_SECONDS, SHORTEST_USEFUL_SECONDS
from trainmaster.budget.charge import Allowance
from trainmaster.budget.money import Dollars, rounded_up, shown
from trainmaster.settings import Settings
from trainmaster.training.attempts import cut_to
from trainmaster.training.plan import TrainingPlan

EVENT = "trainmaster.budget.approval-wanted"
LOOK_AGAIN_SECONDS = 2
"""How often a run that cannot be suspended looks for its answer."""


class BudgetDecision(RunInput):
    """What the Prefect UI asks for, in a form of this model."""

    decision: Annotated[
        Literal["approve", "refuse"],
        Field(
            title="Decision", description="Approve: the job is launched. Refuse: the run ends and nothing was spent."
        ),
    ]
    up_to: Annotated[
        Dollars,
        Field(
            title="Up to (USD)",
            description="The most the job may cost, whatever the budgets say. Less than it would: it is stopped earlier. Empty: all it may cost.",
            gt=0,
            decimal_places=2,
        ),
    ]
    decided_by: Annotated[
        str, Field(title="Decided by", description="Who decides; kept in the books.", min_length=1, max_length=100)
    ]
    remark: Annotated[str, Field(title="Remark", description="Why; kept in the run's log.", max_length=500)] = ""

    def sentence(self) -> str:
        """For people: who decided what."""
        said = "Refused" if self.decision == "refuse" else f"Approved up to ${self.up_to}"
        return f"{said} by {self.decided_by.strip()}{f': {self.remark.strip()}' if self.remark.strip() else ''}"


@dataclass(frozen=True)
class Question:
    """What somebody has to decide on: what the job may cost, which budgets have less left, what would fit in them."""

    worst_case: Decimal
    least_useful: Decimal
    stands: tuple[str, ...]
    cheaper: tuple[str, ...]

    def sentence(self, job_name: str) -> str:
        return f"Training {job_name} may cost {shown(self.worst_case)}; {'; '.join(self.stands)}."

    def description(self, plan: TrainingPlan) -> str:
        """Markdown, above the form."""
        resources, approval = plan.create_request["ResourceConfig"], plan.approval
        kind = "spot" if plan.request.use_spot_instances else "on-demand"
        lines = [
            f"**{self.sentence(plan.job_name)}**",
            "",
            f"- {resources['InstanceCount']} × {resources['InstanceType']}, {kind}, at {shown(approval.rate.hourly)} an hour",
            f"- at most {approval.max_runtime_seconds} s, and {ENDING_SECONDS} s to end",
            f"- least useful amount: ${self.least_useful}",
        ]
        if self.cheaper:
            lines += ["", f"Would fit in what is left: {', '.join(self.cheaper)}."]
        return "\n".join(lines)


@dataclass(frozen=True)
class Answer:
    """How the run goes on: with this plan, perhaps cut; beyond the budgets by an `allowance`; not at all if there is a `refusal`."""

    plan: TrainingPlan
    allowance: Allowance | None = None
    refusal: str = ""


def ask_if_over_budget(plan: TrainingPlan, settings: Settings) -> Answer:
    """The plan as it is while it fits the budgets, or where nobody is to be asked; else what somebody answers, whenever.

    Ends the process while it waits, where the run belongs to a deployment. Raises OverBudgetError when what was approved pays
    for nothing useful.
    """
    if plan.request.on_over_budget != "ask":
        return Answer(plan)
    key = f"budget-{plan.job_name}"
    decision = given(key)
    if decision is None:
        question = what_to_decide(plan, settings)
        if question is None:
            return Answer(plan)
        _tell(question, plan)
        try:
            decision = _wait_for(form_of(question, question.description(plan)), key, settings.approval_seconds)
        except FlowPauseTimeout:
            return Answer(plan, refusal=f"Nobody decided within {settings.approval_seconds} s")
    get_run_logger().info("%s.", decision.sentence())
    if decision.decision == "refuse":
        return Answer(plan, refusal=decision.sentence())
    return Answer(cut_to(plan, decision.up_to), Allowance(decision.up_to, decision.decided_by.strip()))


@step(task_run_name="hold {plan.job_name} against the budgets")
def what_to_decide(plan: TrainingPlan, settings: Settings) -> Question | None:
    """What a budget has too little left for; None when all have enough, or the job is paid for already."""
    amount, approval = plan.charge.amount, plan.approval
    with desk_of(settings) as desk:
        known = desk.ledger.find(plan.job_name)
        if known and known.state != "released":
            return None
        standings = [desk.ledger.standing(budget) for budget in plan.charge.payer.budgets()]
    short = [(one.left, one.sentence()) for one in standings if one.left is not None and one.left < amount]
    if not short:
        return None
    useful = min(SHORTEST_USEFUL_SECONDS, approval.asked_runtime_seconds)
    least = rounded_up(approval.rate.cost(useful + ENDING_SECONDS + approval.kept_seconds))
    cheaper = approval.cheaper(min(left for left, _ in short), smaller="up to")
    return Question(amount, least, tuple(sentence for _, sentence in short), tuple(cheaper))


def _tell(question: Question, plan: TrainingPlan) -> None:
    get_run_logger().warning(
        "%s It is launched only if somebody approves it: Resume in this run's menu.", question.sentence(plan.job_name)
    )
    emit_event(
        EVENT,
        resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name},
        payload={
            "job": plan.job_name,
            "worst_case": str(question.worst_case),
            "sentence": question.sentence(plan.job_name),
            "url": flow_run.ui_url,
        },
    )


def form_of(question: Question, description: str) -> type[BudgetDecision]:
    """The form with the whole amount filled in, and nothing below what is useful to be approved."""
    up_to = BudgetDecision.model_fields["up_to"]
    field: Any = Field(
        default=rounded_up(question.worst_case),
        title=up_to.title,
        description=up_to.description,
        ge=question.least_useful,
        decimal_places=2,
        json_schema_extra=_one_number,
    )
    form = create_model(BudgetDecision.__name__, __base__=BudgetDecision, up_to=(Dollars, field))
    form._description = description
    return form


def _one_number(schema: dict[str, Any]) -> None:
    """A field for a number; of a decimal Prefect makes two to choose between, one for a float and one for text."""
    [as_number] = (one for one in schema.pop("anyOf") if one["type"] == "number")
    schema.update(as_number, default=float(schema["default"]))


def _wait_for(form: type[BudgetDecision], key: str, seconds: int) -> BudgetDecision:
    """Raises Prefect's Pause where the run is suspended, FlowPauseTimeout where it is not and nobody answers."""
    if deployment.id and not flow_run.parent_flow_run_id:
        return suspend_flow_run(wait_for_input=form, timeout=seconds, key=key)
    return pause_flow_run(wait_for_input=form, timeout=seconds, poll_interval=LOOK_AGAIN_SECONDS, key=key)


def given(key: str) -> BudgetDecision | None:
    """What was answered in this run before it was started again, or tried again after it failed. An amount left empty is the whole
    one, as the form had it."""
    for way in ("suspended", "paused"):
        keys = keyset_from_base_key(f"{way}-{key}")
        response: Any = read_flow_run_input(keys["response"])
        if response is not None:
            form: Any = read_flow_run_input(keys["schema"])
            return BudgetDecision(**{"up_to": form["properties"]["up_to"]["default"], **response})
    return None
