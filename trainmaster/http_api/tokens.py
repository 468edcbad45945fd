"""Supabase's tokens, verified."""

from __future__ import annotations

from typing import Any

import jwt

from trainmaster.errors import UnauthenticatedError
from trainmaster.settings import Settings


def claims_of(token: str, settings: Settings) -> dict[str, Any]:
    """What a token says, once its signature, its time and whom it is for are proven. Raises UnauthenticatedError."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            settings.required("supabase_jwt_secret"),
            algorithms=["HS256"],
            audience="authenticated",
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.InvalidTokenError as error:
        raise UnauthenticatedError(f"The token is not valid: {error}.") from error
    return claims
