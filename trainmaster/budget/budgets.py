"""Whose money it is: the account's, a team's, a user's; what a month of it allows, and what is left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, Self
from uuid import UUID, uuid5

from trainmaster.budget.money import micro_up, rounded_up, shown, shown_left
from trainmaster.errors import UnknownChoiceError

Scope = Literal["account", "team", "user"]
THRESHOLDS = (50, 80, 90, 100)
"""Percent of a month's limit that people are told of when it is committed."""
TEAM_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
TEAM_NAME = re.compile(TEAM_PATTERN)
_CROSSINGS = UUID("5d0a6a0e-6f0e-4c37-9a3b-0f6f8a1c6b52")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def month_of(moment: datetime) -> str:
    """The calendar month in UTC that a point in time lies in: `2026-11`."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def read_month(text: str) -> str:
    """A month as people write it. Raises UnknownChoiceError."""
    if not _MONTH.fullmatch(text):
        raise UnknownChoiceError(f"{text!r} is no month; write 2026-11.")
    return text


def month_name(month: str) -> str:
    """For people: `November 2026`."""
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%B %Y}"


@dataclass(frozen=True, order=True)
class Budget:
    """Of whom a budget is. `owner` is a user's UUID or a team's name, "" for the account's."""

    scope: Scope
    owner: str = ""

    @classmethod
    def read(cls, code: str) -> Self:
        """From `code`."""
        scope, _, owner = code.partition(":")
        return cls(scope, owner)  # type: ignore[arg-type]

    @property
    def code(self) -> str:
        """As it is kept: `account`, `team:vision`, `user:1b3c…`."""
        return f"{self.scope}:{self.owner}" if self.owner else self.scope

    def __str__(self) -> str:
        return f"{self.scope} {self.owner}" if self.owner else "the account"


ACCOUNT = Budget("account")


@dataclass(frozen=True)
class Payer:
    """Who a charge is counted against, besides the account: a user, a team, both, or nobody in particular."""

    user_id: UUID | None = None
    team: str = ""

    def budgets(self) -> list[Budget]:
        """Every budget that a charge has to fit in."""
        team = [Budget("team", self.team)] if self.team else []
        user = [Budget("user", str(self.user_id))] if self.user_id else []
        return [ACCOUNT, *team, *user]


@dataclass(frozen=True)
class Standing:
    """A budget in one month: US dollars it allows (None: no limit was set), billed, and reserved for what is not billed yet.

    `allowed` is the part of the limit that approvers added for single charges, in this month alone.
    """

    budget: Budget
    month: str
    limit: Decimal | None
    settled: Decimal
    reserved: Decimal
    allowed: Decimal = Decimal(0)

    @property
    def committed(self) -> Decimal:
        """What is spent or promised."""
        return self.settled + self.reserved

    @property
    def balance(self) -> Decimal | None:
        """limit − (settled + reserved); below zero when bills came out higher than what was reserved, or the limit was lowered."""
        return None if self.limit is None else self.limit - self.committed

    @property
    def left(self) -> Decimal | None:
        """What can still be reserved, never below zero; None for as much as you like."""
        return None if self.balance is None else max(self.balance, Decimal(0))

    @property
    def percent(self) -> int | None:
        """How much of the limit is committed, rounded down; None where there is nothing to be a part of."""
        return int(self.committed * 100 / self.limit) if self.limit else None

    def passed(self) -> list[int]:
        """The thresholds that are reached."""
        if self.limit is None or not self.committed:
            return []
        return [percent for percent in THRESHOLDS if self.committed * 100 >= self.limit * percent]

    def sentence(self) -> str:
        """For people: *$11.10 of November 2026's $50.00 of team vision is left*."""
        if self.limit is None or self.balance is None:
            return f"{self.budget} has no limit for {month_name(self.month)}"
        of_it = f"{month_name(self.month)}'s {shown(self.limit)} of {self.budget}"
        if self.balance < 0:
            return f"{of_it} is overdrawn: {shown(self.committed)} is billed or promised, {shown_left(self.balance).removeprefix('-')} too much"
        return f"{shown_left(self.balance)} of {of_it} is left"

    def raised_for(self, dollars: Decimal) -> str:
        """The command that gives it a limit such a charge fits in."""
        limit = rounded_up(self.committed + micro_up(dollars))
        whose = f"--{self.budget.scope} {self.budget.owner}".strip()
        return f"trainmaster budget set {limit} {whose}"


@dataclass(frozen=True)
class Crossing:
    """A threshold that a budget has just reached, for the first time in its month."""

    standing: Standing
    percent: int

    @property
    def id(self) -> UUID:
        """The same for the same threshold of the same budget and month, whoever tells of it and how often."""
        return uuid5(_CROSSINGS, f"{self.standing.budget.code} {self.standing.month} {self.percent}")

    def sentence(self) -> str:
        """For people: how much of what is spent and promised."""
        now = self.standing
        return (
            f"{self.percent} % of {month_name(now.month)}'s {shown(now.limit or Decimal(0))} of {now.budget} is committed:"
            f" {shown(now.settled)} billed, {shown(now.reserved)} reserved."
        )
