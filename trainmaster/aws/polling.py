"""Asking AWS again and again, through throttling, expired tokens and network cuts, never for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.failures import is_expired, is_passing

LONGEST_DELAY = 300.0
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Seconds between two questions, how long AWS may be out of reach at a stretch, and how long to ask at all."""

    poll_seconds: float
    outage_seconds: float
    longest_seconds: float


def answers(
    ask: Callable[[], T],
    patience: Patience,
    *,
    delay_after: Callable[[T], float] | None = None,
    renew: Callable[[], object] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[T]:
    """The answers of `ask`, one a poll, until the longest wait has passed; then it ends.

    `delay_after` an answer is its own, else `poll_seconds`. `renew` is called after a token has expired. Faults that pass are
    waited out, ever longer, with jitter; one that lasts longer than `outage_seconds` is raised, and so is at once an error that
    is none of those.
    """
    began = time.monotonic()
    unheard_since: float | None = None  # and not the last answer: who was given it may have taken an hour over it
    delay = patience.poll_seconds
    while time.monotonic() - began <= patience.longest_seconds:
        asked = time.monotonic()
        try:
            answer = ask()
        except (ClientError, BotoCoreError) as error:
            unheard_since = asked if unheard_since is None else unheard_since
            if not is_passing(error) or time.monotonic() - unheard_since > patience.outage_seconds:
                raise
            if renew and is_expired(error):
                renew()
            delay = min(delay * 2, LONGEST_DELAY)
        else:
            unheard_since, delay = None, delay_after(answer) if delay_after else patience.poll_seconds
            yield answer
        sleep(delay * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
