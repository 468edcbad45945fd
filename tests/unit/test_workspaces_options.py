"""`trainmaster launch`: options made of the request's model, what is said of wrong ones, and their table in the docs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.workspaces.options import (
    POSITIONS,
    add_request_options,
    help_of,
    moment,
    options,
    read_opening,
)
from trainmaster.workspaces.request import OpenWorkspaceRequest

DOCS = Path(__file__).parents[2] / "docs" / "workspaces.md"
OPENED = ("python-ml", "mine")
USER = "11111111-2222-4333-8444-555555555555"


def options_table() -> str:
    """The options of `launch` as docs/workspaces.md lists them. `python tests/unit/test_workspaces_options.py` prints it."""
    rows = [f"| `{one.spelled}` | `{one.name}` | {help_of(one)} |" for one in options()]
    return "\n".join(["| option | field | what |", "| --- | --- | --- |", *rows])


@pytest.fixture
def read() -> Callable[..., OpenWorkspaceRequest]:
    """A request from what is typed."""
    parser = argparse.ArgumentParser()
    add_request_options(parser)
    return lambda *typed: read_opening(parser.parse_args(list(typed)))


def test_the_documentation_lists_the_options_there_are() -> None:
    assert options_table() in DOCS.read_text()


def test_every_field_is_typed_one_way() -> None:
    assert {*POSITIONS, *(one.name for one in options())} == set(OpenWorkspaceRequest.model_fields)
    spelled = [one.spelled for one in options()]
    assert len(spelled) == len(set(spelled))
    assert {"--user", "--tag", "--dry-run"} <= set(spelled)


def test_a_template_and_a_name_are_the_request_as_it_is(read: Callable[..., OpenWorkspaceRequest]) -> None:
    assert read(*OPENED) == OpenWorkspaceRequest(template="python-ml", name="mine")


def test_all_options_together_are_the_request_they_say(read: Callable[..., OpenWorkspaceRequest]) -> None:
    request = read(
        *OPENED, "--instance-type", "t3.large", "--volume-gb", "40", "--max-hourly-cost", "1.50", "--auto-stop-minutes", "90",
        "--keep-until", "2026-12-24T18:00+01:00", "--data-classification", "public", "--tag", "project=cats", "--tag", "a=b=c",
        "--user", USER, "--team", "vision", "--dry-run",
    )  # fmt: skip
    assert (request.instance_type, request.volume_gb, request.max_hourly_cost) == ("t3.large", 40, Decimal("1.50"))
    assert (request.auto_stop_minutes, request.data_classification) == (90, "public")
    assert request.keep_until == datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert request.tags == {"project": "cats", "a": "b=c"}
    assert (request.user_id, request.team, request.dry_run) == (USER, "vision", True)


def test_a_time_is_so_long_from_now_or_as_a_clock_shows_it() -> None:
    for typed, length in {"8h": timedelta(hours=8), "2d": timedelta(days=2)}.items():
        before = datetime.now(UTC)
        assert before + length <= moment(typed) <= datetime.now(UTC) + length
    here = datetime(2026, 12, 24, 18).astimezone()
    assert moment("2026-12-24T18:00") == here
    for typed in ("soon", "8", "h", "-1h", "2026-13-01", "999999999d"):
        with pytest.raises(argparse.ArgumentTypeError, match="8h or 2d, or a time"):
            moment(typed)


WRONG = {
    "a template with a capital": (["Python", "mine"], ["TEMPLATE cannot be 'Python': lower-case letters"]),
    "a name with an underscore": (["python-ml", "my_ml"], ["NAME cannot be 'my_ml': lower-case letters"]),
    "a name too long": (["python-ml", "a" * 41], ["it may have 40 characters"]),
    "a type without a dot": ([*OPENED, "--instance-type", "big"], ["--instance-type cannot be 'big': give a type"]),
    "too small a volume": ([*OPENED, "--volume-gb", "2"], ["--volume-gb cannot be '2': give 5 to 16384."]),
    "an amount that is none": ([*OPENED, "--max-hourly-cost", "lots"], ["cannot be 'lots': give US dollars"]),
    "an amount below a cent": ([*OPENED, "--max-hourly-cost", "0.001"], ["give US dollars in whole cents"]),
    "minutes that are no number": ([*OPENED, "--auto-stop-minutes", "long"], ["'long': give a whole number."]),
    "a user without an id": ([*OPENED, "--user", "me"], ["--user cannot be 'me': give an id, a UUID."]),
    "two things at once": (["A", "B"], ["TEMPLATE cannot be 'A'", "NAME cannot be 'B'"]),
}


@pytest.mark.parametrize(("typed", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_by_the_option_it_was_given_with(
    read: Callable[..., OpenWorkspaceRequest], typed: list[str], said: list[str]
) -> None:
    with pytest.raises(BadRequestError) as error:
        read(*typed)
    lines = str(error.value).splitlines()
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said, lines, strict=True)), lines


if __name__ == "__main__":
    print(options_table())
