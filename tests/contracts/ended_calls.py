"""Runs that end at a call which changes AWS: just before it is made, or just after it was. Nothing in the product knows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from trainmaster.aws.clients import Clients
from trainmaster.training.desk import Desk

READS = ("Describe", "List", "Get", "Head")
Moment = Literal["before-call", "after-call"]
MOMENTS: tuple[Moment, ...] = ("before-call", "after-call")


class EndedError(BaseException):
    """What no code of ours catches, as nobody catches a SIGKILL."""


def ending(desk: Desk, embedded: Any, at: int, moment: Moment) -> Desk:
    """A desk that asks AWS nothing more from its `at`-th change on, counted from 1."""
    made = 0

    def step(model: Any, **_: Any) -> None:
        nonlocal made
        made += not model.name.startswith(READS)
        if made >= at:
            raise EndedError

    def mortal(service: str) -> Any:
        client = embedded.client(service)
        client.meta.events.register(moment, step)
        return client

    return replace(desk, client=Clients(mortal))
