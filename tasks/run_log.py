"""A job's log lines in the log of the flow run that follows it, each once, however often the run is tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterTimestamp
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import PrefectException

from trainmaster.errors import StorageUnavailableError
from trainmaster.training.log_sinks import SURE_CHARACTERS, Line

MARK = "| "
"""Before what the job said, beside what the run says."""
LONGEST_LINE = 10 * SURE_CHARACTERS
_NAME = "sagemaker."
_AT_ONCE, _BYTES_AT_ONCE = 1000, 1 << 20
_PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RunLog:
    """A LogSink. Lines are sent to Prefect's API by itself, for its own handler loses what it could not send; `logger` shows them
    in the terminal.

    A line is known again by its logger's name, which is its stream, its time, which is CloudWatch's, and its text.
    """

    def __init__(
        self,
        flow_run_id: UUID,
        task_run_id: UUID | None,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._flow_run_id, self._task_run_id, self._logger = flow_run_id, task_run_id, logger

    def tell(self, lines: Sequence[Line]) -> None:
        """Raises StorageUnavailableError when Prefect does not take them."""
        with _prefect() as client:
            for some in _batches([self._record(line) for line in lines]):
                client.create_logs(some)
        for line in lines:
            self._logger.info("%s%s", MARK, line, extra={"send_to_api": False})

    def told_since(self, since: Mapping[str, int]) -> Iterator[Line]:
        """A page of them in memory at a time."""
        if not since:
            return
        after = _EPOCH + timedelta(milliseconds=min(since.values()))
        of_run = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[self._flow_run_id]),
            timestamp=LogFilterTimestamp.model_validate({"after_": after}),
        )
        with _prefect() as client:
            offset = 0
            while True:
                page = client.read_logs(log_filter=of_run, limit=_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
                for log in page:
                    line = _line(log.name, log.timestamp, log.message)
                    if line and line.at >= since.get(line.stream, line.at + 1):
                        yield line
                offset += len(page)
                if len(page) < _PAGE:
                    return

    def _record(self, line: Line) -> LogCreate:
        return LogCreate.model_validate(
            {
                "name": f"{_NAME}{line.stream}{'@' + line.host if line.host else ''}",
                "level": logging.INFO,
                "message": f"{MARK}{line}"[:LONGEST_LINE],
                "timestamp": line.moment,
                "flow_run_id": self._flow_run_id,
                "task_run_id": self._task_run_id,
            }
        )


@contextmanager
def _prefect() -> Iterator[SyncPrefectClient]:
    """Prefect's client, whose every failure is one of ours."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectException) as error:
        raise StorageUnavailableError(f"Prefect does not keep the job's log now: {error}") from error


def _line(name: str, timestamp: datetime, message: str) -> Line | None:
    """None for what the run itself said."""
    if not name.startswith(_NAME):
        return None
    stream, _, host = name.removeprefix(_NAME).partition("@")
    text = message.removeprefix(MARK).removeprefix(f"{host}: " if host else "")
    return Line(stream, round(timestamp.timestamp() * 1000), text, host)


def _batches(records: Sequence[LogCreate]) -> Iterator[list[LogCreate]]:
    some: list[LogCreate] = []
    size = 0
    for record in records:
        length = len(record.message.encode())
        if some and (len(some) == _AT_ONCE or size + length > _BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(record)
        size += length
    if some:
        yield some
