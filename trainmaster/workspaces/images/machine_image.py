"""What a machine on EC2 does to become an image: installs what the template names, says that it did, and powers off. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from trainmaster.workspaces.templates.template import Template

MADE = "trainmaster-image-made"
"""On the machine's console once all is installed."""
FAILED = "trainmaster-image-failed"
MOST_MINUTES = 60
"""The machine powers off by itself then, whatever it is at, so that nobody pays for more if everything of ours is dead."""


def build_script(template: Template) -> str:
    """The user data of the machine, of a template that has an image. It powers off in any case; what its console says tells how it went."""
    return "\n".join(_lines(template)) + "\n"


def _lines(template: Template) -> Iterator[str]:
    assert template.image is not None  # noqa: S101 - who calls has asked
    apt, pip = sorted(template.image.packages.apt), sorted(template.image.packages.pip)
    yield "#!/bin/bash"
    yield f"shutdown -h +{MOST_MINUTES}"
    yield f"trap 'echo \"{FAILED}: line $LINENO\" > /dev/console; shutdown -h now' ERR"
    yield "set -euo pipefail"
    yield "export DEBIAN_FRONTEND=noninteractive"
    if apt:
        yield "apt-get update"
        yield _listed("apt-get install --yes --no-install-recommends --allow-downgrades", apt)
    if pip:
        yield "apt-get update"
        yield "apt-get install --yes --no-install-recommends python3-venv"
        yield "python3 -m venv /opt/trainmaster"
        yield _listed("/opt/trainmaster/bin/pip install --no-cache-dir", pip)
        yield "/opt/trainmaster/bin/pip check"
        yield "echo 'PATH=/opt/trainmaster/bin:$PATH' > /etc/profile.d/trainmaster.sh"
    yield "apt-get clean"
    yield "rm -rf /var/lib/apt/lists/*"
    yield "cloud-init clean --logs --machine-id"
    yield f"echo {MADE} > /dev/console"
    yield "shutdown -c"
    yield "shutdown -h now"


def _listed(command: str, packages: Sequence[str]) -> str:
    return " \\\n  ".join([command, *(shlex.quote(one) for one in packages)])
