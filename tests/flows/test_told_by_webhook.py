"""What the flows find of budgets and endpoints reaches people: real flows, Prefect's automations, a webhook of the test's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from paid_workspaces import workspace
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from served_models import GOOD, put_model

from deployments.automations import Automations
from deployments.set_up.applying import SetUp
from deployments.set_up.blocks import NotificationBlocks
from deployments.set_up.server import reached
from flows.reconcile import reconcile
from flows.stop_idle import stop_idle
from trainmaster.budget.budgets import Budget, Payer
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.endpoints.plan import ENDPOINT_TAG, EXPIRES_TAG
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.prefect_server import PrefectServer
from trainmaster.settings import Settings
from trainmaster.setup.notifying import BLOCK
from trainmaster.training.reconciling import ReconcileRequest

WITHIN = 180.0
AGAIN_AFTER = 20.0
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
NOT_OURS = "arn:aws:sagemaker:us-east-1:210987654321:endpoint/"
"""Of another account, which reconcile leaves alone."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def told(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, str]]]:
    """What a webhook hears of the flows of this process, by the automations of a Prefect server of the module's own."""
    heard: list[dict[str, str]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    webhook = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.wait_until_healthy()
        with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: server.api_url}):
            for name, value in embedded.environment.items():
                patch.setenv(name, value)
            patch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path_factory.mktemp("books")))
            patch.delenv("DATABASE_URL", raising=False)
            CustomWebhookNotificationBlock(
                name="people",
                url=f"http://127.0.0.1:{webhook.server_port}/",
                json_data={"subject": "{{subject}}", "body": "{{body}}"},
            ).save(BLOCK, overwrite=True)
            with reached() as prefect:
                automations = SetUp(prefect, [Automations(prefect, NotificationBlocks(prefect, None))])
                list(automations.carry_out(automations.plan()))
            yield heard
            EventsWorker.drain_all(timeout=10)
    finally:
        server.close()
        webhook.shutdown()
        webhook.server_close()


@pytest.fixture
def ledger(told: Any) -> Iterator[Ledger]:
    """The flows' own."""
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as opened:
        yield opened


def heard_of(act: Callable[[], T], reaction: Callable[[T], list[dict[str, str]]]) -> tuple[T, list[dict[str, str]]]:
    """Act anew until it is heard of: Prefect takes up a new automation a moment later, and misses what comes before."""
    deadline = time.monotonic() + WITHIN
    while True:
        acted = act()
        EventsWorker.drain_all(timeout=10)
        again = time.monotonic() + AGAIN_AFTER
        while time.monotonic() < again:
            if found := reaction(acted):
                return acted, found
            time.sleep(0.2)
        assert time.monotonic() < deadline, "nobody was told"


def test_a_budget_whose_threshold_is_crossed_by_real_hours_reaches_the_webhook_once(
    told: list[dict[str, str]], ledger: Ledger
) -> None:
    def cross() -> Budget:
        """Six hours for $0.69 of a new user's dollar; whoever reserved them died before telling."""
        user_id = uuid4()
        budget = Budget("user", str(user_id))
        ledger.set_limit(budget, Decimal("1.00"), set_by="a test")
        Meters(ledger).start(Metered(f"{NOT_OURS}e-{user_id}", Decimal("0.115"), "config", Payer(user_id)))
        reconcile(ReconcileRequest())
        return budget

    def of(budget: Budget) -> list[dict[str, str]]:
        return [one for one in told if str(budget.owner) in one["body"]]

    budget, [message] = heard_of(cross, of)
    assert message["subject"] == "50 % of a budget is committed"
    assert "$0.69" in message["body"]
    assert "$1.00" in message["body"]
    reconcile(ReconcileRequest())  # tells nobody again
    later, _ = heard_of(cross, of)  # told after it, so that by then a second message of the first would have come
    assert (len(of(budget)), len(of(later))) == (1, 1)


class Bucket:
    """Where a model is put."""

    def __init__(self, embedded: Any) -> None:
        self.client, self.bucket = embedded.client, embedded.environment["TRAINMASTER_BUCKET"]
        self.role = embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]


def serve(bucket: Bucket) -> str:
    """An endpoint of ours in service, past its time; its name."""
    sagemaker, name = bucket.client("sagemaker"), f"over-{uuid4().hex[:8]}"
    container = {
        "Image": IMAGE,
        "ModelDataUrl": put_model(bucket, f"{name}.tar.gz", GOOD.format(version="v", price=7), "v"),
    }
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=bucket.role)
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    tags = {ENDPOINT_TAG: name, EXPIRES_TAG: "2026-01-01T00:00:00+00:00"}
    sagemaker.create_endpoint(
        EndpointName=name, EndpointConfigName=name, Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    return name


def test_an_endpoint_that_is_over_reaches_the_webhook(told: list[dict[str, str]], embedded: Any) -> None:
    served: list[str] = []

    def warn() -> str:
        served.append(serve(Bucket(embedded)))
        stop_idle(StopIdleRequest())
        return served[-1]

    try:
        name, [message] = heard_of(warn, lambda name: [one for one in told if name in one["subject"]])
    finally:
        for each in served:
            embedded.client("sagemaker").delete_endpoint(EndpointName=each)
    assert message["subject"] == f"Endpoint {name}: expired"
    assert "its time to live was over at 2026-01-01 00:00 UTC" in message["body"]


def test_a_workspace_no_budget_has_money_for_reaches_the_webhook(told: list[dict[str, str]], ledger: Ledger) -> None:
    settings = Settings()

    def warn() -> str:
        """Its hours are reserved, and its limit lowered since."""
        row = workspace()
        with closing(open_catalogue(settings.catalogue_url, settings.state_dir)) as catalogue:
            catalogue.workspaces.begin(row)
        Meters(ledger).start(Metered(row.resource, row.hourly_cost, "machine", row.payer))
        ledger.set_limit(Budget("user", str(row.user_id)), Decimal("0.01"), set_by="a test")
        stop_idle(StopIdleRequest())
        return row.name

    name, [message] = heard_of(
        warn, lambda name: [one for one in told if one["subject"] == f"Workspace {name}: exhausted"]
    )
    assert f"machine of workspace {name}" in message["body"]
    assert "its files are kept" in message["body"]
