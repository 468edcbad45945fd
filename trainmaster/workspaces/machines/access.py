"""The ways into a workspace on EC2. Pure."""

from __future__ import annotations

from trainmaster.errors import RefusedError
from trainmaster.workspaces.kinds import Access
from trainmaster.workspaces.machines.parts import Machine
from trainmaster.workspaces.machines.user_data import DCV_PORT, DCV_SESSION, USER
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import Workspace

PLUGIN = "Needs the AWS CLI with its Session Manager plugin."


def access(workspace: Workspace, machine: Machine) -> Access:
    """A command to run, and for a desktop the address to open while it runs. Raises RefusedError where it has no address to be reached by."""
    is_open, has_desktop = bool(spec_of(workspace).address), workspace.connection_type == "dcv"
    if is_open and not machine.address:
        raise RefusedError(
            f"Workspace {workspace.name} is reached by its address, and its instance {machine.id} has no public address. Name a subnet"
            f" in template {workspace.template} that gives one, or leave direct_access out; then delete it and launch it anew."
        )
    if is_open and has_desktop:
        shell = " ".join(_direct_shell(workspace, machine))
        note = f"Sign in as {USER}, with the password you gave it once: `{shell}`, then `sudo passwd {USER}`."
        return Access(url=f"https://{machine.address}:{DCV_PORT}/#{DCV_SESSION}", note=note)
    if is_open:
        return Access(command=_direct_shell(workspace, machine), note="Needs the AWS CLI.")
    if has_desktop:
        note = f"{PLUGIN} Leave it running; the certificate is the machine's own."
        return Access(f"https://localhost:{DCV_PORT}/#{DCV_SESSION}", _forwarding(workspace, machine), note=note)
    return Access(
        command=_shell(workspace, machine), note=f"{PLUGIN} For ssh, scp and editors: {_proxy(workspace, machine)}"
    )


def _shell(workspace: Workspace, machine: Machine) -> tuple[str, ...]:
    document = ("--document-name", "AWS-StartInteractiveCommand", "--parameters", f'{{"command": ["sudo -iu {USER}"]}}')
    return (*_session(workspace, machine), *document)


def _forwarding(workspace: Workspace, machine: Machine) -> tuple[str, ...]:
    ports = f'{{"portNumber": ["{DCV_PORT}"], "localPortNumber": ["{DCV_PORT}"]}}'
    return (*_session(workspace, machine), "--document-name", "AWS-StartPortForwardingSession", "--parameters", ports)


def _session(workspace: Workspace, machine: Machine) -> tuple[str, ...]:
    return ("aws", "ssm", "start-session", "--region", workspace.region, "--target", machine.id)


def _direct_shell(workspace: Workspace, machine: Machine) -> tuple[str, ...]:
    """With a key made for this once, which EC2 Instance Connect hands to the machine for a minute."""
    to = ("--instance-id", machine.id, "--connection-type", "direct", "--os-user", USER)
    return ("aws", "ec2-instance-connect", "ssh", "--region", workspace.region, *to)


def _proxy(workspace: Workspace, machine: Machine) -> str:
    proxy = f"aws ssm start-session --region {workspace.region} --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p"
    return f"ssh -o ProxyCommand='{proxy}' {USER}@{machine.id}, with your public key in ~/.ssh/authorized_keys there."
