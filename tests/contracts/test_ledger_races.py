"""Thirty-two processes race for the last dollars: no budget is promised twice, no cent stays unspent, nobody waits for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from books import database_at, user
from catalogues import Place
from postgres import Postgres
from racing_reservations import APPROVED, REFUSED_TURNS, TEAMS, TWIN_TURNS, USERS, payer_of
from sqlalchemy import select

from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.tables import budget_allowances, budget_entries

PROCESSES = 32
LIMITS = {ACCOUNT: Decimal("30.00"), **{Budget("team", team): Decimal("17.50") for team in TEAMS}}
LIMITS |= {user(one): Decimal(amount) for one, amount in zip(USERS, ["6.00", "7.00", "10.50", "60.00"], strict=True)}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(None, tmp_path)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.migrated()
    yield Place(url, tmp_path)
    postgres.drop(url)


def test_processes_that_race_for_the_last_dollars_never_oversell_and_never_block(place: Place) -> None:
    with Ledger(database_at(place)) as ledger:
        for budget, amount in LIMITS.items():
            ledger.set_limit(budget, amount, set_by="a test")
    raced = subprocess.run(
        [sys.executable, "racing_reservations.py", place.url or "", str(place.state_dir), str(PROCESSES)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert raced.returncode == 0, raced.stderr
    told = [[tuple(one) for one in json.loads(line)] for line in raced.stdout.splitlines()]
    assert len(told) == PROCESSES

    with Ledger(database_at(place)) as ledger:
        standings = {standing.budget: standing for standing in ledger.standings()}
        with ledger._database.reading() as connection:
            entries = connection.execute(select(budget_entries).order_by(budget_entries.c.position)).all()
            allowances = connection.execute(select(budget_allowances)).all()
    assert standings.keys() == LIMITS.keys()

    # What the entries add up to after each of them: never more than a limit, whoever was before or after whom.
    allowed = {(one.budget, one.key, one.amount > 0): one.amount for one in allowances}
    assert len(allowed) == len(allowances)
    for budget, limit in LIMITS.items():
        committed, most = Decimal(0), limit
        for entry in entries:
            most += allowed.pop((budget.code, entry.key, entry.kind == "reserved"), 0)
            mine = {"account": True, "team": entry.team == budget.owner, "user": str(entry.user_id) == budget.owner}
            if mine[budget.scope]:
                committed += entry.reserved + entry.settled
                assert 0 <= committed <= most, (budget, entry)
        assert committed == standings[budget].committed
        assert most == standings[budget].limit
    assert not allowed
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))

    # Nobody was refused a cent that was there: when all had given up, each had a budget without one.
    for number in range(PROCESSES):
        assert any(standings[budget].left < Decimal("0.01") for budget in payer_of(number).budgets()), number

    # A job of a shared name was reserved once, and each threshold handed to one process alone.
    reserved = Counter(entry.key for entry in entries if entry.kind == "reserved")
    assert {key: count for key, count in reserved.items() if count > 1} == {}
    assert {f"twin-{turn}" for turn in range(TWIN_TURNS)} <= reserved.keys()
    assert {f"approved-{number}" for number in range(APPROVED)} <= reserved.keys()
    refused = {f"refused-{number}-{turn}" for number in range(PROCESSES) for turn in range(REFUSED_TURNS)}
    given_back = {one.key for one in allowances if one.amount < 0}
    assert refused == given_back
    for budget in LIMITS:  # of what was allowed for the refused nothing is left
        mine = [one for one in allowances if one.budget == budget.code]
        assert sum(one.amount for one in mine if one.key in refused) == 0
    handed = Counter(one for report in told for one in report)
    passed = {(standing.budget.code, percent) for standing in standings.values() for percent in standing.passed()}
    assert passed <= set(handed)  # a budget that was raised after it had passed them all stands a little below the last
    assert set(handed.values()) == {1}
