"""The image of a template is planned, made and found again by its flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows.compile_image import compile_image
from trainmaster.errors import RefusedError
from trainmaster.workspaces.images.request import CompileImageRequest

NAME = f"image-{uuid4().hex[:8]}"
TEMPLATE = """
description: Polars
service_type: sagemaker_studio
connection_type: web
service_config:
  default_instance_type: ml.t3.medium
image:
  base: public.ecr.aws/sagemaker/sagemaker-distribution:3.4.2-cpu
  packages:
    pip: [polars==1.33.1]
"""


@pytest.fixture(autouse=True)
def templates(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{NAME}.yaml").write_text(TEMPLATE)
    (tmp_path / "plain.yaml").write_text(TEMPLATE.partition("image:")[0])
    monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(tmp_path))


def test_an_image_is_planned_made_and_found_by_its_flow(stack: Any) -> None:
    plan = compile_image(CompileImageRequest(template=NAME, dry_run=True))
    assert plan.dry_run
    assert plan.cost
    made = compile_image(CompileImageRequest(template=NAME))
    assert made.steps == plan.steps
    found = stack.client("sagemaker").describe_image_version(ImageName=f"trainmaster-{NAME}", Alias=plan.fingerprint)
    assert found["ImageVersionArn"] == made.image_version_arn
    again = compile_image(CompileImageRequest(template=NAME))
    assert (again.steps, again.image) == ([], made.image)


def test_a_template_that_needs_no_image_is_refused(stack: Any) -> None:
    with pytest.raises(RefusedError, match="no image of its own"):
        compile_image(CompileImageRequest(template="plain"))
