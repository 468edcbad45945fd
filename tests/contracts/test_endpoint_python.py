"""A model's Python is the container's own, as on AWS: what a script installs is none of the embedded AWS's."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from typing import Any

import pytest
from hosting import Hosting, archive

SCRIPT = f"""
import json, shutil, sys
from pathlib import Path

def model_fn(model_dir):
    try:
        Path({sysconfig.get_path("purelib")!r}, "by-a-model").touch()
        changed = True
    except OSError:
        changed = False
    try:
        import trainmaster
        ours = True
    except ImportError:
        ours = False
    return {{"changed": changed, "ours": ours, "prefix": sys.prefix, "pip": shutil.which("pip3")}}

def predict_fn(request, model):
    return model

def output_fn(prediction, accept):
    return json.dumps(prediction), accept
"""


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


def test_a_model_has_a_python_of_its_own_and_cannot_change_ours(hosting: Hosting) -> None:
    artifact = hosting.upload(archive({"code/inference.py": SCRIPT}))
    name = hosting.serve(hosting.variant(hosting.model(artifact=artifact)))
    body = hosting.runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=b"[]")["Body"]
    found = json.loads(body.read())
    assert (found["changed"], found["ours"]) == (False, False)
    assert found["pip"] == f"{found['prefix']}/bin/pip3"
