"""What Prefect does by itself: tells people about budgets, trainings, endpoints, workspaces and migrations, and buries runs that died unseen.

`python -m deployments.automations` brings the server of PREFECT_API_URL to this list, by name; `make up` does so as well.
Notifications go through whichever notification block is saved as `trainmaster-notifications`: Slack, Teams, email, a webhook …
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from prefect import get_client
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification

NOTIFICATION_BLOCK = "trainmaster-notifications"
TRAINING_FLOWS = ["train-model", "train-and-serve"]
MIGRATION_FLOWS = ["migrate-datasets", "verify-copies"]
SILENCE = timedelta(minutes=10)
"""How long a run may be silent: three of Prefect's heartbeats, which come every 180 s, and a minute."""
SIGNS_OF_LIFE = [
    "heartbeat", "Paused", "Suspended", "AwaitingRetry", "Completed", "CompletedWithFailures", "Refused", "Failed",
    "TimedOut", "Crashed", "Cancelled",
]  # fmt: skip
_PAGE = 200
_RUN = "{{ flow_run.name }} ({{ flow.name }})"
_STATE = f"{_RUN} is {{{{ flow_run.state.name }}}}"
_WHY = f"{_RUN}: {{{{ flow_run.state.message }}}}\n\n{{{{ flow_run|ui_url }}}}"

MESSAGES: dict[str, tuple[EventTrigger, str, str]] = {
    "Trainmaster: a budget's threshold is reached": (
        EventTrigger(expect={"trainmaster.budget.reached-*"}, posture=Posture.Reactive),
        "{{ event.payload.percent }} % of a budget is committed",
        "{{ event.payload.sentence }}",
    ),
    "Trainmaster: a job's budget is exhausted": (
        EventTrigger(expect={"trainmaster.budget.exhausted"}, posture=Posture.Reactive),
        "A budget is exhausted: {{ event.payload.job }}",
        "{{ event.payload.sentence }}",
    ),
    "Trainmaster: an endpoint is idle, past its time or out of money": (
        EventTrigger(expect={"trainmaster.endpoint.*"}, posture=Posture.Reactive),
        "Endpoint {{ event.resource.name }}: {{ event.payload.reason }}",
        "{{ event.payload.sentence }}",
    ),
    "Trainmaster: a workspace is idle or out of money": (
        EventTrigger(expect={"trainmaster.workspace.*"}, posture=Posture.Reactive),
        "Workspace {{ event.resource.name }}: {{ event.payload.reason }}",
        "{{ event.payload.sentence }}",
    ),
    "Trainmaster: somebody must approve a training": (
        EventTrigger(expect={"trainmaster.budget.approval-wanted"}, posture=Posture.Reactive),
        "A training waits for approval",
        "{{ event.payload.sentence }}\n\nAnswer it: {{ event.payload.url }}",
    ),
    "Trainmaster: what an endpoint is asked for has drifted": (
        EventTrigger(expect={"trainmaster.drift"}, posture=Posture.Reactive),
        "Endpoint {{ event.payload.endpoint }}: inputs have drifted",
        "{{ event.payload.sentence }}",
    ),
    "Trainmaster: a training failed": (
        EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": TRAINING_FLOWS},
            posture=Posture.Reactive,
        ),
        _STATE,
        _WHY,
    ),
    "Trainmaster: a migration ended early or left failures, or copies are damaged": (
        EventTrigger(
            # A dataset that fails for good is given up after three runs, and told of no more.
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "CompletedWithFailures")},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": MIGRATION_FLOWS},
            posture=Posture.Reactive,
        ),
        _STATE,
        _WHY,
    ),
}
"""By name: what sends a message, its subject and its text, as Prefect's templates of the event or the run."""

BURIAL = AutomationCore(
    name="Trainmaster: a run that fell silent has crashed",
    description="No worker reports a run whose machine is gone: without this it would run for ever, and hold its slot.",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        # One that waits for an answer or to be tried again has no process, and no heartbeat.
        expect={f"prefect.flow-run.{sign}" for sign in SIGNS_OF_LIFE},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    ),
    actions=[
        ChangeFlowRunState(
            state=StateType.CRASHED,
            name=None,
            force=False,
            message=f"Nothing was heard of this run for {SILENCE.total_seconds() / 60:.0f} minutes.",
        )
    ],
)


def wanted(block: UUID | None) -> list[AutomationCore]:
    """Every automation there should be; messages only where there is a block to send them through."""
    if block is None:
        return [BURIAL]
    return [
        AutomationCore(
            name=name,
            description="A message through the block " + NOTIFICATION_BLOCK,
            trigger=trigger,
            actions=[SendNotification(block_document_id=block, subject=subject, body=body)],
        )
        for name, (trigger, subject, body) in MESSAGES.items()
    ] + [BURIAL]


def apply(client: SyncPrefectClient) -> Iterator[str]:
    """Create what is missing and bring the rest up to date, by name; a sentence for each. Safe to repeat."""
    block = notification_block(client)
    if block is None:
        yield (
            f"There is no notification block {NOTIFICATION_BLOCK}, so nobody is sent a message of budgets and failures."
            " Save one of that name in the Prefect UI (Blocks), then run `python -m deployments.automations`."
        )
    for automation in wanted(block):
        known = client.read_automations_by_name(automation.name)
        if known:
            # whoever paused it in the UI keeps it paused
            client.update_automation(known[0].id, automation.model_copy(update={"enabled": known[0].enabled}))
            yield f"{automation.name}: up to date."
        else:
            client.create_automation(automation)
            yield f"{automation.name}: created."


def notification_block(client: SyncPrefectClient) -> UUID | None:
    """The id of the block that messages go through, of whichever type that can send any."""
    for offset in range(0, sys.maxsize, _PAGE):
        page = client.read_block_documents(offset=offset, limit=_PAGE, include_secrets=False)
        for block in page:
            can_send = block.block_schema and "notify" in block.block_schema.capabilities
            if block.name == NOTIFICATION_BLOCK and can_send:
                return block.id
        if len(page) < _PAGE:
            return None
    return None


def main() -> int:
    """Exit code 0; Prefect's own error when its server cannot be reached."""
    with get_client(sync_client=True) as client:
        for sentence in apply(client):
            print(sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
