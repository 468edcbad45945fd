"""Steps that hold what endpoints are asked for against what their models were trained on."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from prefect import State, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from tasks.aws import desk_of, step
from tasks.jobs import in_region
from trainmaster.datasets.showing.markdown import plain
from trainmaster.endpoints.metering import regions_with_endpoints
from trainmaster.endpoints.watch import checking_drift
from trainmaster.endpoints.watch.drift import CheckDriftRequest, DriftCheck, DriftReport
from trainmaster.endpoints.watch.pictures import picture
from trainmaster.endpoints.watch.watching import PASSING
from trainmaster.settings import Settings

DRIFTED = "trainmaster.drift"
_TOLD = UUID("7b6de2ac-2f35-4d7c-8a52-3f6f1c9d5e21")


@dataclass(frozen=True)
class Captured:
    """Region and name of each endpoint that captures what it is asked; and why those of a region are not known."""

    endpoints: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@step(task_run_name="find endpoints that capture what they are asked")
def find_captured(request: CheckDriftRequest, settings: Settings) -> Captured:
    """Those of all regions where there are endpoints; one that is asked for is looked for in the settings' region.

    A region that AWS refuses or that does not answer keeps no other from being looked at.
    """
    with desk_of(settings) as desk:
        regions = {settings.region} if request.endpoint_name else {settings.region, *regions_with_endpoints(desk)}
    found = Captured()
    for region in sorted(regions):
        try:
            with desk_of(in_region(settings, region)) as desk:
                found.endpoints.extend((region, name) for name in checking_drift.captured_endpoints(desk, request))
        except PASSING as error:
            found.failures.append(f"endpoints in {region}: {error}")
    names = ", ".join(name for _, name in found.endpoints)
    get_run_logger().info("To be checked: %s.", names or "no endpoint captures anything")
    return found


@step(task_run_name="check {name}")
def check_endpoint(name: str, region: str, request: CheckDriftRequest, settings: Settings) -> DriftReport:
    """Read what it captured, and hold it against the card of its model."""
    with desk_of(in_region(settings, region)) as desk:
        report = checking_drift.check_drift(desk, name, request)
    get_run_logger().info("%s", report.sentence())
    return report


def checked_in(check: DriftCheck, state: State[DriftReport], name: str) -> DriftReport | None:
    """What came of checking one endpoint, put to the others; None when it could not be checked, and then why is put there."""
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        check.failures.append(f"endpoint {name}: {result}")
        return None
    check.reports.append(result)
    return result


@step(task_run_name="report on {report.endpoint}")
def report_drift(report: DriftReport) -> None:
    """A table, a picture; and where it has drifted an event, one a day however often it is checked."""
    key, said = report.endpoint.lower(), plain(report.sentence())
    cells = [{column: plain(cell) for column, cell in row.items()} for row in report.table()]
    create_table_artifact(key=f"drift-{key}", table=cells, description=said)
    if png := picture(report):
        create_markdown_artifact(
            f"![Trained on and asked for](data:image/png;base64,{base64.b64encode(png).decode()})",
            key=f"drift-picture-{key}",
            description=said,
        )
    if report.drifted:
        emit_event(
            DRIFTED,
            id=uuid5(_TOLD, f"{report.endpoint} {report.model_uri} {report.until:%Y-%m-%d}"),
            resource={
                "prefect.resource.id": f"trainmaster.endpoint.{report.endpoint}",
                "prefect.resource.name": report.endpoint,
            },
            payload={
                "endpoint": report.endpoint,
                "features": [one.trained.name for one in report.drifted],
                "sentence": report.sentence(),
            },
        )
