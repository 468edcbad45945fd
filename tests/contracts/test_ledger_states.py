"""Whatever is reserved, settled, released, cut off and tried again, in whatever order: the books add up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from books import Clock, charge, database_at
from catalogues import Place
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from postgres import Postgres
from sqlalchemy import Connection, delete

from trainmaster.budget.budgets import Budget, Payer, month_of
from trainmaster.budget.charge import Allowance
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import metadata
from trainmaster.errors import NameConflictError, OverBudgetError, UnknownChoiceError

KEYS = st.sampled_from([f"job-{number}" for number in range(5)])
AMOUNTS = st.decimals(min_value=0, max_value=30, places=8)
PAYERS = st.builds(Payer, st.sampled_from([None, uuid.UUID(int=1), uuid.UUID(int=2)]), st.sampled_from(["", "vision"]))
BUDGETS = st.sampled_from(
    [Budget("account"), Budget("team", "vision"), *(Budget("user", str(uuid.UUID(int=number))) for number in (1, 2))]
)
CENT, MICRO = Decimal("0.01"), Decimal("0.000001")


class CrashedError(Exception):
    """The process died before its transaction was committed."""


class Crashing:
    """A database whose every writing transaction dies at its very end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def writing_in_turn(self, name: str) -> Iterator[Connection]:
        with self._database.writing_in_turn(name) as connection:
            yield connection
            raise CrashedError


@dataclass
class Known:
    """What the books should say of a key."""

    payer: Payer
    month: str
    reserved: Decimal
    state: str = "open"
    bill: Decimal = Decimal(0)

    @property
    def committed(self) -> Decimal:
        return {"open": self.reserved, "settled": self.bill, "released": Decimal(0)}[self.state]


class Books(RuleBasedStateMachine):
    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledger = Ledger(self.database, self.clock)
        self.known: dict[str, Known] = {}
        self.past: list[Known] = []
        self.limits: dict[tuple[Budget, str], Decimal | None] = {}
        self.allowed: dict[tuple[Budget, str], dict[str, Decimal]] = {}
        """Beyond the limit that holds, by the key it was allowed for."""

    @initialize(cents=st.integers(0, 6000))
    def begin(self, cents: int) -> None:
        # Tables that only grow are emptied by making them anew.
        with self.database.writing() as connection:
            for name in ("budget_entries", "budget_limits", "budget_crossings", "budget_allowances"):
                if self.database.kind == "postgresql":
                    connection.exec_driver_sql(f"truncate {name}")
                else:
                    connection.exec_driver_sql(f"drop trigger if exists {name}_no_delete")
                    connection.execute(delete(metadata.tables[name]))
        self.set_limit(Budget("account"), Decimal(cents) / 100)

    def _limit(self, budget: Budget, month: str) -> Decimal | None:
        months = sorted(one for of, one in self.limits if of == budget and one <= month)
        limit = self.limits[budget, months[-1]] if months else None
        return None if limit is None else limit + self._allowed(budget, month)

    def _allowed(self, budget: Budget, month: str) -> Decimal:
        return sum(self.allowed.get((budget, month), {}).values(), Decimal(0))

    def _committed(self, budget: Budget, month: str) -> Decimal:
        mine = [
            one for one in [*self.known.values(), *self.past] if one.month == month and budget in one.payer.budgets()
        ]
        return sum((one.committed for one in mine), Decimal(0))

    def _perhaps_crashing(self, crash: bool, call: Callable[[Ledger], Any]) -> Any:
        """What the call gives; when it is to crash first, once in vain and then again in a new process."""
        if crash:
            with pytest.raises((CrashedError, OverBudgetError, NameConflictError, UnknownChoiceError)):
                call(Ledger(Crashing(self.database), self.clock))  # type: ignore[arg-type]
            self.ledger = Ledger(self.database, self.clock)
        return call(self.ledger)

    @rule(budget=BUDGETS, amount=st.none() | st.integers(0, 4000).map(lambda cents: Decimal(cents) / 100))
    def set_limit(self, budget: Budget, amount: Decimal | None) -> None:
        self.ledger.set_limit(budget, amount, set_by="a test")
        month = month_of(self.clock.moment)
        self.limits[budget, month] = amount
        allowed = self.allowed.pop((budget, month), {})
        self.allowed[budget, month] = {
            key: more for key, more in allowed.items() if key in self.known and self.known[key].state == "open"
        }

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.clock.moment += timedelta(days=days)

    @rule(key=KEYS, amount=AMOUNTS, payer=PAYERS, crash=st.booleans())
    def reserve(self, key: str, amount: Decimal, payer: Payer, crash: bool) -> None:
        wanted, month, known = amount.quantize(MICRO, ROUND_UP), month_of(self.clock.moment), self.known.get(key)
        limits = {budget: self._limit(budget, month) for budget in payer.budgets()}
        fits = all(limit is None or self._committed(one, month) + wanted <= limit for one, limit in limits.items())
        stands = known is not None and known.state != "released"
        try:
            self._perhaps_crashing(crash, lambda ledger: ledger.reserve(charge(key, amount, payer)))
        except NameConflictError:
            assert stands
            assert known
            assert known.reserved != wanted
        except OverBudgetError:
            assert not stands
            assert not fits
        else:
            assert fits or stands
            if not stands:
                self._book(key, Known(payer, month, wanted))

    @rule(key=KEYS, amount=AMOUNTS, payer=PAYERS, up_to=AMOUNTS, crash=st.booleans())
    def reserve_with_an_allowance(self, key: str, amount: Decimal, payer: Payer, up_to: Decimal, crash: bool) -> None:
        wanted, month, known = amount.quantize(MICRO, ROUND_UP), month_of(self.clock.moment), self.known.get(key)
        stands = known is not None and known.state != "released"
        missing = {}
        for budget in payer.budgets():
            limit = self._limit(budget, month)
            if limit is not None and wanted > max(limit - self._committed(budget, month), 0):
                missing[budget] = wanted - (limit - self._committed(budget, month))
        allowance = Allowance(up_to, "Olga")
        try:
            self._perhaps_crashing(
                crash, lambda ledger: ledger.reserve(charge(key, amount, payer), allowance=allowance)
            )
        except NameConflictError:
            assert stands
        except OverBudgetError:
            assert not stands
            assert missing
            assert max(wanted, *missing.values()) > up_to
        else:
            assert stands or not missing or max(wanted, *missing.values()) <= up_to
            if not stands:
                for budget, dollars in missing.items():
                    more = min(dollars.quantize(CENT, ROUND_CEILING), up_to.quantize(MICRO, ROUND_DOWN))
                    self.allowed.setdefault((budget, month), {})[key] = more
                self._book(key, Known(payer, month, wanted))
                for budget in missing:
                    left = self.ledger.standing(budget).balance
                    assert left is not None
                    assert 0 <= left < CENT

    @rule(key=KEYS, amount=AMOUNTS, payer=PAYERS, crash=st.booleans())
    def adopt(self, key: str, amount: Decimal, payer: Payer, crash: bool) -> None:
        self._perhaps_crashing(crash, lambda ledger: ledger.adopt(charge(key, amount, payer)))
        if key not in self.known or self.known[key].state == "released":
            self._book(key, Known(payer, month_of(self.clock.moment), amount.quantize(MICRO, ROUND_UP)))

    def _book(self, key: str, new: Known) -> None:
        if key in self.known:
            self.past.append(self.known[key])
        self.known[key] = new

    @rule(key=KEYS, bill=AMOUNTS, crash=st.booleans())
    def settle(self, key: str, bill: Decimal, crash: bool) -> None:
        exact, known = bill.quantize(MICRO, ROUND_HALF_UP), self.known.get(key)
        try:
            settled = self._perhaps_crashing(crash, lambda ledger: ledger.settle(key, bill))
        except UnknownChoiceError:
            assert known is None
        except NameConflictError:
            assert known
            assert known.state == "settled"
            assert known.bill != exact
        else:
            assert known
            assert settled.excess == max(exact - known.reserved, 0)
            if known.state == "open":
                self._take_back(key, known, max(known.reserved - exact, Decimal(0)).quantize(CENT, ROUND_DOWN))
            known.state, known.bill = "settled", exact

    def _take_back(self, key: str, known: Known, unused: Decimal | None) -> None:
        for budget in known.payer.budgets():
            allowed = self.allowed.get((budget, known.month), {})
            if key in allowed:
                allowed[key] -= allowed[key] if unused is None else min(allowed[key], unused)

    @rule(key=KEYS, crash=st.booleans())
    def release(self, key: str, crash: bool) -> None:
        known = self.known.get(key)
        was_open = known is not None and known.state == "open"
        try:
            released = self.ledger.release(key) if not crash else None
            if crash:
                with pytest.raises(CrashedError):
                    Ledger(Crashing(self.database), self.clock).release(key)  # type: ignore[arg-type]
                released = self.ledger.release(key)
        finally:
            if known and was_open:
                known.state = "released"
                self._take_back(key, known, None)
        assert released is was_open

    @invariant()
    def the_balance_is_the_limit_less_what_is_settled_and_reserved(self) -> None:
        month = month_of(self.clock.moment)
        for standing in self.ledger.standings(month):
            assert standing.settled >= 0
            assert standing.reserved >= 0
            assert standing.committed == self._committed(standing.budget, month)
            assert standing.limit == self._limit(standing.budget, month)
            if standing.limit is not None:
                assert standing.allowed >= 0
                assert standing.allowed == self._allowed(standing.budget, month)
            if standing.limit is not None:
                assert standing.balance == standing.limit - (standing.settled + standing.reserved)
                assert standing.left == max(standing.balance, 0)

    @invariant()
    def what_is_open_is_what_nobody_settled_or_released(self) -> None:
        open_ = {one.key: one.charge.amount for one in self.ledger.open_reservations()}
        assert open_ == {key: one.reserved for key, one in self.known.items() if one.state == "open"}


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 20), ("postgresql", 6)])
def test_any_interleaving_leaves_books_that_add_up(
    kind: str, examples: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    postgres: Postgres | None = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = postgres.migrated() if postgres else None
    Books.database = database_at(Place(url, tmp_path))
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    Books.database.close()
    if postgres and url:
        postgres.drop(url)
