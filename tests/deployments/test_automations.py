"""What Prefect does by itself: on the session's own server, heard by a webhook of the test's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from prefect import flow, get_client
from prefect.automations import EventTrigger
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event, Resource, emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Late, Running

from deployments.automations import BURIAL, Automations
from deployments.set_up.applying import SetUp
from deployments.set_up.blocks import NotificationBlocks
from deployments.set_up.server import Server
from trainmaster.errors import MigrationEndedError
from trainmaster.prefect_server import PrefectServer
from trainmaster.setup.notifying import BLOCK
from trainmaster.setup.plan import Step
from trainmaster.setup.telling import MESSAGES
from trainmaster.setup.wanted import POOL

WITHIN = 90.0
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One of this module's own: its automations would crash and tell of other tests' runs."""
    started = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        started.wait_until_healthy()
        with temporary_settings({PREFECT_API_URL: started.api_url}):
            yield started
            EventsWorker.drain_all(timeout=10)
    finally:
        started.close()


@pytest.fixture
def client(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@contextmanager
def listening() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook on loopback: its address, and what it is told."""
    told: list[dict[str, str]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    webhook = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{webhook.server_port}/", told
    webhook.shutdown()
    webhook.server_close()


def until(condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.2)
    return found


def heard(act: Callable[[], object], reaction: Callable[[], T], *, again_after: float = 30) -> T:
    """Act until there is a reaction: Prefect takes up what was changed of an automation a moment later, and misses what comes before."""

    def acted() -> T:
        act()
        again = time.monotonic() + again_after
        while not (found := reaction()) and time.monotonic() < again:
            time.sleep(0.2)
        return found

    return until(acted)


def names(client: SyncPrefectClient) -> list[str]:
    return sorted(automation.name for automation in client.read_automations())


def apply(client: SyncPrefectClient) -> list[Step]:
    """The steps that did something, or of which a person is to know."""
    server = Server(client)
    automations = SetUp(server, [Automations(server, NotificationBlocks(server, None))])
    return [step for step in automations.carry_out(automations.plan()) if step.does_something or step.notes]


def test_without_a_block_only_the_dead_are_buried(client: SyncPrefectClient) -> None:
    assert [(step.action, step.name) for step in apply(client)] == [("create", BURIAL.name)]
    assert names(client) == [BURIAL.name]


def test_with_one_all_are_there_once_however_often_they_are_applied_and_a_budget_is_told_of_once(
    client: SyncPrefectClient,
) -> None:
    with listening() as (url, told):
        CustomWebhookNotificationBlock(
            name="people", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save(BLOCK, overwrite=True)
        assert sorted(step.name for step in apply(client)) == sorted(MESSAGES)
        assert apply(client) == []
        assert names(client) == sorted([*MESSAGES, BURIAL.name])

        paused = client.read_automations_by_name(BURIAL.name)[0]
        client.pause_automation(paused.id)
        [left] = apply(client)
        assert (left.action, left.notes) == ("unchanged", ("is paused, and stays so",))
        assert not client.read_automations_by_name(BURIAL.name)[0].enabled
        client.resume_automation(paused.id)

        def crossed(percent: int) -> None:
            emit_event(
                f"trainmaster.budget.reached-{percent}-percent",
                resource={"prefect.resource.id": "trainmaster.budget.account"},
                payload={"percent": percent, "sentence": f"{percent} % of November's $50.00 is committed."},
            )
            EventsWorker.drain_all(timeout=10)

        def of_percent(percent: int) -> list[dict[str, str]]:
            return [one for one in told if one["subject"].startswith(f"{percent} % ")]

        heard(lambda: crossed(90), lambda: of_percent(90))
        crossed(50)
        [message] = until(lambda: of_percent(50))
        assert message["body"] == "50 % of November's $50.00 is committed."
        crossed(80)  # told after the first, so that by then a second message of the first would have come
        until(lambda: of_percent(80))
        assert len(of_percent(50)) == 1


@flow(name="train-model")
def fails() -> None:
    raise ValueError("of this")


def test_a_training_that_failed_is_told_of_by_name_and_reason(client: SyncPrefectClient) -> None:
    with listening() as (url, told):
        CustomWebhookNotificationBlock(
            name="people", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save(BLOCK, overwrite=True)
        apply(client)
        message = heard(lambda: fails(return_state=True), lambda: told)[0]
    assert message["subject"].endswith("(train-model) is Failed")
    assert "ValueError: of this" in message["body"]


@flow(name="migrate-datasets")
def ends_early() -> None:
    raise MigrationEndedError("Ended early: the bucket is gone. 3 datasets copied.")


@flow(name="migrate-datasets")
def leaves_failures() -> Any:
    return Completed(name="CompletedWithFailures", message="5 datasets copied, 2 failed.")


@flow(name="reconcile")
def sweep_fails() -> None:
    raise ConnectionError("AWS is away")


@pytest.mark.parametrize(
    ("run", "state", "said"),
    [
        (ends_early, "Failed", "the bucket is gone. 3 datasets copied."),
        (leaves_failures, "CompletedWithFailures", "5 datasets copied, 2 failed."),
        (sweep_fails, "Failed", "AWS is away"),
    ],
    ids=["a migration that ended early", "one that left failures", "a sweep"],
)
def test_what_failed_with_nobody_watching_is_told_of_with_its_reason(
    client: SyncPrefectClient, run: Any, state: str, said: str
) -> None:
    with listening() as (url, told):
        CustomWebhookNotificationBlock(
            name="people", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save(BLOCK, overwrite=True)
        apply(client)
        message = heard(lambda: run(return_state=True), lambda: told)[0]
    assert message["subject"].endswith(f"({run.name}) is {state}")
    assert said in message["body"]


def test_late_runs_are_told_of_once_an_hour_and_not_one_by_one(client: SyncPrefectClient) -> None:
    server = Server(client)
    server.create("/work_pools/", {"name": POOL, "type": "process"})
    flow_id = server.create("/flows/", {"name": "train-model"})["id"]
    deployment = {"name": "late", "flow_id": flow_id, "work_pool_name": POOL}
    deployment_id = UUID(server.create("/deployments/", deployment)["id"])
    with listening() as (url, told):
        CustomWebhookNotificationBlock(
            name="people", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save(BLOCK, overwrite=True)
        apply(client)

        def late() -> None:
            client.create_flow_run_from_deployment(deployment_id, state=Late(scheduled_time=datetime.now(UTC)))

        message = heard(late, lambda: told)[0]
        assert message["subject"] == f"Nobody carries out the runs of work pool {POOL}"
        assert "`prefect worker start --pool trainmaster`" in message["body"]
        late()
        heard(lambda: fails(return_state=True), lambda: [one for one in told if "is Failed" in one["subject"]])
        assert len([one for one in told if POOL in one["subject"]]) == 1


def test_a_run_whose_heart_stopped_is_crashed(server: PrefectServer, client: SyncPrefectClient) -> None:
    """After half a minute here, instead of ten: a busy server needs longer for what comes in one call than one would think."""
    assert isinstance(BURIAL.trigger, EventTrigger)
    quick = BURIAL.trigger.model_copy(update={"within": timedelta(seconds=30)})
    client.create_automation(BURIAL.model_copy(update={"name": "quick", "trigger": quick}))
    dead, waiting = (client.create_flow_run(fails, state=Running()) for _ in range(2))

    def sign(run: FlowRun, name: str, after: Event | None = None) -> Event:
        resource = Resource({"prefect.resource.id": f"prefect.flow-run.{run.id}"})
        follows = after.id if after else None
        return Event(event=f"prefect.flow-run.{name}", resource=resource, occurred=datetime.now(UTC), follows=follows)

    def beat() -> None:
        """In one call, and in this order: one by one they can be further apart than the silence is long."""
        heartbeat = sign(waiting, "heartbeat")
        signs = [heartbeat, sign(waiting, "Suspended", after=heartbeat), sign(dead, "heartbeat")]
        json_ = [one.model_dump(mode="json") for one in signs]
        httpx.post(f"{server.api_url}/events", json=json_, timeout=60).raise_for_status()

    crashed = heard(beat, lambda: _crashed(client, dead.id), again_after=75)
    assert crashed.message == "Nothing was heard of this run for 10 minutes."
    assert _crashed(client, waiting.id) is None


def _crashed(client: SyncPrefectClient, run_id: Any) -> Any:
    state = client.read_flow_run(run_id).state
    return state if state and state.is_crashed() else None
