"""A job's log from CloudWatch: all hosts' lines, in order, each told once, whoever is killed in between.

How: CloudWatch keeps a stream's lines in the order of their times. What is kept of a reader is, for each stream, the time of
the last line it told; every read begins there again, that time included, and leaves out what was told at or after it. Within a
process that is remembered; after a restart, or a failure that leaves open what arrived, the sink is asked. CloudWatch's own
tokens are used from page to page only: they expire after a day, and say nothing of what has arrived at our end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.errors import TrainmasterError
from trainmaster.training.log_sinks import SURE_CHARACTERS, Line, LogPositions, LogSink

GROUP = "/aws/sagemaker/TrainingJobs"
LINES_PER_READ, PAGES_PER_READ = 20_000, 16
"""Bound one read over all streams: to 16 MB, or two pages of each, of at most 1 MB. What is left comes with the next."""
FEWEST_PER_PAGE = 500
EMPTY_PAGES = 200
"""CloudWatch may answer with empty pages where there are more; after so many the rest comes with the next read."""
READS_BETWEEN_LOOKS = 4
QUIET_READS = 5
"""After so many reads without a line, a stream of a host that has a newer one is left alone."""

_Key = tuple[int, str]


@dataclass
class _Stream:
    """How far a stream was told: everything before `at`, and of that time and later what `told` counts."""

    name: str
    at: int = 0
    told: Counter[_Key] = field(default_factory=Counter)
    quiet: int = 0
    end: tuple[int, str] = (-1, "")
    """From where it was read last, and CloudWatch's token for its end then: the same again means that nothing has come."""

    @property
    def host(self) -> str:
        return self.name.rpartition("/")[2].rpartition("-")[0]

    def advance(self, at: int) -> None:
        self.at = at
        self.told = Counter({key: count for key, count in self.told.items() if key[0] >= at})


@dataclass(frozen=True)
class _Seen:
    """A line that was read, and whether it had been told already."""

    line: Line
    told: bool


@dataclass(frozen=True)
class _Fetched:
    """What a read brought of one stream. Of what it holds after the time `until`, where there is one, nothing is known."""

    seen: list[_Seen]
    until: int | None = None


@dataclass
class LogReader:
    """Reads on from where this `reader` of the job stopped, in this process or another. Not safe to share between threads.

    Lines are told to `sink`, which keeps them, before `positions` notes how far they go; without a sink they are only returned.
    Without positions a new reader asks the sink for all it has, and remembers that.
    """

    client: Callable[[str], Any]
    job_name: str
    hosts: int
    sink: LogSink | None = None
    positions: LogPositions | None = None
    reader: str = ""
    has_more: bool = field(default=False, init=False)
    """Whether the last read stopped short of the end."""
    heard: list[Line] = field(default_factory=list, init=False)
    """The lines of the last read, also those that were told by a process that died before it noted so."""
    unsaved_because: str = field(default="", init=False)
    """Why positions could not be kept, if so: until they are, a restart has more to ask the sink."""
    _streams: dict[str, _Stream] = field(default_factory=dict, init=False)
    _unsaved: set[str] = field(default_factory=set, init=False)
    _loaded: bool = field(default=False, init=False)
    _unsure: bool = field(default=True, init=False)
    """Whether only the sink knows what it has."""
    _starts: int = field(default=1, init=False)
    _reads_until_look: int = field(default=0, init=False)

    def look_again(self, starts: int = 1) -> None:
        """There may be more streams: a job that was interrupted writes to new ones. `starts` is how often it has begun."""
        self._starts, self._reads_until_look = max(starts, 1), 0
        for stream in self._streams.values():
            stream.quiet = 0

    def new_lines(self) -> list[Line]:
        """Lines written since the last call and told just now, by time, each stream's in its own order.

        Raises botocore's errors and the sink's; what was not told then comes with a later call.
        """
        self.heard, self.has_more = [], False
        self._load()
        self._look()
        self._ask_sink()
        fetched = [self._fetch(stream) for stream in self._read_streams()]
        limit = min((one.until for one in fetched if one.until is not None), default=None)
        # Past the limit of one stream another's lines would be told too early.
        seen = [one for each in fetched for one in each.seen if limit is None or one.line.at <= limit]
        seen.sort(key=lambda one: one.line.at)
        new = [one.line for one in seen if not one.told]
        self._tell(new)
        self.has_more = limit is not None
        self.heard = [one.line for one in seen if not one.told or one.line.at > self._streams[one.line.stream].at]
        self._advance(seen)
        self._save()
        return new

    def _load(self) -> None:
        if self._loaded or self.positions is None:
            return
        for name, position in self.positions.load(self.job_name, self.reader).items():
            self._streams[name] = _Stream(name, int(position) if position and position.isdecimal() else 0)
        self._loaded = True

    def _look(self) -> None:
        """Look for streams, unless each host has as many as it was started; now and then while one is missing."""
        if len(self._streams) >= self.hosts * self._starts and not self._unsure:
            return
        self._reads_until_look -= 1
        if self._reads_until_look >= 0 and not self._unsure:
            return
        for name in _stream_names(self.client("logs"), self.job_name):
            self._streams.setdefault(name, _Stream(name))
        self._reads_until_look = READS_BETWEEN_LOOKS

    def _ask_sink(self) -> None:
        if self._unsure and self.sink:
            told: dict[str, Counter[_Key]] = {name: Counter() for name in self._streams}
            for line in self.sink.told_since({name: stream.at for name, stream in self._streams.items()}):
                told[line.stream][_key(line)] += 1
            for name, stream in self._streams.items():
                stream.told = told[name]
        self._unsure = False

    def _read_streams(self) -> list[_Stream]:
        newest = {stream.host: stream.name for stream in sorted(self._streams.values(), key=lambda one: one.name)}
        ended = [s for s in self._streams.values() if s.quiet >= QUIET_READS and newest[s.host] != s.name]
        return [stream for stream in self._streams.values() if stream not in ended]

    def _fetch(self, stream: _Stream) -> _Fetched:
        share = max(LINES_PER_READ // len(self._streams), FEWEST_PER_PAGE)
        most_pages = max(PAGES_PER_READ // len(self._streams), 2)
        left, seen, new, token = stream.told.copy(), list[_Seen](), 0, ""
        for number in range(1, EMPTY_PAGES):
            page = self._page(stream, share, token)
            for line in self._lines(stream.name, page["events"]):
                told = left[_key(line)] > 0
                left[_key(line)] -= told
                new += not told
                seen.append(_Seen(line, told))
            before, token = token, page["nextForwardToken"]
            if token == before or stream.end == (stream.at, token):
                stream.end = (stream.at, token)
                return _Fetched(seen)
            if new >= share or (new and number >= most_pages):
                break
        return _Fetched(seen, seen[-1].line.at if seen else stream.at)

    def _page(self, stream: _Stream, limit: int, token: str) -> Mapping[str, Any]:
        more = {"nextToken": token} if token else {}
        try:
            page: Mapping[str, Any] = self.client("logs").get_log_events(
                logGroupName=GROUP,
                logStreamName=stream.name,
                startTime=stream.at,
                startFromHead=True,
                limit=min(limit, 10_000),
                **more,
            )
        except ClientError as error:
            if is_missing(error) and not token:  # a stream that was deleted; or one that is being restored
                return {"events": [], "nextForwardToken": token}
            raise
        return page

    def _lines(self, stream: str, events: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
        host = self._streams[stream].host if self.hosts > 1 else ""
        for event in events:
            for text in lines_of(event["message"]):
                yield Line(stream, event["timestamp"], text, host)

    def _tell(self, lines: list[Line]) -> None:
        if self.sink and lines:
            self._unsure = True
            self.sink.tell(lines)
            self._unsure = False
        for line in lines:
            self._streams[line.stream].told[_key(line)] += 1

    def _advance(self, seen: list[_Seen]) -> None:
        reached = {one.line.stream: one.line.at for one in seen}
        heard_of = {line.stream for line in self.heard}
        for name, stream in self._streams.items():
            stream.quiet = 0 if name in heard_of else stream.quiet + 1
            if reached.get(name, 0) > stream.at:
                stream.advance(reached[name])
                self._unsaved.add(name)

    def _save(self) -> None:
        if self.positions is None or not self._unsaved:
            return
        try:
            positions = {name: str(self._streams[name].at) for name in self._unsaved}
            self.positions.save(self.job_name, self.reader, positions)
        except (TrainmasterError, OSError) as error:  # what was told is told
            self.unsaved_because = str(error)
        else:
            self._unsaved.clear()
            self.unsaved_because = ""


def last_lines(logs: Any, job_name: str, *, most: int = 200) -> list[Line]:
    """The end of a job's log, over its hosts by time, each line with its host where there are several.

    Of at most 40 streams, the newest of each host; at most `most` lines. Raises botocore's errors.
    """
    newest: dict[str, str] = {}
    for name in _stream_names(logs, job_name):
        newest[_Stream(name).host] = name
    found: list[Line] = []
    for host, name in list(newest.items())[:40]:
        shown = host if len(newest) > 1 else ""
        page = logs.get_log_events(logGroupName=GROUP, logStreamName=name, startFromHead=False, limit=most)
        found += [
            Line(name, event["timestamp"], text, shown)
            for event in page["events"]
            for text in lines_of(event["message"])
        ]
        found = sorted(found, key=lambda line: line.at)[-most:]
    return found


def lines_of(message: str) -> Iterator[str]:
    """An event's text as it can be kept anywhere: by lines, without NUL, which PostgreSQL has not, and half characters."""
    for line in message.rstrip("\r\n").split("\n"):
        yield line.rstrip("\r").replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _stream_names(logs: Any, job_name: str) -> list[str]:
    """In the order of their hosts, the tenth after the second, and of their times. None before a job writes its first line."""
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=GROUP, logStreamNamePrefix=f"{job_name}/")
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except ClientError as error:
        if is_missing(error):  # the group appears with the account's first job
            return []
        raise
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name.rpartition("/")[2])])


def _key(line: Line) -> _Key:
    return line.at, line.text[:SURE_CHARACTERS]
