"""What AWS calls the images of templates, and whether a domain lets spaces start from one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainmaster.workspaces.templates.template import Template

_PREFIX = "trainmaster"
SETTINGS: Mapping[str, str] = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}


def image_name(template: Template) -> str:
    """Of the image and its app configuration in SageMaker, and what the AMI's name begins with."""
    return f"{_PREFIX}-{template.name}"


def ami_name(template: Template, fingerprint: str) -> str:
    return f"{image_name(template)}-{fingerprint}"


def attached_images(domain: Mapping[str, Any], app: str) -> Sequence[Mapping[str, Any]]:
    """Those a domain, as described, lets applications of one kind start from."""
    listed: Sequence[Mapping[str, Any]] = (
        domain.get("DefaultUserSettings", {}).get(SETTINGS[app], {}).get("CustomImages", [])
    )
    return listed


def is_attached(domain: Mapping[str, Any], template: Template) -> bool:
    """Whether a domain, as described, lets spaces start from the template's image."""
    wanted = {"ImageName": image_name(template), "AppImageConfigName": image_name(template)}
    return any(
        wanted.items() <= one.items() and "ImageVersionNumber" not in one
        for one in attached_images(domain, template.service_config.app)
    )
