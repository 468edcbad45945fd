"""What every request over HTTP is answered with: opened once when the server starts, shared by its threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from fastapi import Depends, Request

from trainmaster.settings import Settings
from trainmaster.storage.library import Library
from trainmaster.storage.stores import Stores
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class StartedRun:
    """A flow run of a deployment: `id` is Prefect's, `url` its page in the UI, `once` what it was started with, "" by others.

    `state` is as people read it, `message` why it is in it, and `ended` whether it stays so.
    """

    id: str
    name: str
    state: str
    url: str
    once: str = ""
    message: str = ""
    ended: bool = False


class FlowRuns(Protocol):
    """Where runs of deployments are started and looked up; Prefect's server, behind the door."""

    def start(self, deployment: str, request: Mapping[str, Any], *, once: str, about: str = "") -> StartedRun:
        """Start a run of `train-model` and the like, which takes `request`; the same `once` again finds the same run.

        `about` is what `latest` finds it by, as do those who look in the UI. Raises FlowRunsUnavailableError, and
        FlowRunRefusedError of what the deployment's form does not take.
        """

    def latest(self, about: str) -> StartedRun | None:
        """The run that was started last about it, as it stands now; None where there is none. Raises FlowRunsUnavailableError."""

    def find(self, run_id: str) -> StartedRun | None:
        """The run as it stands now; None where there is none. Raises FlowRunsUnavailableError."""

    def is_reachable(self) -> bool:
        """Whether the server answers, within a few seconds."""


@dataclass(frozen=True)
class Office:
    settings: Settings
    desk: Desk
    runs: FlowRuns

    @cached_property
    def library(self) -> Library:
        """The datasets, over the desk's own catalogue and AWS."""
        return Library(self.desk.catalogue, Stores(self.settings, lambda: cast("S3Client", self.desk.client("s3"))))


def office_of(request: Request) -> Office:
    """The office of the application that was asked."""
    return cast("Office", request.app.state.office)


AtOffice = Annotated[Office, Depends(office_of)]
