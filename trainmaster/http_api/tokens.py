"""Supabase's tokens, verified: by the project's secret (HS256) or by its public keys (RS256, ES256)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import jwt

from trainmaster.errors import NotConfiguredError, UnauthenticatedError
from trainmaster.http_api.signing_keys import SigningKeys
from trainmaster.settings import Settings

AUDIENCE = "authenticated"
LEEWAY_SECONDS = 10
"""Between the project's clock and ours."""
_BY_KEY = ("RS256", "ES256")
_REQUIRED = ("exp", "sub", "aud", "iss")
_WHY: dict[type[jwt.InvalidTokenError], str] = {
    jwt.ExpiredSignatureError: "it has expired; sign in again",
    jwt.ImmatureSignatureError: "it does not hold yet",
    jwt.InvalidAudienceError: "it is not for people who are signed in",
    jwt.InvalidIssuerError: "another project issued it",
    jwt.MissingRequiredClaimError: f"it has to say {', '.join(_REQUIRED)}",
    jwt.InvalidSignatureError: "its signature is not the project's",
}


@dataclass(frozen=True)
class Tokens:
    """What verifies them. Which key may have signed is decided by the algorithm: a public key is never taken for a secret."""

    issuer: str
    secret: str | None = field(repr=False)
    keys: SigningKeys | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises NotConfiguredError where nothing says whose tokens are to be taken."""
        project = settings.supabase_url and settings.supabase_url.rstrip("/")
        issuer = settings.http_token_issuer or (f"{project}/auth/v1" if project else "")
        if not issuer:
            raise NotConfiguredError(
                "Nothing says whose tokens the HTTP API takes. Set SUPABASE_URL, or TRAINMASTER_HTTP_TOKEN_ISSUER."
            )
        secret = settings.supabase_jwt_secret.get_secret_value() if settings.supabase_jwt_secret else None
        url = settings.http_jwks_url or (None if secret else f"{issuer}/.well-known/jwks.json")
        return cls(issuer, secret, SigningKeys(url) if url else None)

    def claims(self, token: str) -> dict[str, Any]:
        """What it says, once signature, time, issuer and audience are proven; `sub` is a user's UUID.

        Raises UnauthenticatedError, SigningKeysUnavailableError.
        """
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(algorithm, header.get("kid")),
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=self.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": list(_REQUIRED)},
            )
            UUID(claims["sub"])
        except (jwt.PyJWTError, ValueError) as error:
            why = next((why for kind, why in _WHY.items() if isinstance(error, kind)), "it is none of this project's")
            raise UnauthenticatedError(f"The token is not valid: {why}.") from error
        if claims.get("is_anonymous") is True:
            raise UnauthenticatedError("The token is of an anonymous sign-in, which has no budget. Sign in.")
        return claims

    def _key(self, algorithm: str, key_id: object) -> str | jwt.PyJWK:
        if algorithm == "HS256" and self.secret:
            return self.secret
        if algorithm in _BY_KEY and self.keys and isinstance(key_id, str):
            key = self.keys.find(key_id)
            if key is not None and key.algorithm_name == algorithm:
                return key
        raise jwt.InvalidTokenError("no key for it")
