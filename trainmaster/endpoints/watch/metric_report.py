"""How every endpoint's versions did, gathered for people; one endpoint that cannot be asked about hides no other."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.endpoints.seen import endpoint_names
from trainmaster.endpoints.watch.metrics import version_metrics
from trainmaster.errors import TrainmasterError
from trainmaster.form import as_form
from trainmaster.training.desk import Desk


class ReportEndpointsRequest(BaseModel):
    """How far back to look."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    hours: Annotated[int, Field(title="Hours", description="Until now.", ge=1, le=24 * 90)] = 24


class EndpointsReport(BaseModel):
    """A row for each variant of each version that served, and why others have none."""

    rows: list[dict[str, str]] = []
    failures: list[str] = []

    def sentence(self) -> str:
        endpoints = len({row["endpoint"] for row in self.rows})
        left = f"; {len(self.failures)} could not be asked about" if self.failures else ""
        return f"{len(self.rows)} variants of {endpoints} endpoints served{left}."


def report_endpoints(desk: Desk, request: ReportEndpointsRequest) -> EndpointsReport:
    """Those of the desk's region. Raises botocore's errors where endpoints cannot be listed."""
    report, look_back = EndpointsReport(), timedelta(hours=request.hours)
    for name in endpoint_names(desk.client("sagemaker")):
        try:
            versions = version_metrics(desk, name, look_back)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            report.failures.append(f"endpoint {name} in {desk.settings.region}: {error}")
        else:
            report.rows += [{"endpoint": name, **row} for version in versions for row in version.rows()]
    return report
