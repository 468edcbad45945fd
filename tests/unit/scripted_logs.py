"""A CloudWatch of a test's own: streams of events that grow, pages as small as wanted, and failures on command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

JOB = "cats-1"


def aws_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation"
    )  # type: ignore[typeddict-item]


class ScriptedLogs:
    """Called with a service's name it is that service's client, as `Clients` are."""

    def __init__(self, page: int = 10_000) -> None:
        self.streams: dict[str, list[tuple[int, str]]] = {}
        self.page = page
        self.calls: list[str] = []
        self.fail: Callable[[str, str], None] = lambda _operation, _stream: None

    def __call__(self, _service: str) -> Any:
        return self

    def say(self, host: str, *lines: str, at: int = 1, begun: int = 100) -> None:
        self.streams.setdefault(f"{JOB}/{host}-{begun}", []).extend((at, line) for line in lines)

    def get_paginator(self, operation: str) -> ScriptedLogs:
        assert operation == "describe_log_streams"
        return self

    def paginate(self, **asked: str) -> Iterator[dict[str, Any]]:
        self.calls.append("DescribeLogStreams")
        self.fail("DescribeLogStreams", "")
        names = sorted(name for name in self.streams if name.startswith(asked["logStreamNamePrefix"]))
        for first in range(0, len(names), 50):
            yield {"logStreams": [{"logStreamName": name} for name in names[first : first + 50]]}

    def get_log_events(self, **asked: Any) -> dict[str, Any]:
        stream = asked["logStreamName"]
        self.calls.append("GetLogEvents")
        self.fail("GetLogEvents", stream)
        found = [event for event in self.streams[stream] if event[0] >= asked.get("startTime", 0)]
        first = int(asked.get("nextToken", "f/0").partition("/")[2])
        page = found[first : first + min(asked.get("limit", 10_000), self.page)]
        events = [{"timestamp": at, "message": f"{text}\n"} for at, text in page]
        return {"events": events, "nextForwardToken": f"f/{first + len(page)}"}
