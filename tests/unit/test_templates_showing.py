"""`trainmaster templates` tells what an hour costs by the price list, and what is wrong with where it looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainmaster.cli import main

STUDIO = """
description: A notebook
service_type: sagemaker_studio
connection_type: web
service_config: {default_instance_type: ml.t3.medium, volume_gb: 20}
estimated_cost: {per_hour: 0.05, note: while it runs}
"""
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Exit code, output and complaints, in a folder that may be another."""
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    def run(*words: str, folder: Path = tmp_path) -> tuple[int, str, str]:
        monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(folder))
        code = main(["templates", *words])
        return code, *capsys.readouterr()

    return run


def test_one_that_changes_the_machine_is_told_its_own_price(templates: Told, tmp_path: Path) -> None:
    (tmp_path / "studio.yaml").write_text(STUDIO)
    (tmp_path / "large.yaml").write_text("extends: studio\nservice_config: {default_instance_type: ml.g5.xlarge}\n")
    code, out, _ = templates()
    costs = {line.split()[0]: line.split()[4] for line in out.splitlines()[1:]}
    assert (code, costs) == (0, {"large": "$1.41", "studio": "$0.0533"})
    assert "$1.41 an hour in us-east-1 while it runs" in templates("large")[1]
    assert json.loads(templates("large", "--json")[1])["hourly_cost"].startswith("1.41")


def test_what_nobody_knows_the_price_of_is_an_estimate(
    templates: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studio.yaml").write_text(STUDIO)
    templates()
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    assert "about $0.05" in templates()[1]
    assert "about $0.05 an hour in xx-nowhere-1 while it runs" in templates("studio")[1]
    assert json.loads(templates("studio", "--json")[1])["hourly_cost"] is None


def test_a_folder_that_is_not_there_is_said_to_be_absent(templates: Told, tmp_path: Path) -> None:
    code, out, err = templates(folder=tmp_path / "absent")
    assert (code, out) == (1, "")
    assert f"There is no folder {tmp_path / 'absent'}" in err
    assert "TRAINMASTER_WORKSPACE_TEMPLATES" in err
    assert "On a laptop" not in err, "credentials are not what is lacking"
    assert "There is no folder" in templates("studio", folder=tmp_path / "absent")[2]
