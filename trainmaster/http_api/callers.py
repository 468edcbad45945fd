"""Who asks: never anything but what a verified token says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from trainmaster.budget.budgets import Payer
from trainmaster.errors import UnauthenticatedError
from trainmaster.http_api.tokens import claims_of


@dataclass(frozen=True)
class Caller:
    """A user, and the team that the project's administrators put it in; "" for none."""

    user_id: UUID
    team: str = ""

    @property
    def payer(self) -> Payer:
        return Payer(self.user_id, self.team)


def caller_of(request: Request) -> Caller:
    """Raises UnauthenticatedError."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise UnauthenticatedError("This needs a token of your session: Authorization: Bearer …")
    claims = claims_of(token, request.app.state.office.settings)
    return Caller(UUID(claims["sub"]), str(claims.get("app_metadata", {}).get("team", "")))


Asking = Annotated[Caller, Depends(caller_of)]
