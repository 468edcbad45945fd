"""Open a workspace of a template in Studio, Canvas, Studio Lab or on EC2, under the policy and the budget, or start one that was stopped.
Started from the Prefect UI; the same request again finds what is there, and a dry run only says what would be made and what it costs.
Leaves the workspace running and its first hours reserved; how to get in is for `trainmaster connect` alone to say.
"""

from prefect import flow

from tasks.telling import say_why
from tasks.workspaces import bring_up_workspace, plan_workspace, report_workspace
from trainmaster.settings import Settings
from trainmaster.workspaces.request import OpenWorkspaceRequest
from trainmaster.workspaces.results import WorkspaceResult


@flow(name="open-workspace", flow_run_name="open {request.name}", on_failure=[say_why])
def open_workspace(request: OpenWorkspaceRequest) -> WorkspaceResult:
    settings = Settings()
    planned = plan_workspace(request, settings)
    if request.dry_run:
        report_workspace(planned, settings, return_state=True)
        return planned
    opened = bring_up_workspace(request, settings)
    report_workspace(opened, settings, return_state=True)  # a report that fails closes nothing
    return opened
