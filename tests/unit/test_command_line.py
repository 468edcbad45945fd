"""The `trainmaster` command: quick to start, one way to say what was typed wrongly, one set of exit codes, `--json` everywhere."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from trainmaster import cli
from trainmaster.commands.datasets import group as datasets
from trainmaster.commands.endpoints import group as endpoints
from trainmaster.commands.prices import group as prices
from trainmaster.commands.terminal.ending import exit_code
from trainmaster.commands.training import group as training
from trainmaster.errors import (
    CatalogueUnavailableError,
    NameConflictError,
    NotConfiguredError,
    WaitTimedOutError,
)

HEAVY = (
    "boto3",
    "botocore",
    "prefect",
    "pandas",
    "sqlalchemy",
    "pydantic_settings",
    "numpy",
    "rich",
    "fastapi",
    "httpx",
    "pyarrow",
    "obstore",
)
LOADED = f"""
import sys
from trainmaster.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print("LOADED", code, *(one for one in {HEAVY!r} if one in sys.modules))
"""
NEITHER = {"up", "embedded", "api", "completion"}
"""Commands that serve until Ctrl-C, and what writes a script for a shell."""


def parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Each command below it by its whole name, with the line that its group lists it by; the groups come first."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {one.dest: one.help or "" for one in action._choices_actions}
            for name, below in action.choices.items():
                yield below.prog.removeprefix("trainmaster "), below, told[name]
                yield from parsers(below)


@pytest.fixture(scope="module")
def everything() -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Of every command its parser and its line in the list."""
    return {name: (parser, line) for name, parser, line in parsers(cli.parser_of(None))}


def leaves(everything: dict[str, tuple[argparse.ArgumentParser, str]]) -> dict[str, argparse.ArgumentParser]:
    groups = {name.rpartition(" ")[0] for name in everything}
    return {name: parser for name, (parser, _) in everything.items() if name not in groups}


@pytest.mark.parametrize(
    "typed",
    [
        "--help",
        "train --help",
        "endpoints --help",
        "datasets --help",
        "datasets check --help",
        "prices show --json",
        "prices show ml.g5.xlarge",
        "prices equivalent gpu_1x_a10",
        "policy check",
        "policy check --service training --instance-type ml.m5.xlarge",
        "policy explain",
        "templates",
        "templates python-ml",
    ],
)
def test_what_needs_neither_aws_nor_a_database_loads_neither(typed: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, *typed.split()], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.stdout.splitlines()[-1] == "LOADED 0", ended.stderr


def test_a_command_is_listed_by_the_line_it_has_itself(everything: Any) -> None:
    listed = dict(cli.COMMANDS)
    for name, commands in {
        "train": training.COMMANDS, "endpoints": endpoints.COMMANDS, "datasets": datasets.COMMANDS,
        "prices": prices.COMMANDS,
    }.items():  # fmt: skip
        listed |= {f"{name} {one}": entry for one, entry in commands.items()}
    told = {name: line for name, (_, line) in everything.items() if name in listed}
    assert told == {name: entry.help for name, entry in listed.items()}


def test_no_command_is_there_that_its_group_does_not_list(everything: Any) -> None:
    assert {name for name in everything if " " not in name} == set(cli.COMMANDS)
    for group, commands in (("train", training.COMMANDS), ("endpoints", endpoints.COMMANDS)):
        assert {name.split()[1] for name in everything if name.startswith(f"{group} ")} == set(commands)


def test_every_command_prints_one_json_object_when_it_is_asked_to(everything: Any) -> None:
    without = {name for name, parser in leaves(everything).items() if "--json" not in parser._option_string_actions}
    assert without == NEITHER


def told(typed: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines on stderr."""
    try:
        code = cli.main(typed)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


class TestWhatIsTypedWrongly:
    def test_all_of_it_is_told_at_once_a_line_each_and_then_the_way_on(self, capsys: Any) -> None:
        typed = ["train", "start", "--bogus", "--instnce-count", "3", "--on-over-budget", "beg", "--user", "7", "extra"]
        code, out, lines = told(typed, capsys)
        assert (code, out) == (2, "")
        assert lines == [
            "--on-over-budget cannot be 'beg': choose refuse or ask.",
            "--bogus is no option of `trainmaster train start`.",
            "--instnce-count is no option of `trainmaster train start`. Did you mean --instance-count?",
            "'extra' is one word too many.",
            "--user cannot be '7': give an id, a UUID.",
            "How it is asked: trainmaster train start --help",
        ]

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("trian", "'trian' is no command of `trainmaster`. Did you mean train?"),
            ("endpoints deply", "'deply' is no command of `trainmaster endpoints`. Did you mean deploy?"),
            ("xyzzy", "'xyzzy' is no command of `trainmaster`."),
            (
                "train",
                "Which one? `trainmaster train` has the commands estimate, plan, start, status, logs, stop, list.",
            ),
            ("prices show --usee ec2", "--usee is no option of `trainmaster prices show`. Did you mean --use?"),
            ("budget set", "USD, one of --account, --team or --user are missing."),
            ("prices show --region", "--region: expected one argument."),
            ("prices show a b", "'b' is one word too many."),
            ("--nope", "--nope is no option of `trainmaster`."),
        ],
    )
    def test_it_is_named_with_what_comes_near_it(self, typed: str, said: str, capsys: Any) -> None:
        code, out, lines = told(typed.split(), capsys)
        assert (code, out, lines[0]) == (2, "", said)
        assert lines[-1].startswith("How it is asked: trainmaster"), "no page of usage"
        assert len(lines) <= 3

    def test_machines_are_told_too(self, capsys: Any) -> None:
        code, out, lines = told(["prices", "show", "--usee", "ec2", "--json"], capsys)
        assert (code, json.loads(out)["error"]) == (2, "UsageError")
        assert json.loads(out)["message"] == lines[0]

    def test_a_number_below_zero_is_a_value_and_no_option(self, capsys: Any) -> None:
        code, _, lines = told(["budget", "set", "-5", "--account", "--nope"], capsys)
        assert (code, lines[0]) == (2, "--nope is no option of `trainmaster budget set`.")


class TestHowACommandEnds:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (NameConflictError("It is taken."), 1),
            (NotConfiguredError("A bucket is missing."), 1),
            (CatalogueUnavailableError("The database is busy."), 2),
            (WaitTimedOutError("It took too long."), 2),
            (FileNotFoundError(2, "No such file or directory", "a.json"), 2),
        ],
        ids=lambda one: type(one).__name__ if isinstance(one, Exception) else str(one),
    )
    def test_refused_is_1_and_not_possible_now_is_2(self, error: Exception, code: int, capsys: Any) -> None:
        def fail(_args: argparse.Namespace) -> int:
            raise error

        assert exit_code(argparse.Namespace(run=fail, json=True)) == code
        said = capsys.readouterr()
        assert json.loads(said.out)["error"] == type(error).__name__
        assert json.loads(said.out)["message"] == said.err.strip()
        assert "Traceback" not in said.err

    def test_debug_shows_where_an_error_came_from_wherever_it_stands(self, capsys: Any) -> None:
        for typed in (["--debug", "prices", "show", "ml.nope"], ["prices", "show", "ml.nope", "--debug"]):
            code, out, lines = told(typed, capsys)
            assert (code, out, lines[0]) == (1, "", "Traceback (most recent call last):")
            assert lines[-1].startswith("No training price is known for 'ml.nope'")

    def test_what_nobody_expected_is_a_line_and_with_debug_its_traceback(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("by nothing")

        monkeypatch.setattr("trainmaster.commands.prices.showing.known_prices", fail)
        code, out, lines = told(["prices", "show"], capsys)
        assert (code, out) == (1, "")
        assert lines[0] == "This should not have happened: ZeroDivisionError: by nothing"
        assert "--debug" in lines[1]
        monkeypatch.setenv("TRAINMASTER_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            cli.main(["prices", "show"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_is_given_all_commands_and_options(shell: str, capsys: Any) -> None:
    code, script, _ = told(["completion", shell], capsys)
    assert code == 0
    words = ("endpoints", "equivalent", "--accept-large-changes", "--instance-count")
    for word in words if shell != "tcsh" else words[:1]:  # of which shtab knows the first level
        assert word in script
    if shell == "bash":
        read = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False, timeout=60)
        assert (read.returncode, read.stderr) == (0, "")


def test_bash_completes_a_command_by_it(capsys: Any) -> None:
    _, script, _ = told(["completion", "bash"], capsys)
    asked = f'{script}\nCOMP_WORDS=(trainmaster endp); COMP_CWORD=1; _shtab_trainmaster; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", asked], text=True, capture_output=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout.split() == ["endpoints"], done.stderr


def test_the_version_is_that_of_what_is_installed(capsys: Any) -> None:
    from importlib.metadata import version

    assert told(["--version"], capsys) == (0, f"trainmaster {version('trainmaster')}\n", [])
