"""What a caller may still spend this month, and what became of it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer, Standing
from trainmaster.http_api.callers import Asking
from trainmaster.http_api.office import AtOffice
from trainmaster.training.desk import Desk

router = APIRouter(prefix="/api/budget", tags=["budget"])
_MONTH = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="In UTC; this one without it.", examples=["2026-11"]),
]
_Dollars = Annotated[str | None, Field(description="US dollars, as text so that no digit is lost.", examples=["38.9"])]


class BudgetLeft(BaseModel):
    """A budget that a charge of the caller's has to fit in. Of the account's only limit and what is left: others spend of it too."""

    budget: Annotated[str, Field(examples=["user:6f1d2a0e-0c7c-4f8e-9d55-0b9b6a3c1e11", "team:vision", "account"])]
    scope: Literal["user", "team", "account"]
    month: Annotated[str, Field(examples=["2026-11"])]
    limit: Annotated[_Dollars, Field(description="Null where none was set.")]
    left: Annotated[_Dollars, Field(description="What can still be reserved; null for as much as is wanted.")]
    settled: Annotated[_Dollars, Field(description="Billed.")] = None
    reserved: Annotated[_Dollars, Field(description="Set aside for what is not billed yet.")] = None
    percent: Annotated[int | None, Field(description="How much of the limit is committed.", examples=[22])] = None


class BudgetEntry(BaseModel):
    """Something that was set aside, billed or given back."""

    at: datetime
    what: Annotated[str, Field(examples=["reserved", "settled", "released"])]
    amount: _Dollars
    subject: Annotated[str, Field(description="The job, endpoint or workspace.")]
    month: str


class BudgetHistory(BaseModel):
    entries: list[BudgetEntry]


@router.get("", summary="What is left")
def budget(caller: Asking, office: AtOffice, month: _MONTH = None) -> list[BudgetLeft]:
    """Of the account, of the caller's team and of the caller."""
    return budgets_left(office.desk, Payer(caller.user_id, caller.team or office.desk.settings.team), month or "")


@router.get("/history", summary="What the caller spent")
def history(
    caller: Asking, office: AtOffice, month: _MONTH = None, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> BudgetHistory:
    """The newest first: of the caller's own budget, and of nobody else's."""
    own = Budget("user", str(caller.user_id))
    found = office.desk.ledger.history(month or "", own, limit=limit)
    return BudgetHistory(
        entries=[
            BudgetEntry(at=one.at, what=one.what, amount=_text(one.amount), subject=one.subject, month=one.month)
            for one in found
        ]
    )


def budgets_left(desk: Desk, payer: Payer, month: str = "") -> list[BudgetLeft]:
    """Every budget that a charge of that payer's has to fit in."""
    return [_left(desk.ledger.standing(one, month)) for one in payer.budgets()]


def _left(standing: Standing) -> BudgetLeft:
    own = standing.budget != ACCOUNT
    return BudgetLeft(
        budget=standing.budget.code,
        scope=standing.budget.scope,
        month=standing.month,
        limit=_text(standing.limit),
        left=_text(standing.left),
        settled=_text(standing.settled) if own else None,
        reserved=_text(standing.reserved) if own else None,
        percent=standing.percent if own else None,
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
