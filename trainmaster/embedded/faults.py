"""Faults on command: throttling, refusals, slowness and cut connections, on any operation, for tests and rehearsals."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

STEPS = frozenset({"LaunchingMLInstances", "RollingBack", "SystemUpdating", "OutOfService"})
"""What can fail inside a job or endpoint rather than in a call; a rule must name these, a pattern does not reach them.

`RollingBack` is the way back of an update that failed: an error there leaves UpdateRollbackFailed. `SystemUpdating` and
`OutOfService` befall an endpoint in service when it is described next, the first for `latency` seconds. Of endpoints a rule
may name one: `OutOfService:house-prices`.
"""

_STATUSES = {
    "InternalFailure": 500,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    # Supabase's, under pressure
    "SlowDown": 429,
    "GatewayTimeout": 504,
    "DatabaseTimeout": 544,
}

_MESSAGES = {
    "CapacityError": "Unable to provision requested ML compute capacity. Please retry using a different ML instance type"
    " or after some time.",
}
"""AWS's own words, where people know an error by them."""


@dataclass(frozen=True)
class Fault:
    """What is to go wrong with one call: after `latency` seconds cut the connection, or answer `error`, or go on.

    `after_bytes`, where it is given, is how much of the body the cut lets through first. `lost` cuts it when the call is done.
    """

    error: str | None
    message: str
    status: int
    latency: float
    reset: bool
    after_bytes: int | None = None
    lost: bool = False

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return self.error or ("reset" if self.reset else "lost" if self.lost else "latency")


class Rule(BaseModel):
    """Which calls a fault befalls. Without `count` it holds until it is deleted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    operation: Annotated[str, Field(min_length=1, description="An operation, or a pattern such as Create* or *.")]
    error: Annotated[str | None, Field(description="AWS's error code, e.g. ThrottlingException.")] = None
    message: str | None = None
    status: Annotated[int | None, Field(ge=400, le=599, description="400 unless the code is a server's.")] = None
    rate: Annotated[float, Field(gt=0, le=1, description="The share of matching calls, by a seeded generator.")] = 1.0
    count: Annotated[int | None, Field(ge=1, description="How many times.")] = None
    latency: Annotated[float, Field(ge=0, le=300, description="Seconds.")] = 0.0
    reset: Annotated[bool, Field(description="Cut the connection instead of answering.")] = False
    lost: Annotated[bool, Field(description="Carry the call out, then cut the connection instead of answering.")] = (
        False
    )
    after_bytes: Annotated[
        int | None, Field(ge=0, description="Cut it after so much of the body: Supabase's only.")
    ] = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.error or self.latency or self.reset or self.lost):
            raise ValueError("nothing would go wrong: give error, latency, reset or lost")
        if self.lost and (self.error or self.reset or self.operation.startswith("supabase:")):
            raise ValueError("lost goes without error and reset, and not with Supabase's operations")
        if self.after_bytes is not None and not (self.reset and self.operation.startswith("supabase:")):
            raise ValueError("after_bytes goes with reset, on Supabase's operations")
        return self

    def concerns(self, operation: str, of: str = "") -> bool:
        if operation in STEPS:
            return self.operation in (operation, f"{operation}:{of}")
        return fnmatchcase(operation, self.operation)

    def fault(self, operation: str) -> Fault:
        return Fault(
            error=self.error,
            message=self.message or _MESSAGES.get(self.error or "", f"{self.error} was commanded for {operation}."),
            status=self.status or _STATUSES.get(self.error or "", 400),
            latency=self.latency,
            reset=self.reset,
            after_bytes=self.after_bytes,
            lost=self.lost,
        )


class Faults:
    """The rules in force, first come first served. Safe to share between threads; equal seeds give equal faults."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget every rule, and begin the seeded chances anew."""
        with self._lock:
            self._rules: list[Rule] = []
            self._chance = random.Random(self._seed)  # noqa: S311 — to be repeatable, not secret

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def rules(self) -> list[Rule]:
        """Those still in force, with what is left of their counts."""
        with self._lock:
            return list(self._rules)

    def take(self, operation: str, of: str = "") -> Fault | None:
        """The fault that befalls this call, or this step of an endpoint, counted off its rule; None when all is well."""
        with self._lock:
            for place, rule in enumerate(self._rules):
                if not rule.concerns(operation, of) or self._chance.random() >= rule.rate:
                    continue
                if rule.count == 1:
                    del self._rules[place]
                elif rule.count is not None:
                    self._rules[place] = rule.model_copy(update={"count": rule.count - 1})
                return rule.fault(operation)
        return None
