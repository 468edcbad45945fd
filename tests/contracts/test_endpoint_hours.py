"""Hours of endpoints in the books: reserved before one is made, billed until it is found gone, whoever made or removed what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from books import Clock, user
from desks import desk_at
from hosting import Hosting

from trainmaster.budget.budgets import ACCOUNT, Payer
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.endpoints.metering import (
    endpoint_arn,
    meter_endpoint,
    meter_endpoints,
    regions_with_endpoints,
    reserve_hours,
    see_hours,
)
from trainmaster.endpoints.plan import SCALING_TAG, Desired
from trainmaster.endpoints.request import Scaling
from trainmaster.endpoints.scaling import scaling_tag
from trainmaster.errors import OverBudgetError
from trainmaster.training.desk import Desk

ANNA = UUID(int=1)
HOURLY = Decimal("0.115")  # ml.m5.large, hosting, us-east-1
TRANCHE_COST = 6 * HOURLY


class Still(Clock):
    """Stands still unless it is moved."""

    def __call__(self) -> Any:
        return self.moment

    def pass_(self, hours: float) -> None:
        self.moment += timedelta(hours=hours)


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, clock: Still) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, ledger=Ledger(opened.catalogue.database, clock))


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    made = Hosting(embedded)
    yield made
    made.remove()


def desired(endpoint: str, config: str, hourly: Decimal = HOURLY) -> Desired:
    return Desired(endpoint, "model", config, {}, {}, hourly)


def found(desk: Desk, **options: Any) -> list[tuple[str, str]]:
    return [(one.config, one.finding) for one in meter_endpoints(desk, **options)]


def spent(desk: Desk) -> tuple[Decimal, Decimal]:
    standing = desk.ledger.standing(ACCOUNT)
    return standing.settled, standing.reserved


def gone(hosting: Hosting, name: str) -> None:
    hosting.sagemaker.delete_endpoint(EndpointName=name)
    hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )


def test_an_endpoint_is_counted_from_its_making_until_it_is_found_gone(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    reserve_hours(desk, desired(name, config), Payer(ANNA))
    clock.pass_(0.2)  # while it is being made it costs nothing
    see_hours(desk, desired(name, config), Payer(ANNA))
    assert desk.ledger.standing(user(ANNA)).reserved == TRANCHE_COST
    assert found(desk) == [(config, "metered")]
    clock.pass_(5)
    assert found(desk) == [(config, "reserved")]
    clock.pass_(1)
    assert found(desk) == [(config, "settled")]
    assert spent(desk) == (HOURLY * Decimal("5.8"), TRANCHE_COST)
    assert regions_with_endpoints(desk) == [desk.settings.region]

    gone(hosting, name)  # by somebody in the AWS console
    clock.pass_(2)
    [ended] = meter_endpoints(desk)
    assert (ended.finding, ended.row()["job"]) == ("ended", f"endpoint {name} ({config})")
    assert spent(desk) == (HOURLY * 8, 0)
    assert found(desk) == []
    assert meter_endpoint(desk, name) == []
    assert regions_with_endpoints(desk) == []


def test_hours_no_budget_has_money_for_are_refused_before_anything_is_made(desk: Desk) -> None:
    desk.ledger.set_limit(user(ANNA), Decimal("0.68"), set_by="a test")
    with pytest.raises(OverBudgetError, match=r"endpoint wanted, hours 0 to 6 would cost \$0\.69; \$0\.68 of"):
        reserve_hours(desk, desired("wanted", "wanted-1"), Payer(ANNA))
    assert found(desk) == []


def test_an_endpoint_that_never_came_to_be_is_waited_for_and_then_costs_nothing(desk: Desk, clock: Still) -> None:
    reserve_hours(desk, desired("never", "never-1"), Payer(ANNA))
    clock.pass_(0.4)
    assert found(desk) == [("never-1", "waiting")]
    clock.pass_(0.2)
    assert found(desk) == [("never-1", "released")]
    assert spent(desk) == (0, 0)
    reserve_hours(desk, desired("never", "never-1"), Payer(ANNA))
    [released] = meter_endpoint(desk, "never")  # by whoever tried to make it, and knows
    assert (released.finding, spent(desk)) == ("released", (0, 0))


def test_while_one_configuration_replaces_another_both_are_billed(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = hosting.serve()
    old = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, old), Payer(ANNA))
    clock.pass_(1)
    new = hosting.config(hosting.variant(hosting.model("v2"), InitialInstanceCount=2))
    reserve_hours(desk, desired(name, new, 2 * HOURLY), Payer(ANNA))
    assert found(desk) == [(old, "metered"), (new, "waiting")]
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
    see_hours(desk, desired(name, new, 2 * HOURLY), Payer(ANNA))
    clock.pass_(0.5)
    status = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
    if status == "Updating":
        assert found(desk) == [(old, "metered"), (new, "metered")]
    assert hosting.settled(name)["EndpointConfigName"] == new
    assert found(desk) == [(old, "ended"), (new, "metered")]
    assert spent(desk) == (HOURLY * Decimal("1.5"), 2 * TRANCHE_COST)


def test_a_configuration_given_by_other_ways_is_counted_from_when_it_is_found(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    old = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, old), Payer(ANNA, "vision"))
    theirs = hosting.config(hosting.variant(hosting.model("v2"), InitialInstanceCount=3))
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=theirs)
    hosting.settled(name)
    clock.pass_(1)
    assert found(desk) == [(old, "ended"), (theirs, "adopted")]
    [meter] = Meters(desk.ledger).running()
    assert (meter.part, meter.first.charge.hourly, meter.payer) == (theirs, 3 * HOURLY, Payer(ANNA, "vision"))
    assert found(desk) == [(theirs, "metered")]


def test_hours_to_come_that_do_not_fit_are_told_of_while_it_goes_on_serving(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    desk.ledger.set_limit(user(ANNA), Decimal("1.00"), set_by="a test")
    see_hours(desk, desired(name, config), Payer(ANNA))
    clock.pass_(5.5)
    [told] = meter_endpoints(desk)
    assert (told.finding, told.wanted) == ("exhausted", f"{endpoint_arn(desk, name)}@{config}#1.1")
    assert f"endpoint {name}, hours 6 to 12 would cost $0.69; $0.31 of" in told.why
    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"


def test_an_endpoint_that_failed_is_not_there(desk: Desk, hosting: Hosting, clock: Still) -> None:
    config = hosting.config(hosting.variant(hosting.model(artifact=hosting.upload(b"no archive"))))
    name = hosting.create(config)
    see_hours(desk, desired(name, config), Payer(ANNA))
    clock.pass_(0.1)
    assert hosting.settled(name)["EndpointStatus"] == "Failed"
    assert found(desk) == [(config, "ended")]
    assert spent(desk) == (HOURLY / 10, 0)


def test_endpoints_elsewhere_are_left_alone_and_one_that_cannot_be_looked_at_keeps_no_other_from_it(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    unpriced = hosting.serve(hosting.variant(hosting.model(), InstanceType="ml.c4.large"))
    meters, here = Meters(desk.ledger), endpoint_arn(desk, "")
    for arn in (
        here.replace(desk.account, "210987654321") + "a",
        here.replace(desk.settings.region, "eu-west-1") + "a",
        here.replace("endpoint/", "instance/") + "a",
        here + unpriced,
        here + f"never-{uuid4().hex[:8]}",
    ):
        meters.start(Metered(arn, HOURLY, "config", Payer(ANNA)))
    clock.pass_(1)
    looked_at = {one.finding: one for one in meter_endpoints(desk)}
    assert set(looked_at) == {"failed", "released"}
    assert "No hosting price is known for 'ml.c4.large'" in looked_at["failed"].why
    assert len(meters.running()) == 3
    assert regions_with_endpoints(desk) == ["eu-west-1", desk.settings.region]


def test_its_next_hours_are_reserved_at_the_price_of_the_day_and_at_the_last_one_where_it_has_none_any_more(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, config), Payer(ANNA))
    header, today = "region,use,item,usd,as_of,source", f"{clock.moment + timedelta(days=1):%Y-%m-%d}"
    for kind, price in (("ml.m5.large", "0.2"), ("ml.m5.xlarge", "0.9")):  # then it is no longer offered
        listed = f"us-east-1,hosting,{kind},{price},{today},a test"
        desk.settings.refreshed_prices.write_text(f"{header}\n{listed}\n", encoding="utf-8")
        clock.pass_(5.5)
        [looked] = meter_endpoints(desk)
        assert looked.finding in {"reserved", "settled"}
    tranches = [one for one in desk.ledger.open_reservations() if f"/{name}@" in one.key]
    assert [one.charge.hourly for one in tranches] == [Decimal("0.2"), Decimal("0.2")]
    assert meter_endpoint(desk, name)


def test_instances_that_are_added_and_taken_away_are_billed_for_the_time_they_ran(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve(hosting.variant(hosting.model(), InitialInstanceCount=2))
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, config, 2 * HOURLY), Payer(ANNA))

    def scale_to(count: int) -> None:
        hosting.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
        )
        hosting.settled(name)
        assert found(desk) == [(config, "metered")]

    clock.pass_(1)
    scale_to(1)
    clock.pass_(2)
    scale_to(3)
    clock.pass_(1)
    gone(hosting, name)
    assert found(desk) == [(config, "ended")]
    assert spent(desk) == (HOURLY * (2 * 1 + 1 * 2 + 3 * 1), 0)


def test_what_autoscaling_may_add_is_reserved_and_what_it_added_is_billed(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    described = hosting.sagemaker.describe_endpoint(EndpointName=name)
    config = described["EndpointConfigName"]
    arn = hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    scaled = Scaling(min_instances=1, max_instances=4)
    hosting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": SCALING_TAG, "Value": scaling_tag(scaled)}])
    see_hours(desk, desired(name, config, 4 * HOURLY), Payer(ANNA))
    clock.pass_(5.5)
    assert found(desk) == [(config, "reserved")]
    assert spent(desk) == (0, 2 * 4 * TRANCHE_COST)
    clock.pass_(0.5)
    assert found(desk) == [(config, "settled")]
    assert spent(desk) == (TRANCHE_COST, 4 * TRANCHE_COST)


def test_how_many_run_is_looked_up_once_and_then_only_where_it_changed(
    desk: Desk, hosting: Hosting, clock: Still
) -> None:
    name = hosting.serve()
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, config), Payer(ANNA))
    asked: list[str] = []

    def client(service: str) -> Any:
        asked.append(service)
        return desk.client(service)

    clock.pass_(1)
    assert [one.finding for one in meter_endpoint(replace(desk, client=client), name)] == ["metered"]
    assert asked == ["sagemaker"]


def test_a_shadow_and_a_challenger_are_billed_like_what_answers(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = hosting.serve(hosting.variant(hosting.model(), "main"), hosting.variant(hosting.model("v2"), "challenger"))
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    see_hours(desk, desired(name, config, 2 * HOURLY), Payer(ANNA))
    clock.pass_(1)
    gone(hosting, name)
    assert found(desk) == [(config, "ended")]
    assert spent(desk) == (2 * HOURLY, 0)
