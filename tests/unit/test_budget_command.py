"""`trainmaster budget`: what people see and set, and what a script may rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from trainmaster.budget.budgets import Payer, month_name
from trainmaster.budget.charge import Allowance, Charge
from trainmaster.budget.ledger import open_ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.cli import main

ANNA = UUID(int=1)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and complaints of a budget command."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["budget", *words])
        except SystemExit as ended:
            code = int(str(ended.code))
        return code, *capsys.readouterr()

    return run


def spend(state: Path) -> str:
    """Two charges of Anna's, one of them billed; the month they count in."""
    with open_ledger(None, state) as ledger:
        for key in ("first", "second"):
            arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{key}"
            ledger.reserve(Charge(key, Decimal("1.50"), Decimal("0.1"), arn, Payer(ANNA, "vision")))
        return ledger.settle("first", Decimal("0.000034")).month


def test_a_budget_that_was_set_is_shown_with_what_is_left_of_it(state: Path, say: Any) -> None:
    month = spend(state)
    assert say("set", "2", "--user", str(ANNA))[0] == 0
    code, out, err = say("show")
    assert (code, err) == (0, "")
    budgets, reserved = out.split("\n\n")
    title, header, *rows = budgets.splitlines()
    assert title == f"{month_name(month)} (UTC), in US dollars"
    assert header.split() == ["BUDGET", "LIMIT", "BILLED", "RESERVED", "LEFT", "COMMITTED"]
    assert [row.split() for row in rows] == [
        ["the", "account", "none", "$0.000034", "$1.50"],
        ["team", "vision", "none", "$0.000034", "$1.50"],
        ["user", str(ANNA), "$2.00", "$0.000034", "$1.50", "$0.4999", "75", "%"],
    ]
    title, header, row = reserved.splitlines()
    assert title == "Reserved, and billed when it is over"
    assert header.split() == ["SINCE", "(UTC)", "FOR", "WHOSE", "AMOUNT"]
    assert row.split()[2:] == ["second", "team", "vision,", "user", str(ANNA), "$1.50"]


def test_what_was_allowed_beyond_a_budget_is_shown_and_by_whom(state: Path, say: Any) -> None:
    say("set", "1", "--team", "vision")
    with open_ledger(None, state) as ledger:
        arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/big"
        charge = Charge("big", Decimal("1.50"), Decimal("0.1"), arn, Payer(ANNA, "vision"))
        ledger.reserve(charge, allowance=Allowance(Decimal(2), "Olga"))
    budgets = say("show", "--team", "vision")[1].split("\n\n")[0].splitlines()
    assert budgets[1].split() == ["BUDGET", "LIMIT", "ALLOWED", "BILLED", "RESERVED", "LEFT", "COMMITTED"]
    assert budgets[2].split() == ["team", "vision", "$1.50", "$0.50", "$0", "$1.50", "$0", "100", "%"]
    assert "approved for single jobs, in this month alone" in budgets[3]
    assert json.loads(say("show", "--team", "vision", "--json")[1])["budgets"][0]["allowed"] == "0.50"
    [allowed] = [line for line in say("history")[1].splitlines() if " allowed " in line]
    assert allowed.split()[3:] == ["Olga,", "for", "big", "team", "vision", "$0.50"]


def test_the_hours_of_an_endpoint_are_shown_by_its_name(state: Path, say: Any) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/house-prices"
    with open_ledger(None, state) as ledger:
        Meters(ledger).start(Metered(arn, Decimal("0.115"), "house-prices-ab12", Payer(ANNA)))
    for command in ("show", "history"):
        [line] = [line for line in say(command)[1].splitlines() if "endpoint house-prices, hours 0 to 6" in line]
        assert line.split()[-1] == "$0.69"
    [reserved] = json.loads(say("show", "--json", "--user", str(ANNA))[1])["reservations"]
    assert (reserved["key"], reserved["for"]) == (f"{arn}@house-prices-ab12#1.0", "endpoint house-prices, hours 0 to 6")
    assert (reserved["amount"], reserved["hourly"], reserved["budgets"]) == (
        "0.690000", "0.115", ["account", f"user:{ANNA}"],
    )  # fmt: skip
    assert json.loads(say("show", "--json", "--team", "vision")[1])["reservations"] == []


def test_of_many_reservations_the_newest_are_shown_and_the_rest_counted(state: Path, say: Any) -> None:
    with open_ledger(None, state) as ledger:
        for number in range(53):
            ledger.reserve(Charge(f"job-{number}", Decimal(1), Decimal(1), "arn:aws:sagemaker:x:1:training-job/x"))
    lines = say("show")[1].splitlines()
    assert lines[-1] == "and 3 older ones; --json has them all."
    assert lines[-2].split()[2] == "job-3"
    assert len(json.loads(say("show", "--json")[1])["reservations"]) == 53


def test_machines_get_every_digit(state: Path, say: Any) -> None:
    month = spend(state)
    say("set", "2.50", "--team", "vision")
    code, out, _ = say("show", "--team", "vision", "--json")
    told = json.loads(out)
    assert (code, told["month"]) == (0, month)
    assert told["budgets"] == [
        {"budget": "team:vision", "limit": "2.50", "allowed": "0", "billed": "0.000034", "reserved": "1.500000", "balance": "0.999966"}
    ]  # fmt: skip
    assert [(one["key"], one["amount"]) for one in told["reservations"]] == [("second", "1.500000")]


def test_what_is_overspent_is_shown_as_such(state: Path, say: Any) -> None:
    spend(state)
    say("set", "1", "--account")
    assert "-$0.50" in say("show", "--account")[1]
    assert json.loads(say("show", "--account", "--json")[1])["budgets"][0]["balance"] == "-0.500034"


def test_a_limit_below_what_is_promised_says_whose_jobs_will_be_stopped_and_when(state: Path, say: Any) -> None:
    month = month_name(spend(state))
    code, out, _ = say("set", "1200", "--team", "vision")
    assert (code, "overdrawn" in out) == (0, False)
    assert "$1,200.00" in out
    said = say("set", "1", "--team", "vision")[1].partition("\n\n")[2]
    assert said.startswith(
        f"{month}'s $1.00 of team vision is overdrawn: $1.50 is billed or promised, $0.5001 too much."
    )
    assert "by today's books" in said
    assert said.endswith("\n  second\n")
    assert json.loads(say("set", "1", "--team", "vision", "--json")[1])["stopping"] == ["second"]
    with open_ledger(None, state) as ledger:
        ledger.settle("second", Decimal("1.50"))
    assert "No training job is stopped for it." in say("set", "1", "--team", "vision")[1]


def test_a_limit_below_what_is_promised_says_what_runs_by_the_hour_and_is_warned_of(state: Path, say: Any) -> None:
    here = "arn:aws:{}:us-east-1:123456789012:{}"
    with open_ledger(None, state) as ledger:
        for of in (
            Metered(here.format("trainmaster", "workspace/box-1b3c5d7e"), Decimal(1), "machine", Payer(ANNA)),
            Metered(here.format("trainmaster", "workspace/kept-2b3c5d7e"), Decimal("0.01"), "storage", Payer(ANNA)),
            Metered(here.format("sagemaker", "endpoint/houses"), Decimal(1), "houses-ab12", Payer(ANNA, "vision")),
        ):
            Meters(ledger).start(of)
    said = say("set", "1", "--account")[1]
    assert "No training job is stopped for it." in said
    assert "stop-idle warns of" in said
    assert said.endswith("\n  endpoint houses, workspace box-1b3c5d7e\n")
    told = json.loads(say("set", "1", "--user", str(ANNA), "--json")[1])
    assert (told["stopping"], told["warning"]) == ([], ["endpoint houses", "workspace box-1b3c5d7e"])
    assert json.loads(say("set", "1", "--team", "vision", "--json")[1])["warning"] == ["endpoint houses"]
    assert "stop-idle" not in say("set", "1", "--account", "--month", "2999-01")[1]
    assert json.loads(say("set", "none", "--account", "--json")[1])["warning"] == []


@pytest.mark.parametrize("command", ["history", "show"])
def test_a_reader_that_has_read_enough_ends_the_command_quietly(state: Path, command: str) -> None:
    spend(state)
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "budget", command],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "TRAINMASTER_STATE_DIR": str(state)},
    )  # fmt: skip
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_a_budget_for_a_later_month_leaves_this_one(say: Any) -> None:
    say("set", "5", "--account", "--month", "2999-01")
    assert json.loads(say("show", "--json")[1])["budgets"][0]["limit"] is None
    assert json.loads(say("show", "--json", "--month", "2999-02")[1])["budgets"][0]["limit"] == "5.00"


def test_none_takes_a_limit_away(say: Any) -> None:
    say("set", "5", "--account")
    assert json.loads(say("set", "none", "--account", "--json")[1])["budgets"][0]["limit"] is None


def test_the_history_says_what_happened_newest_first(state: Path, say: Any) -> None:
    month = spend(state)
    say("set", "5", "--account")
    code, out, _ = say("history")
    assert code == 0
    assert [row.split()[2] for row in out.splitlines()[1:]] == ["limit", "settled", "reserved", "reserved"]
    told = json.loads(say("history", "--json", "--user", str(ANNA), "--limit", "1")[1])["history"]
    assert [(one["what"], one["amount"], one["subject"], one["month"]) for one in told] == [
        ("settled", "0.000034", "first", month)
    ]
    assert told[0]["budgets"] == ["account", "team:vision", f"user:{ANNA}"]


def test_an_empty_history_says_so(say: Any) -> None:
    assert say("history") == (0, "", "Nothing was reserved, billed or set.\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["set", "5"], 2, "one of --account, --team or --user is missing"),
        (["set", "5", "--account", "--team", "vision"], 2, "--team: does not go with --account"),
        (["set", "five", "--account"], 2, "'five' is no amount"),
        (["set", "5", "--user", "anna"], 2, "'anna' is no user's id"),
        (["set", "5", "--team", "a b"], 2, "'a b' is no team's name"),
        (["show", "--month", "2026-13"], 2, "'2026-13' is no month"),
        (["history", "--limit", "0"], 2, "'0' is no number of lines"),
        (["set", "5.001", "--account"], 1, "A budget of 5.001 cannot be set; give US dollars in whole cents"),
        (["set", "-5", "--account"], 1, "A budget of -5 cannot be set"),
        (["set", "5", "--account", "--month", "2020-01"], 1, "January 2020 is over"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(say: Any, words: list[str], code: int, said: str) -> None:
    ended, out, err = say(*words)
    assert (ended, out) == (code, "")
    assert said in err


def test_a_ledger_out_of_reach_is_no_refusal(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    code, out, err = say("show")
    assert (code, out) == (2, "")
    assert "Try again later" in err
