"""`trainmaster templates` and `trainmaster compile` as a person runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from template_folder import STUDIO

from trainmaster.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Of a template of the test's own, in a folder of its own."""
    name = f"image-{uuid4().hex[:8]}"
    template = {"name": name, "description": "Of a test.", **STUDIO, "estimated_cost": {"per_hour": 0.05}}
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(template))
    return name


@pytest.fixture
def run(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    for variable in [one for one in os.environ if one.startswith(("AWS_", "TRAINMASTER_"))]:
        monkeypatch.delenv(variable)
    for variable, value in embedded.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(tmp_path))
    monkeypatch.setenv("TRAINMASTER_POLL_SECONDS", "0.1")

    def command(*words: str) -> Ran:
        code = main(words)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return command


def test_templates_are_a_table_and_each_can_be_seen_whole(run: Callable[..., Ran], name: str) -> None:
    listed = run("templates")
    assert listed.code == 0
    [row] = [line for line in listed.out.splitlines() if line.startswith(name)]
    assert row.split()[1:5] == ["Studio", "web", "ml.t3.medium", "$0.0533"]
    shown = run("templates", name)
    assert (shown.code, shown.err) == (0, "")
    assert f"trainmaster compile {name}" in shown.out
    assert json.loads(run("templates", name, "--json").out)["service_type"] == "sagemaker_studio"
    assert [one["name"] for one in json.loads(run("templates", "--json").out)["templates"]] == [name]


def test_what_is_wrong_with_templates_is_said_and_the_others_are_listed(
    run: Callable[..., Ran], name: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("name: broken\ndescription: x\nservice_tipe: ec2\n")
    listed = run("templates")
    assert listed.code == 1
    assert name in listed.out
    assert "broken.yaml, line 3, service_tipe: there is no such key; did you mean service_type?" in listed.err
    machine = json.loads(run("templates", "--json").out)
    assert [one["name"] for one in machine["templates"]] == [name]
    assert any("service_tipe" in one for one in machine["problems"])
    refused = run("templates", "broken")
    assert (refused.code, refused.out) == (1, "")
    assert "line 3" in refused.err


def test_a_dry_run_prints_the_dockerfile_the_steps_and_the_cost_and_does_nothing(
    run: Callable[..., Ran], name: str
) -> None:
    first, again = run("compile", name, "--dry-run"), run("compile", name, "--dry-run")
    assert (first.code, first.out) == (again.code, again.out)
    assert "FROM public.ecr.aws/sagemaker/sagemaker-distribution:3.4.2-cpu" in first.out
    assert "polars==1.33.1" in first.out
    assert "would cost $1.20 at most. Nothing was done." in first.out
    assert (
        f"build container image 123456789012.dkr.ecr.us-east-1.amazonaws.com/trainmaster-workspaces/{name}:"
        in first.out
    )


def test_compiling_tells_each_step_and_the_second_time_that_there_is_none(run: Callable[..., Ran], name: str) -> None:
    first = run("compile", name)
    assert first.code == 0
    assert "build container image" in first.err
    assert ":image-version/" in first.out
    again = json.loads(run("compile", name, "--json").out)
    assert again["steps"] == []
    assert again["image_version_arn"] in first.out


def test_what_cannot_be_compiled_is_refused_in_a_sentence(run: Callable[..., Ran], name: str, tmp_path: Path) -> None:
    text = (tmp_path / f"{name}.yaml").read_text()
    (tmp_path / f"{name}.yaml").write_text(text.replace("polars==1.33.1", "polars"))
    refused = run("compile", name)
    assert (refused.code, refused.out) == (1, "")
    assert "'polars' names no one version; write it such as numpy==2.3.0" in refused.err
    assert run("compile", "nothing").code == 1
    wrong = run("compile", name, "--user", "nobody")
    assert (wrong.code, wrong.err.strip()) == (2, "user_id cannot be 'nobody'.")
