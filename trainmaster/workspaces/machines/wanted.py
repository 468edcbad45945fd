"""How the parts of a workspace on EC2 are to be, by its row alone. Pure."""

from __future__ import annotations

from trainmaster.workspaces.machines.parts import Rule
from trainmaster.workspaces.machines.plan import Wanted
from trainmaster.workspaces.machines.user_data import DCV_PORT
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import Workspace

SSH_PORT = 22


def wanted(workspace: Workspace) -> Wanted:
    """Who is let in: nobody, or the one address it was opened for, where its template is reached by that."""
    spec = spec_of(workspace)
    if not spec.address:
        return Wanted()
    ports = [SSH_PORT, *([DCV_PORT] if workspace.connection_type == "dcv" else [])]
    return Wanted(frozenset(Rule(f"{spec.address}/32", port, port) for port in ports))
