"""Endpoints nobody wants any more, looked after on the embedded AWS: warned of, then scaled down or removed, and brought back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from books import Still, user
from desks import desk_at
from hosting import Hosting

from trainmaster.budget.budgets import Payer
from trainmaster.budget.ledger import Ledger
from trainmaster.endpoints.metering import see_hours
from trainmaster.endpoints.plan import ENDPOINT_TAG, EXPIRES_TAG, IDLE_TAG, WHEN_OVER_TAG, Desired
from trainmaster.endpoints.watch.results import SweptEndpoint
from trainmaster.endpoints.watch.watching import StopIdleRequest, watch_endpoints
from trainmaster.training.desk import Desk

ANNA = UUID(int=1)


@pytest.fixture
def clock() -> Still:
    return Still(datetime.now(UTC))


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, clock: Still) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, ledger=Ledger(opened.catalogue.database, clock))


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    made = Hosting(embedded)
    yield made
    made.remove()


def ours(hosting: Hosting, *, instances: int = 1, **tags: str) -> str:
    """An endpoint of ours in service, with these tags."""
    name = hosting.serve(hosting.variant(hosting.model(), InitialInstanceCount=instances))
    described = hosting.sagemaker.describe_endpoint(EndpointName=name)
    arn, config = described["EndpointArn"], described["EndpointConfigName"]
    of_config = hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    hosting.sagemaker.add_tags(ResourceArn=of_config, Tags=[{"Key": ENDPOINT_TAG, "Value": name}])
    every = {ENDPOINT_TAG: name, **{f"trainmaster:{key.replace('_', '-')}": value for key, value in tags.items()}}
    hosting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in every.items()])
    return name


def swept(desk: Desk, name: str, **asked: Any) -> SweptEndpoint:
    [seen] = [one for one in watch_endpoints(desk, StopIdleRequest(**asked)) if one.endpoint == name]
    return seen


def status(hosting: Hosting, name: str) -> str | None:
    found = hosting.sagemaker.list_endpoints(NameContains=name)["Endpoints"]
    return found[0]["EndpointStatus"] if found else None


def test_the_tags_a_deployment_writes_are_those_that_are_read_here() -> None:
    assert (IDLE_TAG, EXPIRES_TAG, WHEN_OVER_TAG) == (
        "trainmaster:idle-minutes",
        "trainmaster:expires",
        "trainmaster:when-over",
    )


def test_one_nobody_calls_is_warned_of_and_removed_when_its_notice_is_over_and_its_configuration_and_model_stay(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = ours(hosting, idle_minutes="60", when_over="remove")
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    assert swept(desk, name).act == "leave"
    clock.pass_(minutes=76)
    warned = swept(desk, name)
    assert (warned.act, warned.reason) == ("warn", "idle")
    assert "nobody has called it for 60 minutes; it is removed in 30 minutes" in warned.sentence()
    clock.pass_(minutes=29)
    assert swept(desk, name).act == "leave"
    clock.pass_(minutes=2)
    assert "would be removed" in swept(desk, name, dry_run=True).sentence()
    assert status(hosting, name) == "InService"
    removed = swept(desk, name)
    assert (removed.act, removed.done) == (
        "remove",
        f"it is removed; `trainmaster endpoints start {name}` brings it back",
    )
    assert status(hosting, name) in {"Deleting", None}
    kept = hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    tags = {
        tag["Key"]: tag["Value"] for tag in hosting.sagemaker.list_tags(ResourceArn=kept["EndpointConfigArn"])["Tags"]
    }
    assert tags == {ENDPOINT_TAG: name, IDLE_TAG: "60", WHEN_OVER_TAG: "remove"}
    assert hosting.sagemaker.describe_model(ModelName=kept["ProductionVariants"][0]["ModelName"])


def test_one_that_is_called_is_left_alone_and_its_warning_forgotten(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = ours(hosting, idle_minutes="60", when_over="remove")
    clock.pass_(minutes=76)
    assert swept(desk, name).act == "warn"
    hosting.invoke(name)
    clock.moment = datetime.now(UTC) + timedelta(minutes=1)
    hosting.wait_until(lambda: swept(desk, name, dry_run=True).act == "forget")
    assert swept(desk, name).done == "its warning is forgotten"
    clock.pass_(minutes=56)
    assert swept(desk, name).act == "leave"
    clock.pass_(minutes=20)
    assert swept(desk, name).act == "warn"


def test_one_past_its_time_is_scaled_down_to_one_instance(desk: Desk, hosting: Hosting, clock: Still) -> None:
    over = (clock.moment + timedelta(minutes=10)).isoformat()
    name = ours(hosting, instances=2, expires=over, when_over="scale-down")
    assert swept(desk, name).act == "warn"
    clock.pass_(minutes=31)
    assert swept(desk, name).done == "scaled down: AllTraffic to 1"
    [variant] = hosting.settled(name)["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 1
    assert swept(desk, name).act == "leave"


def test_one_out_of_money_is_removed_by_its_policy(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = ours(hosting, when_over="remove")
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, Desired(name, "model", config, {}, {}, Decimal("0.115")), Payer(ANNA))
    assert swept(desk, name).act == "leave"
    desk.ledger.set_limit(user(ANNA), Decimal("0.10"), set_by="a test")
    warned = swept(desk, name)
    assert (warned.act, warned.reason) == ("warn", "exhausted")
    assert f"endpoint {name}, hours 6 to 12 would cost $0.69" in warned.why
    clock.pass_(minutes=30)
    assert swept(desk, name).act == "remove"


@pytest.mark.parametrize("policy", ["scale-down", "remove"])
def test_one_that_aws_keeps_from_answering_costs_money_still_and_goes_by_its_policy(
    desk: Desk, hosting: Hosting, clock: Still, policy: str
) -> None:
    name = ours(hosting, instances=2, expires=clock.moment.isoformat(), when_over=policy)
    fault = {"operation": f"OutOfService:{name}", "error": "InternalServerError", "message": "All gone.", "count": 1}
    hosting.embedded.control("POST", "faults", fault)
    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "OutOfService"
    warned = swept(desk, name)
    assert (warned.act, warned.reason) == ("warn", "expired")
    clock.pass_(minutes=31)
    assert swept(desk, name).act == {"scale-down": "leave", "remove": "remove"}[policy]


def test_one_that_changed_while_it_was_looked_at_is_left_alone(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = ours(hosting, expires=clock.moment.isoformat(), when_over="remove")
    assert swept(desk, name).act == "warn"
    clock.pass_(minutes=31)
    changed = hosting.config(hosting.variant(hosting.model("v2")))

    def client(service: str) -> Any:
        if service == "cloudwatch":  # is asked between the look and the deed
            hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=changed)
        return desk.client(service)

    arn = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointArn"]
    hosting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": IDLE_TAG, "Value": "60"}])
    [seen] = [one for one in watch_endpoints(replace(desk, client=client), StopIdleRequest()) if one.endpoint == name]
    assert (seen.act, seen.done) == ("leave", "")
    assert hosting.settled(name)["EndpointConfigName"] == changed


def test_what_fails_for_one_keeps_no_other_from_being_looked_after_and_others_endpoints_are_not_ours(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    over = clock.moment.isoformat()
    unreadable, fine = ours(hosting, idle_minutes="soon", expires=over), ours(hosting, expires=over)
    theirs = hosting.serve()
    seen = {one.endpoint: one for one in watch_endpoints(desk, StopIdleRequest())}
    assert "trainmaster:idle-minutes" in seen[unreadable].failure
    assert "Make it a number of minutes" in seen[unreadable].sentence()
    assert seen[fine].act == "warn"
    assert theirs not in seen


def test_where_cloudwatch_cannot_be_asked_none_is_idle_and_those_past_their_time_are_looked_after(
    embedded: Any, desk: Desk, hosting: Hosting, clock: Still
) -> None:
    idle = ours(hosting, idle_minutes="60")
    expired = ours(hosting, idle_minutes="60", expires=clock.moment.isoformat())
    clock.pass_(minutes=90)
    embedded.control("POST", "faults", {"operation": "GetMetricData", "error": "AccessDenied", "status": 403})
    try:
        seen = list(watch_endpoints(desk, StopIdleRequest()))
    finally:
        embedded.control("DELETE", "faults")
    by_name = {one.endpoint: one for one in seen if not one.failure}
    assert (by_name[idle].act, by_name[expired].reason) == ("leave", "expired")
    [failure] = [one.failure for one in seen if one.failure and idle in one.endpoint]
    assert "CloudWatch does not say how often they are called" in failure


def test_a_sweep_asks_twice_about_each_endpoint_and_once_about_the_calls_of_all(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    def asked() -> Counter[str]:
        """The calls of one sweep, by operation."""
        calls: Counter[str] = Counter()

        def client(service: str) -> Any:
            made = hosting.embedded.client(service)
            made.meta.events.register("before-call", lambda model, **_: calls.update([model.name]))
            return made

        clients = cache(client)
        assert not [
            one.failure for one in watch_endpoints(replace(desk, client=clients), StopIdleRequest()) if one.failure
        ]
        return calls

    ours(hosting, idle_minutes="60")
    before = asked()
    for _ in range(3):
        ours(hosting, idle_minutes="60")
    after = asked()
    assert (before["ListEndpoints"], before["GetMetricData"]) == (1, 1)
    assert after - before == Counter({"DescribeEndpoint": 3, "ListTags": 3})
