"""CloudWatch log streams fed line by line: what a job's or an endpoint's container prints arrives in order and soon."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import IO, TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
EVENT_OVERHEAD = 26
BATCH_BYTES, BATCH_EVENTS, EVENT_BYTES = 1_048_576, 10_000, 262_144 - EVENT_OVERHEAD


class LogStream:
    """One stream; the group and the stream are created if they are not there. Lines wait at most `interval` seconds to be sent together."""

    def __init__(self, logs: CloudWatchLogsClient, group: str, stream: str, *, interval: float = 0.3) -> None:
        self._logs, self._group, self._stream, self._interval = logs, group, stream, interval
        self._lines: queue.Queue[InputLogEventTypeDef | None] = queue.Queue(maxsize=50_000)
        self._newest = 0
        self._closed = threading.Event()
        self._sender = threading.Thread(target=self._send_all, name=f"logs {stream}", daemon=True)
        self._sender.start()

    def write(self, line: str) -> None:
        """Send a line, with the time it is now. Blocks while 50,000 others wait: a printing process then waits at its pipe."""
        self._newest = max(
            self._newest, time.time_ns() // 1_000_000
        )  # CloudWatch wants them in order; clocks are set back
        if message := line.rstrip():
            for start in range(0, len(message), EVENT_BYTES // 4):  # a character takes four bytes at most
                piece = message[start : start + EVENT_BYTES // 4]
                self._lines.put({"timestamp": self._newest, "message": piece})

    def copy(self, output: IO[bytes]) -> None:
        """Write all a process prints, until it closes its output."""
        while line := output.readline(EVENT_BYTES):
            self.write(line.decode(errors="replace"))

    def close(self, timeout: float = 10.0) -> None:
        """Send what is left; gives up after `timeout` seconds."""
        if not self._closed.is_set():
            self._closed.set()
            with contextlib.suppress(queue.Full):
                self._lines.put(None, timeout=timeout)
        self._sender.join(timeout)

    def _send_all(self) -> None:
        created = False
        while (first := self._lines.get()) is not None:
            self._closed.wait(self._interval)
            batch, ended = self._batch(first)
            try:
                if not created:
                    self._create()
                    created = True
                self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=batch)
            except (BotoCoreError, ClientError) as error:
                lost = len(batch)
                logging.getLogger(__name__).warning("%d lines for %s are lost: %s", lost, self._stream, error)
            if ended:
                return

    def _batch(self, first: InputLogEventTypeDef) -> tuple[list[InputLogEventTypeDef], bool]:
        """As many waiting lines as one request may carry; True when the stream was closed after them."""
        batch, size = [first], _size(first)
        while len(batch) < BATCH_EVENTS and size < BATCH_BYTES - EVENT_BYTES - EVENT_OVERHEAD:
            try:
                event = self._lines.get_nowait()
            except queue.Empty:
                break
            if event is None:
                return batch, True
            batch.append(event)
            size += _size(event)
        return batch, False

    def _create(self) -> None:
        exists = self._logs.exceptions.ResourceAlreadyExistsException
        with contextlib.suppress(exists):
            self._logs.create_log_group(logGroupName=self._group)
        with contextlib.suppress(exists):
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)


def _size(event: InputLogEventTypeDef) -> int:
    return len(event["message"].encode()) + EVENT_OVERHEAD
