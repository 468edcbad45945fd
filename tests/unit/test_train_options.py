"""`trainmaster train`: its options, made of the request's model; its words for jobs; and the table of fields in the docs."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_origin
from uuid import UUID

import pytest

from trainmaster import cli
from trainmaster.budget.charge import Allowance
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.deployments import Deployment, Job, Stop, deployment_id_of
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.objects import LONGEST_REQUEST
from trainmaster.commands.terminal.status_line import StatusLine
from trainmaster.commands.training.approval import ask_approval
from trainmaster.commands.training.options import REQUEST
from trainmaster.commands.training.showing import facts_of_job, listed, of_job
from trainmaster.errors import OverBudgetError, UnknownChoiceError
from trainmaster.field_words import bounds_of
from trainmaster.training.finding import find_job
from trainmaster.training.request import TrainingRequest
from trainmaster.training.seen import Seen

DOCS = Path(__file__).parents[2] / "docs" / "training.md"
ENDED_AT = datetime(2026, 11, 21, 13, tzinfo=UTC)
ANNA, BERT = UUID(int=1), UUID(int=2)
ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/"


def fields_table() -> str:
    """The fields of a request as docs/training.md lists them. `python tests/unit/test_train_options.py` prints it."""
    rows = ["| option | field | what | default |", "| --- | --- | --- | --- |"]
    spelled = {option.path: option.spelled[0] for option in REQUEST}
    for name, field in TrainingRequest.model_fields.items():
        if name in REQUEST.without:
            option = {"dry_run": "`train plan`", "wait": "`--follow`", "of_job": "a run alone"}[name]
        else:
            several = {list: " TEXT, several times", dict: " KEY=VALUE, several times"}.get(
                get_origin(field.annotation), ""
            )
            option = f"`{spelled[name]}`{several}"
        bounds = bounds_of(field)
        what = f"{field.description}{f' {bounds[0].upper()}{bounds[1:]}.' if bounds else ''}"
        rows.append(f"| {option} | `{name}` | {what} | {_default(field.default)} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value in ("", [], {}) else f"`{value}`"


def test_the_documentation_lists_the_fields_there_are() -> None:
    assert fields_table() in DOCS.read_text()


@pytest.fixture
def read() -> Callable[..., TrainingRequest]:
    """A request from what is typed."""
    parser = argparse.ArgumentParser()
    REQUEST.add_to(parser)
    return lambda *typed: REQUEST.read(parser.parse_args(list(typed)))


class TestOptions:
    def test_every_field_has_one(self) -> None:
        parser = argparse.ArgumentParser()
        REQUEST.add_to(parser)
        spelled = {option for action in parser._actions for option in action.option_strings}
        assert {option.path for option in REQUEST} == set(TrainingRequest.model_fields) - REQUEST.without
        for option in REQUEST:
            assert set(option.spelled) <= spelled
        assert {"--instance-type", "--user", "--no-use-spot-instances", "--max-runtime-seconds"} <= spelled
        assert not {"--dry-run", "--wait"} & spelled

    def test_nothing_typed_is_the_model_as_it_is(self, read: Callable[..., TrainingRequest]) -> None:
        assert read() == TrainingRequest()

    def test_every_kind_of_value(self, read: Callable[..., TrainingRequest]) -> None:
        request = read(
            "--instance-count", "2", "--budget-limit", "1.5", "--no-use-spot-instances", "--on-over-budget", "ask",
            "--instance-types", "ml.g5.xlarge", "--instance-types", "ml.g5.2xlarge",
            "--hyperparameters", "rate=1e-4", "--hyperparameters", "name=cats", "--hyperparameters", 'lora={"r": 8}',
            "--hyperparameters", "odd=NaN", "--environment", "PATHS=a=b", "--environment", "NUMBER=007",
        )  # fmt: skip
        assert (request.instance_count, request.budget_limit, request.use_spot_instances) == (2, Decimal("1.50"), False)
        assert (request.on_over_budget, request.instance_types) == ("ask", ["ml.g5.xlarge", "ml.g5.2xlarge"])
        assert request.hyperparameters == {"rate": 1e-4, "name": "cats", "lora": {"r": 8}, "odd": "NaN"}
        assert request.environment == {"PATHS": "a=b", "NUMBER": "007"}

    def test_a_file_gives_what_is_not_typed(
        self, read: Callable[..., TrainingRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = {"model_name": "cats", "instance_count": 3, "tags": {"a": "1", "b": "2"}, "subnets": ["subnet-1"]}
        file = tmp_path / "request.json"
        file.write_text(json.dumps(given))
        typed = ["--instance-count", "4", "--tags", "b=3", "--subnets", "subnet-2"]
        request = read("--request", str(file), *typed)
        assert (request.model_name, request.instance_count) == ("cats", 4)
        assert (request.tags, request.subnets) == ({"a": "1", "b": "3"}, ["subnet-2"])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(given).encode())))
        assert read("--request", "-", *typed) == request

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "is no JSON"),
            ("[1]", "is no JSON object"),
            ('{"regoin": "eu-west-1"}', "regoin is no field of a request. Did you mean region?"),
            (
                '{"attempt": 0, "volume_size_gb": "x"}',
                "--attempt cannot be 0: give 1 to 9999.",
            ),
            (" " * (LONGEST_REQUEST + 1), "longer than 1,048,576 bytes"),
            ("\\xff", "is no JSON"),
        ],
    )
    def test_what_is_no_request_is_told_by_name(
        self, read: Callable[..., TrainingRequest], tmp_path: Path, text: str, said: str
    ) -> None:
        file = tmp_path / "request.json"
        file.write_text(text)
        with pytest.raises(BadRequestError, match=re.escape(said)):
            read("--request", str(file))

    def test_everything_that_is_wrong_is_told(self, read: Callable[..., TrainingRequest]) -> None:
        with pytest.raises(BadRequestError) as refused:
            read("--attempt", "0", "--team", "a b", "--region", "nowhere")
        assert [line.split()[0] for line in str(refused.value).splitlines()] == ["--attempt", "--team", "--region"]

    def test_values_that_may_be_secrets_are_not_repeated(
        self, read: Callable[..., TrainingRequest], tmp_path: Path
    ) -> None:
        file = tmp_path / "request.json"
        file.write_text(json.dumps({"environment": {"TOKEN": ["hunter2"]}}))
        with pytest.raises(BadRequestError) as refused:
            read("--request", str(file))
        assert "--environment TOKEN" in str(refused.value)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("command", ["plan", "start", "status", "logs", "stop", "list"])
def test_help_fits_eighty_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["train", command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "--json" in shown


class Terminal(io.StringIO):
    """Written to as to a terminal."""

    def isatty(self) -> bool:
        return True


class TestStatusLine:
    def test_on_a_terminal_it_is_written_over_and_cut_to_its_width(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "20")
        line = StatusLine(screen := Terminal(), "cats-1")
        line.show("Training", "short")
        line.show("Training", "x" * 50)
        line.clear()
        line.clear()
        assert screen.getvalue() == f"\r\033[Kshort\r\033[K{'x' * 18}…\r\033[K"

    def test_elsewhere_each_state_is_told_once(self) -> None:
        line = StatusLine(file := io.StringIO(), "cats-1")
        for state in ("Starting", "Training", "Training", "Uploading"):
            line.show(state, f"now {state}")
            line.clear()
        assert file.getvalue() == "".join(f"cats-1: now {one}\n" for one in ("Starting", "Training", "Uploading"))


def deployment(name: str, user_id: UUID = ANNA, **changed: Any) -> Deployment:
    request = TrainingRequest(user_id=str(user_id), model_name="cats").model_dump(mode="json")
    return replace(
        Deployment(
            id=deployment_id_of(ARN + name),
            user_id=user_id,
            deployment_id=name,
            status="training",
            created_at=datetime(2026, 11, 21, 12, tzinfo=UTC),
            job=Job(arn=ARN + name, request=request),
            estimated_cost=Decimal("2.92"),
            budget_limit=Decimal("10.00"),
        ),
        **changed,
    )


class TestFinding:
    @pytest.fixture
    def catalogue(self, tmp_path: Path) -> Iterator[Catalogue]:
        catalogue = open_catalogue(None, tmp_path)
        for name in ("cats-0123456789-1", "cats-0123456789-2", "dogs-aaaaaaaaaa-1"):
            catalogue.deployments.begin(deployment(name))
        catalogue.deployments.begin(deployment("cats-0123456789-3", BERT))
        yield catalogue
        catalogue.close()

    def test_by_name_the_beginning_of_it_or_id(self, catalogue: Catalogue) -> None:
        for text in ("dogs-aaaaaaaaaa-1", "d", str(deployment_id_of(f"{ARN}dogs-aaaaaaaaaa-1")).upper()):
            assert find_job(catalogue.deployments, ANNA, text).deployment_id == "dogs-aaaaaaaaaa-1"
        assert find_job(catalogue.deployments, ANNA, "cats-0123456789-1").deployment_id == "cats-0123456789-1"

    def test_a_beginning_of_several_is_refused_with_their_names(self, catalogue: Catalogue) -> None:
        with pytest.raises(UnknownChoiceError, match=r"begins the names of 2 jobs: .*Type more of one"):
            find_job(catalogue.deployments, ANNA, "cats")
        assert find_job(catalogue.deployments, BERT, "cats").deployment_id == "cats-0123456789-3"

    @pytest.mark.parametrize("text", ["cats-0123456789-3", "birds", ""])
    def test_another_users_is_as_missing_as_none(self, catalogue: Catalogue, text: str) -> None:
        with pytest.raises(UnknownChoiceError) as refused:
            find_job(catalogue.deployments, ANNA, text)
        assert f"User {ANNA} has no training job {text!r}." in str(refused.value)
        assert "cats-0123456789-1" in str(refused.value)
        assert "cats-0123456789-3" not in str(refused.value).replace(repr(text), "")

    def test_of_many_jobs_no_more_than_some_are_named(self, catalogue: Catalogue) -> None:
        for number in range(3, 12):
            catalogue.deployments.begin(deployment(f"cats-0123456789-{number}x"))
        with pytest.raises(UnknownChoiceError, match=r"begins the names of 11 jobs: .* and 6 more"):
            find_job(catalogue.deployments, ANNA, "cats-")


class TestWords:
    def test_a_list_of_jobs_keeps_long_names_for_the_end(self) -> None:
        long = f"{'x' * 40}-0123456789-9999"
        jobs = [
            deployment(long),
            deployment("cats-0123456789-1", status="completed", actual_cost=Decimal("0.000034"), completed_at=ENDED_AT),
        ]
        assert list(listed(jobs, with_user=False)) == [
            "CREATED (UTC)     STATUS          COST  MACHINES  JOB",
            f"2026-11-21 12:00  training     ≤ $2.92  m5.large  {long}",
            "2026-11-21 12:00  completed  $0.000034  m5.large  cats-0123456789-1",
        ]

    def test_a_job_that_never_was_is_called_refused_and_may_be_launched_by_the_same_command(self) -> None:
        row = deployment("cats-0123456789-1", status="failed", error_message="AWS said no", completed_at=ENDED_AT)
        row = replace(row, job=replace(row.job, given_up=True))
        said = "\n".join(of_job(Seen(row)))
        assert said.startswith("Training job cats-0123456789-1: refused.")
        assert "the same --attempt, launches it" in said
        assert "console" not in said
        assert "  refused  " in list(listed([row], with_user=False))[1]

    def test_a_job_that_was_stopped_before_it_was_launched_is_not_called_refused(self) -> None:
        row = deployment("cats-0123456789-1", status="stopped", completed_at=ENDED_AT)
        row = replace(row, job=replace(row.job, given_up=True, stop=Stop("anna", "late", ENDED_AT)))
        said = "\n".join(of_job(Seen(row)))
        assert said.startswith("Training job cats-0123456789-1: stopped.")
        assert "launches it" not in said

    def test_a_launch_that_was_killed_says_who_goes_on_with_it(self) -> None:
        said = "\n".join(of_job(Seen(deployment("cats-0123456789-1", status="creating"))))
        assert "the same `train start` goes on with it, or reconcile closes it 30 minutes after" in said

    def test_who_stopped_a_job_is_in_the_list(self) -> None:
        row = deployment("cats-0123456789-1", status="stopped")
        stop = Stop("annabella-of-vision", "loss", datetime(2026, 11, 21, 13, tzinfo=UTC))
        head, line = listed([replace(row, job=replace(row.job, stop=stop))], with_user=False)
        assert head.split()[:4] == ["CREATED", "(UTC)", "STATUS", "BY"]
        assert "stopped  annabella-o…" in line

    def test_what_others_wrote_commands_no_terminal(self) -> None:
        stop = Stop("eve\033[2J", "because\n  user        nobody", datetime(2026, 11, 21, 13, tzinfo=UTC))
        row = deployment("cats-0123456789-1", status="stopped", error_message="\033[31mred")
        lines = list(of_job(Seen(replace(row, job=replace(row.job, stop=stop)))))
        assert not [line for line in lines if "\033" in line or "\n" in line]
        assert any("eve\\x1b[2J" in line for line in lines)

    def test_machines_get_every_digit_and_null_for_what_nobody_knows(self) -> None:
        row = deployment("cats-0123456789-1", status="completed", actual_cost=Decimal("0.000034"))
        facts = json.loads(json.dumps(facts_of_job(Seen(row))))
        assert (facts["cost_usd"], facts["is_billed"], facts["worst_case_usd"]) == ("0.000034", True, "2.92")
        assert facts["stop"] is facts["error"] is facts["likely_cause"] is facts["model_uri"] is None
        assert facts["created_at"] == "2026-11-21T12:00:00+00:00"


class TestApproval:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Allowance | None]:
        def ask(answers: str, *, on_over_budget: str = "ask", terminal: bool = True) -> Allowance | None:
            plan: Any = SimpleNamespace(
                request=TrainingRequest.model_validate({"on_over_budget": on_over_budget}),
                charge=SimpleNamespace(amount=Decimal("2.911")),
            )
            monkeypatch.setattr(sys, "stdin", (Terminal if terminal else io.StringIO)(answers))
            monkeypatch.setenv("LOGNAME", "anna")
            return ask_approval(OverBudgetError("cats", "$2.92", Decimal(1), [], "raise it"), plan)

        return ask

    def test_what_is_entered_without_a_word_is_the_whole_amount_and_ones_own_name(self, asked: Any) -> None:
        assert asked("y\n\n\n") == Allowance(Decimal("2.92"), "anna")

    def test_less_may_be_approved_and_nonsense_is_asked_again(
        self, asked: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert asked("yes\nmuch\n-1\n1.005\n$1.50\nBert\n") == Allowance(Decimal("1.50"), "Bert")
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("Write an amount of US dollars") == 3

    @pytest.mark.parametrize("answer", ["\n", "n\n", "", "maybe\n"])
    def test_anything_but_yes_is_no(self, asked: Any, answer: str) -> None:
        assert asked(answer) is None

    def test_nobody_is_asked_without_a_terminal_or_when_the_request_says_refuse(self, asked: Any) -> None:
        assert asked("y\n\n\n", terminal=False) is None
        assert asked("y\n\n\n", on_over_budget="refuse") is None


if __name__ == "__main__":
    print(fields_table())
