"""Steps that keep the hours of endpoints in the books, and tell of them."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger

from tasks.aws import desk_of, step
from tasks.budget import tell_exhausted, tell_standing
from tasks.jobs import in_region
from trainmaster.endpoints.metering import (
    UNEVENTFUL,
    EndpointHours,
    meter_endpoint,
    meter_endpoints,
    regions_with_endpoints,
)
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.reconciling import PASSING


@step(task_run_name="meter {endpoint_name}")
def meter_hours(endpoint_name: str, settings: Settings) -> None:
    """Bill what no longer serves, and count what does."""
    with desk_of(settings) as desk:
        tell_hours(desk, meter_endpoint(desk, endpoint_name))


@step(task_run_name="meter all endpoints")
def meter_all_endpoints(settings: Settings) -> list[dict[str, str]]:
    """Bill the hours of all endpoints that are over and reserve those to come; what was done and found, in rows of a table.

    An endpoint whose next hours no budget has money for is told of; what becomes of it `stop-idle` sees to. A region that AWS refuses
    or that does not answer is a row, and keeps no other from being counted.
    """
    eventful: list[dict[str, str]] = []
    with desk_of(settings) as desk:
        regions = regions_with_endpoints(desk)
    for region in regions:
        try:
            with desk_of(in_region(settings, region)) as desk:
                for found in meter_endpoints(desk):
                    tell_hours(desk, [found])
                    eventful += [found.row()] if found.finding not in UNEVENTFUL else []
        except PASSING as error:
            get_run_logger().warning("The hours of endpoints in %s are not counted: %s", region, error)
            job = f"endpoints in {region}"
            eventful.append({"job": job, "what": "failed", "why": str(error), "reserved": "", "billed": ""})
    return eventful


def tell_hours(desk: Desk, found: Sequence[EndpointHours]) -> None:
    """Of hours that were booked, how budgets stand; of those that no budget has money for, an event."""
    for hours in found:
        if hours.finding == "exhausted":
            tell_exhausted(hours.wanted, f"endpoint {hours.endpoint}", hours.why)
        elif hours.finding == "failed":
            get_run_logger().warning("The hours of endpoint %s are not counted: %s", hours.endpoint, hours.why)
        elif hours.booked:
            tell_standing(desk.ledger, hours.booked.key)
