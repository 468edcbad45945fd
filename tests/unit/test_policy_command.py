"""`trainmaster policy check|explain` says what the policy says, for people and machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainmaster import cli

USER = "1b3c5d7e-0000-4000-8000-000000000001"
POLICY = f"""default_role: student
roles:
  student:
    services: [sagemaker_lab, training]
    max_hourly_cost: 0.20
    instance_types: [ml.m5.*, ml.m55.*]
    per_service:
      training: {{required_tags: [project]}}
  lead:
    description: Whoever pays.
  unused: {{}}
teams: {{board: lead}}
users: {{{USER}: lead}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The exit code, stdout and stderr of `trainmaster policy`."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("TRAINMASTER_POLICY_FILE", str(file))
    monkeypatch.setenv("TRAINMASTER_REGION", "us-east-1")
    for unset in ("TRAINMASTER_USER_ID", "TRAINMASTER_TEAM", "TRAINMASTER_PRICES_FILE"):
        monkeypatch.delenv(unset, raising=False)

    def run(*typed: str) -> tuple[int, str, str]:
        code = cli.main(["policy", *typed])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_file_that_can_be_used_is_said_to_be_with_what_is_likely_not_meant(run: Any) -> None:
    code, out, err = run("check")
    assert code == 0
    assert "policy.yaml can be used: 3 roles, 1 teams and 1 users; all others are student." in out
    assert "Nobody has role unused." in err
    assert "Role student has instance types ml.m55.*, and none is known that is like that." in err


def test_a_file_that_cannot_be_used_is_refused_with_all_that_is_wrong(run: Any, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("roles: {a: {colour: red}}\n")
    code, out, err = run("check", "--json")
    assert code == 1
    assert json.loads(out)["error"] == "NotConfiguredError"
    assert "line 1, default_role: Field required" in err
    assert "line 1, roles.a.colour: there is no such key" in err


def test_a_request_is_refused_with_every_violation(run: Any) -> None:
    code, out, _ = run("check", "--service", "training", "--instance-type", "ml.g5.xlarge")
    assert code == 1
    assert "Refused: role student (default)" in out
    assert "  1. instance_types: ml.g5.xlarge was asked for; role student allows ml.m5.*, ml.m55.* for training." in out
    assert "  2. max_hourly_cost: an hour costs $1.41; role student allows at most $0.20 for training." in out
    assert "  3. required_tags: tag project is missing" in out


def test_a_request_costs_what_the_price_list_says_of_all_its_instances(run: Any) -> None:
    typed = ["check", "--service", "training", "--instance-type", "ml.m5.large", "--tags", "project=cats", "--json"]
    code, out, _ = run(*typed)
    assert (code, json.loads(out)["allowed"], json.loads(out)["hourly_cost"]) == (0, True, "0.115")
    code, out, _ = run(*typed, "--instance-count", "2")
    [violation] = json.loads(out)["violations"]
    assert (code, violation["rule"], violation["limit"]) == (1, "max_hourly_cost", "at most $0.20")
    assert run(*typed, "--instance-count", "2", "--hourly-cost", "0.20")[0] == 0


def test_what_is_free_costs_nothing(run: Any) -> None:
    assert run("check", "--service", "sagemaker_lab")[0] == 0


def test_what_nobody_knows_the_price_of_is_refused_with_how_to_know_it(run: Any) -> None:
    code, out, _ = run("check", "--service", "training", "--instance-type", "ml.m5.huge", "--tags", "project=x")
    assert code == 1
    assert "what an hour costs is not known" in out


@pytest.mark.parametrize("whose", [["--team", "board"], ["--user", USER]], ids=["team", "user"])
def test_another_role_is_told_with_why_it_is_theirs(run: Any, whose: list[str]) -> None:
    code, out, _ = run("explain", *whose)
    assert code == 0
    assert f"role lead ({whose[0][2:]} {whose[1]})." in out
    assert "Whoever pays." in out
    assert "ec2, sagemaker_studio, sagemaker_lab, sagemaker_canvas, training, endpoint:" in out
    assert "held back by nothing but the budget" in out


def test_every_rule_of_every_service_is_explained(run: Any) -> None:
    code, out, _ = run("explain")
    assert code == 0
    paragraphs = out.split("\n\n")
    assert paragraphs[1].splitlines() == ["ec2, sagemaker_studio, sagemaker_canvas, endpoint:", "  not allowed"]
    assert "  max_hourly_cost      at most $0.20" in paragraphs[2]
    assert "  required_tags        project" in paragraphs[3]
    told = json.loads(run("explain", "--service", "training", "--json")[1])
    assert told["services"]["training"] == {
        "instance_types": ["ml.m5.*", "ml.m55.*"],
        "max_hourly_cost": "0.20",
        "required_tags": ["project"],
    }


@pytest.mark.parametrize(
    "typed",
    [["--user", "anna"], ["--team", "a b"], ["--hourly-cost", "much"], ["--hourly-cost", "-1"], ["--keep-hours", "x"]],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(run: Any, typed: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        run("check", "--service", "training", *typed)
    assert refused.value.code == 2


def test_the_example_of_the_documentation_is_what_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for unset in ("TRAINMASTER_USER_ID", "TRAINMASTER_TEAM", "TRAINMASTER_PRICES_FILE", "TRAINMASTER_POLICY_FILE"):
        monkeypatch.delenv(unset, raising=False)
    monkeypatch.setenv("TRAINMASTER_REGION", "us-east-1")
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path))
    docs = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    typed, _, said = docs.partition("$ trainmaster policy check")[2].partition("```")[0].partition("\n")
    assert cli.main(["policy", "check", *typed.split()]) == 1
    assert capsys.readouterr().out == said
