"""A deployment in a process that kills itself, as an out-of-memory killer would, at the step it is told.

A step is a call that changes AWS: it counts when it is about to be made, when it has been, or both times. Nothing in the product
knows of it: the process listens to its boto3 clients.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from desks import desk_at

from trainmaster.aws.clients import Clients
from trainmaster.budget.budgets import Payer
from trainmaster.commands.endpoints.deploying import carry_out, planned
from trainmaster.endpoints.request import EndpointRequest

READS = ("Describe", "List", "Get", "Head", "InvokeEndpoint")


class Death:
    """Comes at the step of that number, of those counted from 1."""

    def __init__(self, at: int, moments: Sequence[str]) -> None:
        self._left, self._moments = at, moments

    def step(self, model: Any, **_: Any) -> None:
        if model.name.startswith(READS):
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def over(self, client: Any) -> Any:
        for moment in self._moments:
            client.meta.events.register(moment, self.step)
        return client


@dataclass(frozen=True)
class Deployment:
    """Done to the end when it has fewer steps than `dies_at`."""

    environment: Mapping[str, str]
    folder: Path
    request: str
    dies_at: int
    moments: tuple[str, ...] = ("before-call", "after-call")


def do(work: Deployment) -> None:
    death = Death(work.dies_at, work.moments)
    with desk_at(work.folder, work.environment, poll_seconds=0.05) as desk:
        mortal = replace(desk, client=Clients(lambda service: death.over(desk.client(service))))
        request = EndpointRequest.model_validate_json(work.request)
        carry_out(mortal, planned(mortal, request), Payer())
