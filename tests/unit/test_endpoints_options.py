"""`trainmaster endpoints plan|deploy`: options made of the request's model, what is said of wrong ones, and their table in the docs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from trainmaster import cli
from trainmaster.commands.endpoints.options import REQUEST
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.endpoints.request import EndpointRequest, Rollout
from trainmaster.field_words import bounds_of

DOCS = Path(__file__).parents[2] / "docs" / "endpoints.md"
MODEL = "s3://bucket/jobs/cats-1/output/model.tar.gz"


def fields_table() -> str:
    """The fields of a request as docs/endpoints.md lists them. `python tests/unit/test_endpoints_options.py` prints it."""
    rows = ["| option | field | what | default |", "| --- | --- | --- | --- |"]
    for option in REQUEST:
        bounds, default = bounds_of(option.field), option.field.default
        what = f"{option.field.description}{f' {bounds[0].upper()}{bounds[1:]}.' if bounds else ''}"
        has_none = option.field.is_required() or default in (None, "", {}) or isinstance(default, BaseModel)
        shown = "" if has_none else "no" if default is False else f"`{default}`"
        rows.append(f"| `{option.spelled[0]}` | `{option.path}` | {what} | {shown} |")
    return "\n".join(rows)


@pytest.fixture
def read() -> Callable[..., EndpointRequest]:
    """A request from what is typed."""
    parser = argparse.ArgumentParser()
    REQUEST.add_to(parser)
    return lambda *typed: REQUEST.read(parser.parse_args(list(typed)))


def refused(read: Callable[..., EndpointRequest], *typed: str) -> list[str]:
    with pytest.raises(BadRequestError) as error:
        read(*typed)
    return str(error.value).splitlines()


def test_the_documentation_lists_the_options_there_are() -> None:
    assert fields_table() in DOCS.read_text()


def test_every_field_has_an_option_and_no_two_have_the_same() -> None:
    fields = {option.path.split(".")[0] for option in REQUEST}
    assert fields == set(EndpointRequest.model_fields) - {"dry_run"}
    spelled = [one for option in REQUEST for one in option.spelled]
    assert len(spelled) == len(set(spelled))
    assert {"--user", "--scaling", "--scaling-max-instances", "--shadow-model-uri", "--force"} <= set(spelled)
    assert not {"--rollout", "--shadow", "--challenger"} & set(spelled)


def test_nothing_but_a_model_is_the_request_as_it_is(read: Callable[..., EndpointRequest]) -> None:
    assert read("--model-uri", MODEL) == EndpointRequest(model_uri=MODEL)


def test_what_is_nested_is_typed_by_its_own_options(read: Callable[..., EndpointRequest]) -> None:
    request = read(
        "--model-group", "houses", "--model-version", "3", "--scaling-max-instances", "4", "--rollout-kind", "canary",
        "--rollout-max-error-percent", "1.5", "--lifetime-hours", "8", "--lifetime-when-over", "remove", "--capture-percent", "20",
        "--challenger-model-uri", MODEL, "--max-hourly-cost", "2", "--force",
    )  # fmt: skip
    assert request.scaling is not None
    assert (request.model_group, request.model_version, request.scaling.max_instances) == ("houses", 3, 4)
    assert (request.rollout.kind, request.rollout.max_error_percent) == ("canary", 1.5)
    assert (request.lifetime.hours, request.lifetime.when_over, request.capture_percent) == (8, "remove", 20)
    assert request.challenger is not None
    assert (request.challenger.model_uri, request.challenger.traffic_percent) == (MODEL, 10)
    assert (request.max_hourly_cost, request.force) == (Decimal("2.00"), True)


def test_an_option_alone_takes_all_its_defaults(read: Callable[..., EndpointRequest]) -> None:
    serverless = read("--model-uri", MODEL, "--serverless").serverless
    assert serverless is not None
    assert serverless.memory_mb == 2048
    larger = read("--model-uri", MODEL, "--serverless", "--serverless-memory-mb", "4096").serverless
    assert larger is not None
    assert (larger.memory_mb, larger.max_concurrency) == (4096, 5)


def test_a_file_gives_what_is_not_typed(read: Callable[..., EndpointRequest], tmp_path: Path) -> None:
    given = {"model_uri": MODEL, "rollout": {"kind": "linear", "step_percent": 25}, "instance_count": 2}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(given))
    request = read("--request", str(file), "--rollout-step-percent", "50", "--instance-count", "3")
    assert request.rollout == Rollout(kind="linear", step_percent=50)
    assert request.instance_count == 3
    file.write_text(json.dumps({**given, "rollout": None, "serverless": None}))
    assert "--rollout" in refused(read, "--request", str(file))[0]


WRONG = {
    "a number out of bounds": (
        ["--scaling-max-instances", "21"],
        "--scaling-max-instances cannot be '21': give 1 to 20.",
    ),
    "a word that is no number": (["--lifetime-hours", "soon"], "--lifetime-hours cannot be 'soon': give a number."),
    "a count that is no number": (
        ["--instance-count", "two"],
        "--instance-count cannot be 'two': give a whole number.",
    ),
    "an amount that is none": (["--max-hourly-cost", "lots"], "--max-hourly-cost cannot be 'lots': give US dollars"),
    "a name that cannot be": (
        ["--endpoint-name", "a_b"],
        "--endpoint-name cannot be 'a_b': letters, digits and single hyphens",
    ),
    "a half of a challenger": (["--challenger-traffic-percent", "20"], "--challenger-model-uri is missing: give the"),
    "a candidate that is no address": (
        ["--shadow-model-uri", "cats"],
        "--shadow-model-uri cannot be 'cats': give the model.tar.gz",
    ),
    "two that exclude each other": (["--serverless", "--scaling"], "Serverless and scaling exclude each other"),
    "fewer at most than at least": (
        ["--scaling-min-instances", "3", "--scaling-max-instances", "2"],
        "Min_instances is 3, which is more than max_instances, 2.",
    ),
    "two models": (["--model-group", "cats"], "Give either model_uri or model_group."),
}


@pytest.mark.parametrize(("typed", "said"), WRONG.values(), ids=WRONG)
def test_each_thing_that_is_wrong_is_said_once_by_its_option(
    read: Callable[..., EndpointRequest], typed: list[str], said: str
) -> None:
    [line] = refused(read, "--model-uri", MODEL, *typed)
    assert line.startswith(said)


def test_a_model_that_is_no_address_is_said_once(read: Callable[..., EndpointRequest]) -> None:
    [line] = refused(read, "--model-uri", "cats.tar.gz")
    assert line.startswith("--model-uri cannot be 'cats.tar.gz': give the model.tar.gz of a training job")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"instance_typ": "x"}, "instance_typ is no field of a request. Did you mean instance_type?"),
        (
            {"rollout": {"kinds": "canary"}},
            "rollout.kinds is no field of a request. Did you mean rollout.kind?",
        ),
        ({"rollout": {"kind": "fast"}}, "--rollout-kind cannot be 'fast'"),
    ],
    ids=["a field", "a nested field", "a choice"],
)
def test_a_file_with_something_else_in_it_is_refused(
    read: Callable[..., EndpointRequest], tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"model_uri": MODEL, **given}))
    assert refused(read, "--request", str(file))[0].startswith(said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["teardown"], "one of ENDPOINT or --all is missing"),
        (["teardown", "--yes"], "one of ENDPOINT or --all is missing"),
        (["teardown", "cats", "--all"], "--all: does not go with ENDPOINT"),
        (["start", "cats", "--max-hourly-cost", "lots"], "'lots' is no amount; write 0.01 to 100,000"),
        (["rollback", "cats", "--max-hourly-cost", "1.001"], "'1.001' is no amount"),
        (["rollback", "cats", "--max-hourly-cost", "1e99"], "'1e99' is no amount"),
    ],
)
def test_what_would_cost_or_remove_more_than_was_meant_is_refused_before_anything_is_looked_at(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(["endpoints", *typed])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


if __name__ == "__main__":
    print(fields_table())
