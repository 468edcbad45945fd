"""Every List operation filters and orders its records by these rules."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.embedded.sagemaker.listing import page, seconds
from trainmaster.embedded.sagemaker.wire import AwsError


def job(name: str, created: float, status: str, modified: float | None = None) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "CreationTime": created,
        "LastModifiedTime": created if modified is None else modified,
        "TrainingJobStatus": status,
    }


JOBS = [job("b", 1, "Failed", 9), job("a", 2, "Completed"), job("c", 3, "Failed"), job("d", 3, "InProgress")]


def listed(request: dict[str, Any], jobs: list[dict[str, Any]] = JOBS) -> tuple[str, str | None]:
    answer = page(jobs, request, name="TrainingJobName", summaries="TrainingJobSummaries", status="TrainingJobStatus")
    return "".join(one["TrainingJobName"] for one in answer["TrainingJobSummaries"]), answer.get("NextToken")


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({}, "bacd"),
        ({"SortOrder": "Descending"}, "dcab"),
        ({"SortBy": "Name"}, "abcd"),
        ({"SortBy": "Status"}, "abcd"),
        ({"SortBy": "Status", "SortOrder": "Descending"}, "dcba"),
        ({"StatusEquals": "Failed"}, "bc"),
        ({"NameContains": "c"}, "c"),
        ({"LastModifiedTimeAfter": 3}, "bcd"),
        ({"LastModifiedTimeBefore": 3}, "acd"),
        ({"CreationTimeAfter": 2, "CreationTimeBefore": 2}, "a"),
        ({"CreationTimeAfter": "1970-01-01T00:00:03Z"}, "cd"),
        ({"StatusEquals": "Stopped"}, ""),
    ],
)
def test_filters_and_orders_are_aws(request_: dict[str, Any], names: str) -> None:
    assert listed(request_) == (names, None)


def test_training_jobs_come_oldest_first_and_all_else_newest_first() -> None:
    records = [{"ModelName": name, "CreationTime": n} for n, name in enumerate("ab")]
    models = page(records, {}, name="ModelName", summaries="Models")["Models"]
    assert [one["ModelName"] for one in models] == ["b", "a"]
    assert listed({})[0] == "bacd"


@given(
    times=st.lists(st.integers(0, 5), max_size=30),
    size=st.integers(1, 7),
    by=st.sampled_from(["Name", "CreationTime", "Status"]),
    order=st.sampled_from(["Ascending", "Descending"]),
)
def test_pages_joined_are_the_whole_list_in_order(times: list[int], size: int, by: str, order: str) -> None:
    jobs = [job(chr(ord("A") + n), created, ["Failed", "Completed"][n % 2]) for n, created in enumerate(times)]
    request = {"SortBy": by, "SortOrder": order}
    whole, _ = listed(request | {"MaxResults": 100}, jobs)
    names, token = listed(request | {"MaxResults": size}, jobs)
    while token:
        more, token = listed(request | {"MaxResults": size, "NextToken": token}, jobs)
        assert more
        names += more
    assert names == whole
    assert sorted(whole) == sorted(one["TrainingJobName"] for one in jobs)


def test_a_time_without_zone_is_utc_and_one_that_is_none_is_refused() -> None:
    assert seconds("1970-01-01T00:01:00") == seconds("1970-01-01T01:01:00+01:00") == seconds(60)
    with pytest.raises(AwsError, match="'yesterday' is not a timestamp"):
        seconds("yesterday")


def test_a_filter_that_is_not_honoured_is_refused_rather_than_ignored() -> None:
    with pytest.raises(AwsError, match="does not filter by WarmPoolStatusEquals"):
        listed({"WarmPoolStatusEquals": "InUse"})


@pytest.mark.parametrize("place", [[None, "a"], [1, None], ["1", "a"], [1], {}])
def test_a_token_nobody_gave_is_refused(place: Any) -> None:
    token = ["CreationTime", "Ascending", *place] if isinstance(place, list) else place
    with pytest.raises(AwsError, match="NextToken is not valid"):
        listed({"NextToken": base64.urlsafe_b64encode(json.dumps(token).encode()).decode()})
