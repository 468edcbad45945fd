"""A host's stdout and stderr on their way to CloudWatch Logs: whole lines, in order, none lost, also kept in a file.

The file is what `restore` puts back after a restart, CloudWatch here being memory only. Its lines are
`<epoch milliseconds> <text>`.
"""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

GROUP = "/aws/sagemaker/TrainingJobs"
EVENT_OVERHEAD = 26
EVENT_BYTES = 256 * 1024 - EVENT_OVERHEAD
BATCH_BYTES = 1_048_576
BATCH_EVENTS = 10_000
FLUSH_SECONDS = 0.2
_READ_BYTES = 1 << 16

Line = tuple[int, str]
"""Epoch milliseconds and text."""

log = logging.getLogger(__name__)


class LineSplitter:
    """Bytes in, lines out: without their end, invalid UTF-8 replaced, empty ones dropped, long ones cut at the limit."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from _pieces(line)
        while len(self._rest) > EVENT_BYTES:
            cut = _boundary(self._rest, EVENT_BYTES)
            yield from _pieces(self._rest[:cut])
            self._rest = self._rest[cut:]

    def end(self) -> Iterator[str]:
        yield from _pieces(self._rest)
        self._rest = b""


def _pieces(line: bytes) -> Iterator[str]:
    data = line.removesuffix(b"\r").decode("utf-8", "replace").encode()
    while data:
        cut = _boundary(data, EVENT_BYTES)
        yield data[:cut].decode()
        data = data[cut:]


def _boundary(data: bytes, limit: int) -> int:
    """The largest cut up to `limit` that splits no character; in bytes that are no UTF-8, the limit itself."""
    if len(data) <= limit:
        return len(data)
    for cut in range(limit, limit - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return limit


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines in as few PutLogEvents requests as its limits allow."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        weight = len(line[1].encode()) + EVENT_OVERHEAD
        if batch and (len(batch) == BATCH_EVENTS or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += weight
    if batch:
        yield batch


class LogStream:
    """One stream of a log group, by default the training jobs'. Not safe to share between threads."""

    def __init__(self, logs: CloudWatchLogsClient, name: str, *, group: str = GROUP) -> None:
        self._logs, self._name, self._group, self._exists = logs, name, group, False

    def put(self, lines: Iterable[Line]) -> None:
        """Raises botocore's errors; what was put before stays."""
        for batch in batches(lines):
            if not self._exists:
                self._create()
            self._logs.put_log_events(
                logGroupName=self._group,
                logStreamName=self._name,
                logEvents=[{"timestamp": timestamp, "message": text} for timestamp, text in batch],
            )

    def _create(self) -> None:
        exists = self._logs.exceptions.ResourceAlreadyExistsException
        with suppress(exists):
            self._logs.create_log_group(logGroupName=self._group)
        with suppress(exists):
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._name)
        self._exists = True


def follow(pipe: int, stream: LogStream, path: Path, observe: Callable[[list[Line]], None]) -> None:
    """Read the pipe until all who write to it have ended; lines reach file, stream and `observe` within a fraction of a second."""
    splitter = LineSplitter()
    waiting: list[Line] = []
    timestamp, due = 0, 0.0
    with path.open("a", encoding="utf-8", newline="\n") as file, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        ended = False
        while not ended:
            if selector.select(max(0.0, due - time.monotonic()) if waiting else None):
                data = os.read(pipe, _READ_BYTES)
                ended = not data
                timestamp = max(timestamp, int(time.time() * 1000))  # the clock may be set back; CloudWatch wants order
                if not waiting:
                    due = time.monotonic() + FLUSH_SECONDS
                waiting += [(timestamp, text) for text in (splitter.end() if ended else splitter.feed(data))]
            if waiting and (ended or len(waiting) >= BATCH_EVENTS or time.monotonic() >= due):
                file.writelines(f"{at} {text}\n" for at, text in waiting)
                file.flush()
                try:
                    stream.put(waiting)
                    observe(waiting)
                except (BotoCoreError, ClientError) as error:
                    log.warning("%s: CloudWatch did not take %d lines: %s", path, len(waiting), error)
                waiting = []


def restore(logs: CloudWatchLogsClient, stream_name: str, path: Path) -> None:
    """Put a kept file's lines into the stream again. Raises botocore's errors."""
    with path.open(encoding="utf-8", newline="\n") as file:
        LogStream(logs, stream_name).put(
            (int(at), text) for at, _, text in (line.rstrip("\n").partition(" ") for line in file) if at.isdigit()
        )
