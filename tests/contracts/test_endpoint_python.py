"""A model's Python is the container's own, as on AWS: what a script installs is none of the embedded AWS's."""

from __future__ import annotations

import importlib.util
import io
import json
import sysconfig
import tarfile
import zipfile
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


USES_TINY = """
import json, tiny

def model_fn(model_dir): return tiny.SAID
def predict_fn(request, model): return model
def output_fn(prediction, accept): return json.dumps(prediction), accept
"""


def wheel(said: str) -> bytes:
    """A package `tiny` 1.0 that says so."""
    packed = io.BytesIO()
    about = "tiny-1.0.dist-info"
    files = {
        "tiny.py": f"SAID = {said!r}\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(packed, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return packed.getvalue()


def with_requirements(requirements: str) -> bytes:
    files = {
        "code/inference.py": USES_TINY.encode(),
        "code/requirements.txt": requirements.encode(),
        "code/tiny-1.0-py3-none-any.whl": wheel("installed"),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_what_requirements_name_and_is_not_there_is_installed_into_the_models_python(hosting: Hosting) -> None:
    artifact = hosting.upload(with_requirements("--no-index\n# ours\njoblib\n./tiny-1.0-py3-none-any.whl\n"))
    name = hosting.serve(hosting.variant(hosting.model(artifact=artifact)))
    body = hosting.runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=b"[]")["Body"]
    assert json.loads(body.read()) == "installed"
    assert importlib.util.find_spec("tiny") is None


def test_a_model_whose_requirements_cannot_be_installed_does_not_come_into_service(hosting: Hosting) -> None:
    """pip is told to look nowhere, as where a package has gone from its index."""
    artifact = hosting.upload(with_requirements("--no-index\nno-such-package-of-anybody==1.0\n"))
    described = hosting.settled(hosting.create(hosting.config(hosting.variant(hosting.model(artifact=artifact)))))
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
