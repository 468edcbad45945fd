"""The logs of many jobs at once: one search over the whole group since the last sweep, whatever the number of jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
"""Under which positions are kept, among those of readers of one job's log; each region has its own."""


@dataclass
class Position:
    """How far the sweeps have read. `begins` is where the next search begins, `at` the time of the newest line that was read (epoch
    milliseconds); `read` has of each stream the time of its last line that was, and how many lines of that very time were."""

    begins: int
    at: int
    read: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, token: str | None, *, earliest: int) -> Position:
        """From `token`; never before `earliest`."""
        try:
            kept = json.loads(token or "{}")
            begins, at = max(kept["begins"], earliest), max(kept["at"], earliest)
            return cls(begins, at, {name: (last, count) for name, (last, count) in kept["read"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(earliest, earliest)

    def token(self) -> str:
        """Without streams whose lines no later search finds again."""
        read = {name: last for name, last in self.read.items() if last[0] >= self.begins}
        return json.dumps({"begins": self.begins, "at": self.at, "read": read})

    def note(self, stream: str, at: int) -> None:
        """A line of the stream was read, the next by time."""
        last, count = self.read.get(stream, (0, 0))
        self.read[stream] = (at, count + 1 if at == last else 1)
        self.at = max(self.at, at)

    def end(self, cut_at: int | None) -> None:
        """Nothing more is read by this sweep: all was, or what is older than a moment at which it was cut off."""
        self.begins = max(self.at - OVERLAP // timedelta(milliseconds=1), self.begins) if cut_at is None else cut_at


@dataclass
class GroupReader:
    """Reads on where the last sweep stopped. `calls` is how many searches it took, `is_behind` whether there is more."""

    desk: Desk
    calls: int = field(default=0, init=False)
    is_behind: bool = field(default=False, init=False)

    def new_lines(self) -> Iterator[list[Line]]:
        """Every job's new lines, by time, a page of at most 10,000 events or 1 MB in memory at a time.

        How far it came is kept when the next page is asked for: a sweep that dies with a page in hand reads that one again.
        Raises botocore's errors.
        """
        kept, group = self.desk.catalogue.log_positions, f"{self.desk.settings.region}:{GROUP}"
        earliest = int((self.desk.ledger.now() - LOOK_BACK).timestamp() * 1000)
        position = Position.parse(kept.load(JOB, READER).get(group), earliest=earliest)
        before, again, reached = dict(position.read), Counter[str](), position.begins
        for page in self._pages(position.begins):
            new: list[Line] = []
            for event in page:
                stream, at = event["logStreamName"], event["timestamp"]
                reached = max(at, reached)
                last, count = before.get(stream, (0, 0))
                again[stream] += at == last
                if at < last or (at == last and again[stream] <= count):
                    continue
                position.note(stream, at)
                new += [Line(stream, at, text) for text in lines_of(event["message"])]
            yield new
            kept.save(JOB, READER, {group: position.token()})
        position.end(reached if self.is_behind else None)
        kept.save(JOB, READER, {group: position.token()})

    def _pages(self, since: int) -> Iterator[Sequence[Mapping[str, Any]]]:
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            self.calls += 1
            try:
                page = self.desk.client("logs").filter_log_events(
                    logGroupName=GROUP, startTime=since, interleaved=True, **more
                )
            except ClientError as error:
                if is_missing(error):  # the group appears with the account's first job
                    return
                raise
            yield page["events"]
            if "nextToken" not in page:
                return
            more = {"nextToken": page["nextToken"]}
        self.is_behind = True


def job_of(stream: str) -> str:
    """The job whose log stream it is."""
    return stream.rpartition("/")[0]
