"""Requests that AWS's own clients make and that the services behind the embedded AWS would answer wrongly."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError


class TestLogEventsByThePrefixOfTheirStreams:
    """As `aws logs tail --log-stream-name-prefix` asks for the lines of one training job."""

    @pytest.fixture
    def logs(self, embedded: Any) -> Any:
        return embedded.client("logs")

    @pytest.fixture
    def group(self, logs: Any) -> Any:
        """Two streams of job a, one of job ab, one event each."""
        name = f"group-{uuid.uuid4().hex[:8]}"
        logs.create_log_group(logGroupName=name)
        now = int(time.time() * 1000)
        for at, stream in enumerate(("a/algo-1", "a/algo-2", "ab/algo-1")):
            logs.create_log_stream(logGroupName=name, logStreamName=stream)
            event = {"timestamp": now + at, "message": f"said in {stream}"}
            logs.put_log_events(logGroupName=name, logStreamName=stream, logEvents=[event])
        yield name
        logs.delete_log_group(logGroupName=name)

    @pytest.mark.parametrize(
        ("prefix", "streams"),
        [("a/", ["a/algo-1", "a/algo-2"]), ("ab", ["ab/algo-1"]), ("b", []), (None, ["a/algo-1", "a/algo-2", "ab/algo-1"])],
    )  # fmt: skip
    def test_only_streams_so_named_are_searched(
        self, logs: Any, group: str, prefix: str | None, streams: list[str]
    ) -> None:
        asked = {"logStreamNamePrefix": prefix} if prefix else {}
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, interleaved=True, PaginationConfig={"PageSize": 1}, **asked
        )
        found = [event for page in pages for event in page["events"]]
        assert [event["logStreamName"] for event in found] == streams
        assert [event["message"] for event in found] == [f"said in {stream}" for stream in streams]

    def test_names_and_a_prefix_exclude_each_other(self, logs: Any, group: str) -> None:
        with pytest.raises(ClientError) as refused:
            logs.filter_log_events(logGroupName=group, logStreamNames=["ab/algo-1"], logStreamNamePrefix="a")
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"

    def test_a_group_that_is_not_there_is_not_found(self, logs: Any) -> None:
        with pytest.raises(ClientError) as refused:
            logs.filter_log_events(logGroupName="nobody", logStreamNamePrefix="a")
        assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
