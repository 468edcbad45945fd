"""Decide whether a version of a model may be deployed: nothing from the registry is that nobody has approved.
Started from the Prefect UI, or by `python -m flows.approve_model`; the same decision again changes nothing.
Leaves the version approved or rejected, with the reason; what serves already goes on serving.
"""

from prefect import flow

from tasks.registry import decide_on_model
from trainmaster.endpoints.models.approving import ApprovalRequest, Decided
from trainmaster.settings import Settings


@flow(name="approve-model", flow_run_name="{request.decision} {request.model_group} {request.model_version}")
def approve_model(request: ApprovalRequest) -> Decided:
    return decide_on_model(request, Settings())
