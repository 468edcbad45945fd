"""The logs of many jobs at once: one search over the whole group since the last sweep, whatever the number of jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.training.desk import Desk
from trainmaster.training.log_sinks import Line
from trainmaster.training.logs import GROUP, lines_of

MOST_PAGES = 60
"""Of one sweep: 60 MB of log. What is left comes with the next one."""
OVERLAP = timedelta(minutes=2)
"""CloudWatch may show a line so much after its time, and others that are younger before it."""
LOOK_BACK = timedelta(minutes=30)
"""A sweep that comes later than this after the last one begins here: of a job's log only the end is kept."""
JOB, READER = "*", "sweep"
"""Under which the position is kept, among those of readers of one job's log."""


@dataclass
class Position:
    """How far the sweeps have read: up to `at` (epoch milliseconds), and of each stream that wrote shortly before, the time of its
    last line that was read and how many lines of that very time were."""

    at: int
    read: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, token: str | None, *, otherwise: int) -> Position:
        """From `token`; never before `otherwise`."""
        try:
            kept = json.loads(token or "{}")
            return cls(max(kept["at"], otherwise), {name: (at, count) for name, (at, count) in kept["read"].items()})
        except (ValueError, KeyError, TypeError):
            return cls(otherwise)

    def token(self) -> str:
        """Without streams whose lines no later search finds again."""
        since = self.begins
        return json.dumps({"at": self.at, "read": {name: last for name, last in self.read.items() if last[0] >= since}})

    @property
    def begins(self) -> int:
        """Where the next search begins."""
        return self.at - OVERLAP // timedelta(milliseconds=1)


@dataclass
class GroupReader:
    """Reads on where the last sweep stopped. `calls` is how many searches it took, `is_behind` whether there is more."""

    desk: Desk
    calls: int = 0
    is_behind: bool = False

    def new_lines(self) -> Iterator[Line]:
        """Every job's new lines, by time, a page in memory at a time; where they end is kept when all are taken.

        So a sweep that dies half-way is done again. Raises botocore's errors.
        """
        kept = self.desk.catalogue.log_positions
        earliest = int((self.desk.ledger.now() - LOOK_BACK).timestamp() * 1000)
        position = Position.parse(kept.load(JOB, READER).get(GROUP), otherwise=earliest)
        before, again = dict(position.read), Counter[str]()
        for event in self._events(position.begins):
            stream, at = event["logStreamName"], event["timestamp"]
            last, count = before.get(stream, (0, 0))
            again[stream] += at == last
            if at < last or (at == last and again[stream] <= count):
                continue
            newest, of_then = position.read.get(stream, (0, 0))
            position.read[stream] = (at, of_then + 1 if at == newest else 1)
            position.at = max(position.at, at)
            yield from (Line(stream, at, text) for text in lines_of(event["message"]))
        kept.save(JOB, READER, {GROUP: position.token()})

    def _events(self, since: int) -> Iterator[Mapping[str, Any]]:
        token: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            self.calls += 1
            try:
                page = self.desk.client("logs").filter_log_events(
                    logGroupName=GROUP, startTime=since, interleaved=True, **token
                )
            except ClientError as error:
                if is_missing(error):  # the group appears with the account's first job
                    return
                raise
            yield from page["events"]
            if "nextToken" not in page:
                return
            token = {"nextToken": page["nextToken"]}
        self.is_behind = True


def job_of(stream: str) -> str:
    """The job whose log stream it is."""
    return stream.rpartition("/")[0]
