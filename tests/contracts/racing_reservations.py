"""`python racing_reservations.py URL FOLDER PROCESSES`: many processes spend the same budgets at once, each until nothing fits.

Each prints one JSON line: which thresholds it was handed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from books import charge, database_at
from catalogues import Place

from trainmaster.budget.budgets import Crossing, Payer
from trainmaster.budget.charge import Allowance
from trainmaster.budget.ledger import Ledger
from trainmaster.errors import OverBudgetError

TEAMS = ["vision", "speech"]
USERS = [UUID(int=number) for number in range(1, 5)]
TURNS = 6
"""In so many turns each process reserves, settles and releases; the first ones are of jobs that its twins want as well."""
TWIN_TURNS = 2
APPROVED, APPROVED_AMOUNT = 8, Decimal("3.333333")
"""So many jobs somebody allowed to exceed the budgets, each wanted by several processes."""
REFUSED_TURNS = 1
"""So many jobs of each process were allowed as well, and released: AWS refused them."""


def payer_of(number: int) -> Payer:
    return Payer(USERS[number % len(USERS)], TEAMS[number % len(TEAMS)])


def mix(ledger: Ledger, number: int) -> None:
    """Reserve what fits; let some of it go again, and have some of it billed."""
    dice = random.Random(number)  # noqa: S311 - repeatable, not secret
    for turn in range(TURNS):
        shared = turn < TWIN_TURNS
        key = f"twin-{turn}" if shared else f"job-{number}-{turn}"
        amount = Decimal("0.37") if shared else Decimal(dice.randint(1, 120)) / 100
        try:
            ledger.reserve(charge(key, amount, payer_of(number)))
        except OverBudgetError:
            continue
        fate = "kept" if shared else dice.choice(["kept", "kept", "settled", "released"])
        if fate == "settled":
            ledger.settle(key, amount / 4)
        elif fate == "released":
            ledger.release(key)


def spend_the_rest(ledger: Ledger, number: int) -> list[tuple[str, int]]:
    """Reserve less and less until not even a cent fits; the thresholds that were handed out to us."""
    payer, told, amount, turn = payer_of(number), list[Crossing](), Decimal("0.64"), 0
    month = f"{ledger.now():%Y-%m}"
    while amount >= Decimal("0.01"):
        turn += 1
        try:
            ledger.reserve(charge(f"rest-{number}-{turn}", amount, payer))
        except OverBudgetError:
            amount /= 4
        else:
            told += ledger.crossed(payer.budgets(), month)
    # Approved, together with the other processes of the same payer: reserved once, and the budgets raised for it once.
    approved = charge(f"approved-{number % APPROVED}", APPROVED_AMOUNT, payer_of(number % APPROVED))
    allowance = Allowance(APPROVED_AMOUNT, "Olga")
    ledger.reserve(approved, allowance=allowance)
    for turn in range(REFUSED_TURNS):
        refused = charge(f"refused-{number}-{turn}", APPROVED_AMOUNT, payer)
        ledger.reserve(refused, allowance=allowance)
        told += ledger.crossed(payer.budgets(), month)
        ledger.release(refused.key)
    told += ledger.crossed(payer.budgets(), month)
    return [(crossing.standing.budget.code, crossing.percent) for crossing in told]


class Gate:
    """Opens for all forked children at once when `count` of them wait."""

    def __init__(self) -> None:
        self._here, self._arrive = os.pipe()
        self._closed, self._open = os.pipe()

    def wait(self) -> None:
        os.close(self._open)
        os.write(self._arrive, b".")
        os.read(self._closed, 1)  # ends when the parent closes its end

    def open_when_there(self, count: int) -> None:
        while count:
            count -= len(os.read(self._here, count))
        os.close(self._open)


def race(place: Place, number: int, begin: Gate, mixed: Gate) -> None:
    begin.wait()
    with Ledger(database_at(place)) as ledger:
        mix(ledger, number)
        mixed.wait()
        os.write(1, f"{json.dumps(spend_the_rest(ledger, number))}\n".encode())  # one write, so no two lines mix


def main() -> None:
    place, processes = Place(sys.argv[1] or None, Path(sys.argv[2])), int(sys.argv[3])
    begin, mixed = Gate(), Gate()
    children = []
    for number in range(processes):
        if child := os.fork():
            children.append(child)
            continue
        code = 1
        try:
            race(place, number, begin, mixed)
            code = 0
        finally:
            if code:
                traceback.print_exc()
                os.write(mixed._arrive, b".")  # the others go on without us
            os._exit(code)
    begin.open_when_there(processes)
    mixed.open_when_there(processes)
    ended = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(ended))


if __name__ == "__main__":
    main()
