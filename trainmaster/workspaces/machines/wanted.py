"""How the parts of a workspace on EC2 are to be, by its row alone. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from trainmaster.errors import RefusedError
from trainmaster.workspaces.machines.parts import Rule
from trainmaster.workspaces.machines.plan import Wanted
from trainmaster.workspaces.machines.user_data import DCV_PORT
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import Workspace

SSH_PORT = 22


def reached_from(template: Template, asked: str, before: str = "") -> str:
    """The one address that is let in, the one `before` where nobody asks for another; none where Session Manager leads in.

    Raises RefusedError where what is asked for does not fit the template.
    """
    if not template.service_config.direct_access:
        if asked:
            raise RefusedError(
                f"Template {template.name} opens no port, so {asked} cannot be let in. Leave the address out: `trainmaster connect`"
                " leads in without one."
            )
        return ""
    address = asked or before
    if not address:
        raise RefusedError(
            f"Template {template.name} opens a port to one address alone. Say which: --address with what `curl"
            " https://checkip.amazonaws.com` shows."
        )
    parsed = IPv4Address(address)
    if parsed.is_unspecified or parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_reserved:
        raise RefusedError(
            f"{address} is no address anybody comes from. `curl https://checkip.amazonaws.com` shows yours."
        )
    return address


def wanted(workspace: Workspace) -> Wanted:
    """Who is let in: nobody, or the one address it was opened for, where its template is reached by that."""
    spec = spec_of(workspace)
    if not spec.address:
        return Wanted()
    ports = [SSH_PORT, *([DCV_PORT] if workspace.connection_type == "dcv" else [])]
    return Wanted(frozenset(Rule(f"{spec.address}/32", port, port) for port in ports))
