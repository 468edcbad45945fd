"""What a caller may still spend this month."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from trainmaster.http_api.callers import Asking
from trainmaster.http_api.office import AtOffice

router = APIRouter(prefix="/api/budget", tags=["budget"])


@router.get("")
def budget(caller: Asking, office: AtOffice) -> list[dict[str, Any]]:
    """Of the caller, the team and the account."""
    return [
        {"budget": one.code, "left": None if left is None else str(left)}
        for one in caller.payer.budgets()
        for left in [office.desk.ledger.standing(one).left]
    ]
