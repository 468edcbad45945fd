"""What people are told of, in which words: as data, from which the automations of the Prefect server are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from trainmaster.setup.wanted import POOL

PREFIX = "Trainmaster: "
"""How the name of every automation of ours begins."""
TRAINING_FLOWS = ("train-model", "train-and-serve")
MIGRATION_FLOWS = ("migrate-datasets", "verify-copies")
SWEEPS = ("check-drift", "follow-jobs", "reconcile", "report-endpoints", "stop-idle", "sweep-uploads", "weekly-report")
"""What schedules start every few minutes, hours or days, and nobody watches."""
_RUN = "{{ flow_run.name }} ({{ flow.name }})"
_STATE = f"{_RUN} is {{{{ flow_run.state.name }}}}"
_WHY = f"{_RUN}: {{{{ flow_run.state.message }}}}\n\n{{{{ flow_run|ui_url }}}}"
_ENDED_BADLY = tuple(f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut"))


@dataclass(frozen=True)
class Message:
    """Sent at each of these events; `subject` and `body` are Prefect's templates of the event or the run."""

    events: Sequence[str]
    subject: str
    body: str
    related: Mapping[str, str | list[str]] = field(default_factory=dict)
    """Labels of what the event must concern besides."""
    for_each: Sequence[str] = ()
    """Labels: what differs in one of them is told of by itself."""
    at_most_every: timedelta = timedelta(0)


def _of_flows(names: Sequence[str]) -> Mapping[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": list(names)}


MESSAGES: Mapping[str, Message] = {
    f"{PREFIX}a budget's threshold is reached": Message(
        ["trainmaster.budget.reached-*"],
        "{{ event.payload.percent }} % of a budget is committed",
        "{{ event.payload.sentence }}",
    ),
    f"{PREFIX}a job's budget is exhausted": Message(
        ["trainmaster.budget.exhausted"],
        "A budget is exhausted: {{ event.payload.job }}",
        "{{ event.payload.sentence }}",
    ),
    f"{PREFIX}an endpoint is idle, past its time or out of money": Message(
        ["trainmaster.endpoint.*"],
        "Endpoint {{ event.resource.name }}: {{ event.payload.reason }}",
        "{{ event.payload.sentence }}",
    ),
    f"{PREFIX}a workspace is idle or out of money": Message(
        ["trainmaster.workspace.*"],
        "Workspace {{ event.resource.name }}: {{ event.payload.reason }}",
        "{{ event.payload.sentence }}",
    ),
    f"{PREFIX}somebody must approve a training": Message(
        ["trainmaster.budget.approval-wanted"],
        "A training waits for approval",
        "{{ event.payload.sentence }}\n\nAnswer it: {{ event.payload.url }}",
    ),
    f"{PREFIX}what an endpoint is asked for has drifted": Message(
        ["trainmaster.drift"],
        "Endpoint {{ event.payload.endpoint }}: inputs have drifted",
        "{{ event.payload.sentence }}",
    ),
    f"{PREFIX}a training failed": Message(
        _ENDED_BADLY,
        _STATE,
        _WHY,
        related=_of_flows(TRAINING_FLOWS),
    ),
    f"{PREFIX}a migration ended early or left failures, or copies are damaged": Message(
        # A dataset that fails for good is given up after three runs, and told of no more.
        (*_ENDED_BADLY, "prefect.flow-run.CompletedWithFailures"),
        _STATE,
        _WHY,
        related=_of_flows(MIGRATION_FLOWS),
    ),
    f"{PREFIX}what looks after jobs, endpoints and workspaces failed": Message(
        # One that fails every two minutes is told of once an hour.
        _ENDED_BADLY,
        _STATE,
        _WHY,
        related=_of_flows(SWEEPS),
        for_each=["related:flow:prefect.resource.id"],
        at_most_every=timedelta(hours=1),
    ),
    f"{PREFIX}runs are late": Message(
        ["prefect.flow-run.Late"],
        "Nobody carries out the runs of work pool " + POOL,
        f"{_RUN} should have begun, and has not; others may be late as well. Is a worker alive? `prefect worker start --pool {POOL}`"
        " starts one, `trainmaster doctor` says what else is wrong.\n\n{{ flow_run|ui_url }}",
        related={"prefect.resource.role": "work-pool", "prefect.resource.name": POOL},
        at_most_every=timedelta(hours=1),
    ),
}
"""By the name of the automation."""
