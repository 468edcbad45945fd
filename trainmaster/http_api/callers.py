"""Who asks: never anything but what a verified token says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from trainmaster.budget.budgets import TEAM_NAME, Payer
from trainmaster.errors import UnauthenticatedError
from trainmaster.http_api.limiting import note

_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="Session",
    description="The access token of a Supabase session.",
)


@dataclass(frozen=True)
class Caller:
    """A user, and the team that the project's administrators put it in; "" for none."""

    user_id: UUID
    team: str = ""

    @property
    def payer(self) -> Payer:
        return Payer(self.user_id, self.team)


def caller_of(request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]) -> Caller:
    """Raises UnauthenticatedError, SigningKeysUnavailableError, TooManyRequestsError."""
    if shown is None or not shown.credentials:
        raise UnauthenticatedError("This needs a token of your session: Authorization: Bearer …")
    claims = request.app.state.tokens.claims(shown.credentials)
    caller = Caller(UUID(claims["sub"]), _team(claims))
    request.scope["state"]["user_id"] = str(caller.user_id)
    note(request.scope, request.app.state.rates.count_user(str(caller.user_id)))
    return caller


def _team(claims: dict[str, object]) -> str:
    """Of `app_metadata`, which users cannot change as they can `user_metadata`."""
    said = claims.get("app_metadata")
    team = said.get("team", "") if isinstance(said, dict) else ""
    if team and not (isinstance(team, str) and TEAM_NAME.fullmatch(team)):
        raise UnauthenticatedError("The token names a team that cannot be one. Ask an administrator of the project.")
    return team or ""


Asking = Annotated[Caller, Depends(caller_of)]
