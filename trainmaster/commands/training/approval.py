"""Asking in the terminal whether a job may exceed the monthly budgets: up to how much, and on whose word."""

from __future__ import annotations

import getpass
import sys
from decimal import Decimal, InvalidOperation

from trainmaster.budget.charge import Allowance
from trainmaster.budget.money import CENT, rounded_up
from trainmaster.commands.terminal.reporting import note
from trainmaster.errors import OverBudgetError
from trainmaster.training.plan import TrainingPlan


def ask_approval(error: OverBudgetError, plan: TrainingPlan) -> Allowance | None:
    """Somebody's word; None when it is refused, or when nobody is asked: the request says not to, or there is no terminal."""
    if plan.request.on_over_budget != "ask":
        return None
    if not sys.stdin.isatty():
        note(
            "Nobody can be asked: --on-over-budget ask asks in the terminal, and standard input is none. So it is refused."
        )
        return None
    note(str(error))
    if _asked("Launch it all the same? [y/N] ").lower() not in {"y", "yes"}:
        return None
    whole = rounded_up(plan.charge.amount)
    while True:
        dollars = _dollars(_asked(f"Up to how many dollars? It is stopped earlier for less. [{whole}] ") or str(whole))
        if dollars is not None:
            break
        note("Write an amount of US dollars in whole cents, above 0, such as 12.50.")
    by = _asked(f"Who approves it? Kept in the books. [{getpass.getuser()}] ") or getpass.getuser()
    return Allowance(dollars, by)


def _asked(question: str) -> str:
    """The answer, without spaces around it; none when the terminal is closed. Stdout is for what the command prints."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _dollars(text: str) -> Decimal | None:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 and amount == amount.quantize(CENT) else None
