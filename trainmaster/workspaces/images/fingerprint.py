"""What two images have in common that come of the same template: sixteen hexadecimal digits. Pure."""

from __future__ import annotations

import hashlib
import json

from trainmaster.workspaces.images.dockerfile import dockerfile
from trainmaster.workspaces.images.machine_image import build_script
from trainmaster.workspaces.templates.template import Template

_LENGTH = 16


def fingerprint_of(template: Template) -> str:
    """Of what the image is made of: a description, a price or an instance type changes nothing about it."""
    if template.service_type == "ec2":
        made_of = {"from": template.service_config.ami_parameter, "script": build_script(template)}
    else:
        made_of = {"dockerfile": dockerfile(template), "app": template.service_config.app}
    said = json.dumps(made_of, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()[:_LENGTH]
