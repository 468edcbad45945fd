"""Steps that look after endpoints that serve: whether anybody wants them still, and how their versions did."""

from __future__ import annotations

from uuid import UUID, uuid5

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from tasks.aws import desk_of, step
from tasks.jobs import in_region
from trainmaster.endpoints.metering import regions_with_endpoints
from trainmaster.endpoints.watch.metric_report import EndpointsReport, ReportEndpointsRequest, report_endpoints
from trainmaster.endpoints.watch.results import Sweep, SweptEndpoint
from trainmaster.endpoints.watch.watching import PASSING, StopIdleRequest, watch_endpoints
from trainmaster.settings import Settings

_WATCHED = UUID("5d2d8ad5-5b34-4a65-9f0c-4a5f6ad0b7c1")


@step(task_run_name="look after endpoints")
def watch_all_endpoints(request: StopIdleRequest, settings: Settings) -> Sweep:
    """Each endpoint of ours in every region there are any, warned of, scaled down or removed where that is due.

    Neither an endpoint nor a region that fails keeps the others from being looked after.
    """
    sweep = Sweep()
    with desk_of(settings) as desk:
        regions = sorted({settings.region, *regions_with_endpoints(desk)})
    for region in regions:
        try:
            with desk_of(in_region(settings, region)) as desk:
                for seen in watch_endpoints(desk, request):
                    sweep.endpoints.append(seen)
                    _tell(seen, dry_run=request.dry_run)
        except PASSING as error:
            sweep.endpoints.append(SweptEndpoint(endpoint="all", region=region, failure=str(error)))
    get_run_logger().info("%s", sweep.sentence())
    return sweep


@step(task_run_name="report on idle endpoints")
def report_watch(sweep: Sweep) -> None:
    """A table of the endpoints that are over, or could not be looked after, if there are any."""
    if sweep.eventful:
        create_table_artifact(key="idle-endpoints", table=sweep.table(), description=sweep.sentence())


def _tell(seen: SweptEndpoint, *, dry_run: bool) -> None:
    """In the log; and an event, `trainmaster.endpoint.warn` for example, for what was done."""
    if seen.failure:
        get_run_logger().warning("%s", seen.sentence())
    elif seen.is_eventful:
        get_run_logger().info("%s", seen.sentence())
    if dry_run or seen.failure or seen.act in {"leave", "forget"}:
        return
    emit_event(
        f"trainmaster.endpoint.{seen.act}",
        id=uuid5(_WATCHED, f"{seen.region} {seen.endpoint} {seen.act} {seen.reason} {seen.at}"),
        resource={
            "prefect.resource.id": f"trainmaster.endpoint.{seen.endpoint}",
            "prefect.resource.name": seen.endpoint,
            "trainmaster.region": seen.region,
        },
        payload={"reason": seen.reason, "sentence": seen.sentence()},
    )


@step(task_run_name="measure endpoints")
def measure_endpoints(request: ReportEndpointsRequest, settings: Settings) -> EndpointsReport:
    """How every version of every endpoint did; a region that fails hides no other."""
    report = EndpointsReport()
    with desk_of(settings) as desk:
        regions = sorted({settings.region, *regions_with_endpoints(desk)})
    for region in regions:
        try:
            with desk_of(in_region(settings, region)) as desk:
                found = report_endpoints(desk, request)
        except PASSING as error:
            report.failures.append(f"endpoints in {region}: {error}")
        else:
            report.rows += found.rows
            report.failures += found.failures
    get_run_logger().info("%s", report.sentence())
    return report


@step(task_run_name="report on versions of endpoints")
def report_versions(report: EndpointsReport) -> None:
    """A table of calls, latencies, errors and costs, if anything served."""
    if report.rows:
        create_table_artifact(key="endpoint-versions", table=report.rows, description=report.sentence())
