"""The Dockerfile of a template's image: the same text for the same template, every version in it, and nobody root in the end. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from trainmaster.workspaces.templates.pins import base_fault
from trainmaster.workspaces.templates.template import Image, Template

UID, GID = 1000, 100
"""Of people in Studio: https://docs.aws.amazon.com/sagemaker/latest/dg/studio-updated-byoi-specs.html"""
_DISTRIBUTION = "sagemaker-distribution"
"""AWS's own images bring the programs that start their applications: https://github.com/aws/sagemaker-distribution"""
_ENTRYPOINTS: Mapping[str, str] = {"JupyterLab": "entrypoint-jupyter-server", "CodeEditor": "entrypoint-code-editor"}
_JUPYTER = [
    "jupyter-lab", "--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888", "--ServerApp.base_url=/jupyterlab/default",
    "--ServerApp.token=", "--ServerApp.allow_origin=*",
]  # fmt: skip
_CODE_EDITOR = [
    "sagemaker-code-editor", "--host", "0.0.0.0", "--port", "8888", "--without-connection-token",  # noqa: S104 - the only way into its container
    "--base-path", "/CodeEditor/default",
]  # fmt: skip


def dockerfile(template: Template) -> str:
    """Of a template that has an image on SageMaker."""
    assert template.image is not None  # noqa: S101 - who calls has asked
    return "\n".join(_lines(template, template.image)) + "\n"


def _lines(template: Template, image: Image) -> Iterator[str]:
    packages = image.packages
    yield f"# {template.name}: made by `trainmaster compile {template.name}`"
    yield f"FROM {image.base}"
    yield 'SHELL ["/bin/bash", "-euo", "pipefail", "-c"]'
    yield "USER root"
    if packages.apt:
        yield _run(
            "export DEBIAN_FRONTEND=noninteractive",
            "apt-get update",
            _listed("apt-get install --yes --no-install-recommends --allow-downgrades", packages.apt),
            "rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log",
        )
    if packages.conda:
        yield _run(
            "conda=$(command -v micromamba || command -v mamba || command -v conda)",
            _listed('"$conda" install --yes --name base --channel conda-forge --override-channels', packages.conda),
            '"$conda" clean --all --yes',
        )
    if packages.pip:
        yield _run(_listed("python3 -m pip install --no-cache-dir --no-compile", packages.pip))
    if packages.conda or packages.pip:
        yield _run(f"if [ -d /opt/conda ]; then find /opt/conda -user root -exec chown -h {UID}:{GID} {{}} +; fi")
    yield f"USER {UID}:{GID}"
    yield f"ENTRYPOINT {json.dumps(_entrypoint(template, image))}"


def _run(*commands: str) -> str:
    return "RUN " + " \\\n && ".join(commands)


def _listed(command: str, packages: Sequence[str]) -> str:
    return " \\\n      ".join([command, *(shlex.quote(one) for one in sorted(packages))])


def _entrypoint(template: Template, image: Image) -> list[str]:
    app = template.service_config.app
    if _DISTRIBUTION in image.base:
        return [_ENTRYPOINTS[app]]
    return _JUPYTER if app == "JupyterLab" else _CODE_EDITOR


_RULES: Sequence[tuple[str, re.Pattern[str]]] = (
    ("nothing is fetched by ADD", re.compile(r"^ADD\s", re.MULTILINE)),
    ("nothing is run as it comes from the network", re.compile(r"(curl|wget)[^\n|]*\|\s*(ba)?sh")),
    ("nobody needs sudo who is root", re.compile(r"^RUN.*\bsudo\b", re.MULTILINE)),
    ("apt installs only what is named", re.compile(r"apt-get install(?![^\n]*--no-install-recommends)")),
    ("pip keeps no cache in the image", re.compile(r"pip install(?![^\n]*--no-cache-dir)")),
    (
        "no secret is part of an image",
        re.compile(r"^(ENV|ARG)\s+\S*(KEY|TOKEN|SECRET|PASSWORD)", re.MULTILINE | re.IGNORECASE),
    ),
)


def lint(text: str) -> list[str]:
    """Rules that a Dockerfile breaks; none for any that is made here."""
    broken = [rule for rule, breaks in _RULES if breaks.search(text)]
    users = re.findall(r"^USER\s+(\S+)", text, re.MULTILINE)
    if not users or users[-1].split(":")[0] in ("root", "0"):
        broken.append("whoever works in it is not root")
    if any(base_fault(base) for base in re.findall(r"^FROM\s+(\S+)", text, re.MULTILINE)):
        broken.append("what it starts from is one release")
    if "apt-get update" in text and "rm -rf /var/lib/apt/lists" not in text:
        broken.append("apt leaves no lists behind")
    return broken
