"""What is asked for in a soak, and what is to happen to each request: drawn from a seed, so that a soak can be run again."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import Literal

USERS = [uuid.UUID(int=number) for number in range(1, 6)]
TEAMS = ["vision", "speech", ""]

Ending = Literal["completes", "fails", "is stopped by its user", "is stopped by the application"]
Fate = Literal["followed", "orphaned", "never launched"]
"""Orphaned: its only follower dies once it is launched, and nobody comes after. Never launched: it dies just before."""


@dataclass(frozen=True)
class Kill:
    """How a follower ends by SIGKILL: at its AWS call of that number, before it is sent or when it is answered; or after seconds."""

    call: int = 0
    answered: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Errand:
    """A request, what its job does, and what happens to those who follow it. Seconds are counted from when it trains."""

    number: int
    user: uuid.UUID
    team: str
    instance_type: str
    hosts: int
    spot: bool
    lines: int
    pace: float
    fails_at: int
    ending: Ending
    stopped_after: float
    interrupted_after: tuple[float, ...]
    fate: Fate
    followers: int
    """Two: the request was sent twice at once."""
    kills: tuple[tuple[Kill, ...], ...]
    """For each follower, how its lives end; the one after the last goes on to the end."""

    @staticmethod
    def named_in(job_name: str) -> str:
        """The name of the errand a job was launched for."""
        return job_name.rsplit("-", 2)[0]

    @property
    def name(self) -> str:
        """What its job is named after."""
        return f"soak-{self.number:03}"

    @property
    def config_id(self) -> uuid.UUID:
        """Of the training config it asks for."""
        return uuid.uuid5(self.user, self.name)

    def runs(self) -> list[str]:
        """Who follows it, as a flow run would be named."""
        return [f"{self.name}-{letter}" for letter in "ab"[: self.followers]]


def errands(seed: int, count: int) -> list[Errand]:
    """The same for the same seed, however many are drawn."""
    return [_errand(random.Random(f"{seed}/{number}"), number) for number in range(1, count + 1)]  # noqa: S311 - repeatable


def _errand(dice: random.Random, number: int) -> Errand:
    ending: Ending = dice.choices(
        ["completes", "fails", "is stopped by its user", "is stopped by the application"], [74, 10, 11, 5]
    )[0]
    fate: Fate = dice.choices(["followed", "orphaned", "never launched"], [90, 6, 4])[0]
    spot = dice.random() < 0.6
    interruptions = dice.choices([0, 1, 2], [60, 30, 10])[0] if spot else 0
    followers = 2 if fate == "followed" and dice.random() < 0.15 else 1
    # Long enough that what is to happen to it finds it running, also where two cores are busy with six jobs.
    long = interruptions or ending.startswith("is stopped")
    lines = dice.randint(60, 90) if long else dice.randint(5, 40)
    if fate == "orphaned" and ending.startswith("is stopped"):
        lines *= 3  # seen and stopped by nobody but reconcile
    return Errand(
        number=number,
        user=dice.choice(USERS),
        team=dice.choice(TEAMS),
        instance_type=dice.choice(["ml.m5.large", "ml.c5.xlarge", "ml.g5.xlarge"]),
        hosts=2 if dice.random() < 0.06 else 1,
        spot=spot,
        lines=lines,
        pace=0.1 if long else dice.choice([0.02, 0.05, 0.1]),
        fails_at=dice.randint(1, lines) if ending == "fails" else 0,
        ending=ending,
        stopped_after=dice.uniform(0.0, 2.0),
        interrupted_after=tuple(sorted(dice.uniform(0.0, 2.0) for _ in range(interruptions))),
        fate=fate,
        followers=followers,
        kills=tuple(_kills(dice) if fate == "followed" else () for _ in range(followers)),
    )


def _kills(dice: random.Random) -> tuple[Kill, ...]:
    count = dice.choices([0, 1, 2, 3], [45, 35, 15, 5])[0]
    return tuple(_kill(dice) for _ in range(count))


def _kill(dice: random.Random) -> Kill:
    if dice.random() < 0.5:
        return Kill(call=dice.randint(1, 45), answered=dice.random() < 0.5)
    return Kill(seconds=dice.uniform(0.2, 6.0))
