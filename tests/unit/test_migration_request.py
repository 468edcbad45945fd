"""What may be asked of a migration, where asking for the wrong thing would lose bytes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from trainmaster.commands.datasets.reporting import complaint
from trainmaster.migration.request import MigrateDatasetsRequest, VerifyCopiesRequest


def test_bytes_in_s3_are_given_up_only_for_datasets_that_are_named() -> None:
    named = [str(uuid4())]
    assert not MigrateDatasetsRequest(phase="rollback", dataset_ids=named).take_newer
    assert MigrateDatasetsRequest(phase="rollback", dataset_ids=named, take_newer=True).take_newer
    with pytest.raises(ValidationError, match="name those that are meant in dataset_ids"):
        MigrateDatasetsRequest(phase="rollback", take_newer=True)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("name", ["max_gigabytes", "max_minutes", "megabytes_per_second"])
@pytest.mark.parametrize("request_", [MigrateDatasetsRequest, VerifyCopiesRequest])
def test_no_limit_is_endless_nor_no_number(request_: type[BaseModel], name: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        request_.model_validate({name: value})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"window": "22-6"}, "--window cannot be '22-6': it should be HH:MM-HH:MM, such as 22:00-06:00."),
        (
            {"window": "22:00-22:00"},
            "The window 22:00-22:00 (--window) opens when it closes; leave it empty for any time.",
        ),
        (
            {"timezone": "Mars/X"},
            "There is no time zone 'Mars/X' (--timezone); write an IANA name, such as Europe/Berlin.",
        ),
        ({"megabytes_per_second": float("inf")}, "--mb-per-second cannot be inf: it should be a finite number."),
        ({"max_minutes": 0.0}, "--max-minutes cannot be 0.0: it should be greater than 0."),
        ({"max_gigabytes": 0.0}, "--max-gb cannot be 0.0: it should be greater than 0."),
        ({"older_than": "soon"}, "--older-than cannot be 'soon': it should be a date, such as 2026-06-30."),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_sentence_that_names_the_option(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MigrateDatasetsRequest.model_validate(asked)
    assert [complaint(wrong) for wrong in refused.value.errors()] == [said]


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"timezone": "Mars/X"}, False),
        ({"timezone": "Europe/Berlin"}, True),
        ({"window": "22:00-22:00"}, False),
        ({"window": "22:00-06:00"}, True),
        ({"window": ""}, True),
        ({"window": "22-6"}, False),
    ],
)
def test_the_form_takes_no_window_or_time_zone_that_a_run_would_refuse(asked: dict[str, Any], fits: bool) -> None:
    assert Draft202012Validator(MigrateDatasetsRequest.model_json_schema()).is_valid(asked) is fits
