"""Stop a workspace and keep its files, or delete it with all that is in it.
Started from the Prefect UI; what is closed already stays so, and a deletion only says what it would remove unless dry_run is off.
Leaves its hours billed until AWS confirmed that they were over, and of a stopped one the files, which `open-workspace` brings back.
"""

from prefect import flow

from tasks.telling import say_why
from tasks.workspaces import report_workspace, take_down_workspace
from trainmaster.settings import Settings
from trainmaster.workspaces.request import CloseWorkspaceRequest
from trainmaster.workspaces.results import WorkspaceResult


@flow(name="close-workspace", flow_run_name="{request.action} {request.name}", on_failure=[say_why])
def close_workspace(request: CloseWorkspaceRequest) -> WorkspaceResult:
    settings = Settings()
    closed = take_down_workspace(request, settings)
    report_workspace(closed, settings, return_state=True)  # a report that fails opens nothing again
    return closed
