"""A job's log lines from CloudWatch, each once, in order, from all its hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

GROUP = "/aws/sagemaker/TrainingJobs"
PAGES_PER_READ = 50
"""Bounds one read to 50 MB; what is left comes with the next one."""


@dataclass
class LogReader:
    """Reads on from where it stopped. Streams are looked up until every host has one, and again when `look_again` is called."""

    logs: CloudWatchLogsClient
    job_name: str
    hosts: int
    _complete: bool = False
    _tokens: dict[str, str | None] = field(default_factory=dict)
    _unread: list[tuple[int, str, str]] = field(default_factory=list)
    """Lines fetched by a read that then failed; the next one hands them out."""

    def look_again(self) -> None:
        """There may be more streams: a job that was interrupted writes to new ones when it goes on."""
        self._complete = False

    def new_lines(self) -> list[str]:
        """The lines written since the last call, oldest first; with several hosts each begins with its host."""
        if not self._complete:
            self._find_streams()
            self._complete = len(self._tokens) >= self.hosts
        for stream in self._tokens:
            self._read(stream)
        found, self._unread = sorted(self._unread, key=lambda one: one[0]), []
        return [f"{host}: {line}" if self.hosts > 1 else line for _, host, line in found]

    def _find_streams(self) -> None:
        prefix = f"{self.job_name}/"
        try:
            pages = self.logs.get_paginator("describe_log_streams").paginate(
                logGroupName=GROUP, logStreamNamePrefix=prefix
            )
            for page in pages:
                for stream in page["logStreams"]:
                    self._tokens.setdefault(stream["logStreamName"], None)
        except ClientError as error:
            if not is_missing(error):  # the group appears with the account's first job
                raise

    def _read(self, stream: str) -> None:
        host = stream.removeprefix(f"{self.job_name}/").rsplit("-", 1)[0]
        for _ in range(PAGES_PER_READ):
            token = self._tokens[stream]
            more = {"nextToken": token} if token else {}
            page = self.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **more)  # type: ignore[arg-type]
            self._unread += [(event["timestamp"], host, event["message"].rstrip("\n")) for event in page["events"]]
            self._tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                break
