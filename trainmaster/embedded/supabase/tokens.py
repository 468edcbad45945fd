"""Who calls, and what was signed: JSON web tokens under the one secret of the state folder."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Self

import jwt

from trainmaster.embedded.state import State
from trainmaster.embedded.supabase import errors

SIGNED_UPLOADS_LAST = 7200
"""Seconds a signed upload URL holds."""

S3_KEYS = "supabase-s3.json"
"""The file of the state folder that has them."""

_TEN_YEARS = 10 * 365 * 24 * 3600
_SCOPES = {"download": "storage-object:download", "upload": "storage-object:upload"}


@dataclass(frozen=True)
class Caller:
    """Whom a request speaks for: `service_role`, a user (`authenticated`), or `anon`."""

    role: str
    user_id: str | None = None

    @property
    def is_service(self) -> bool:
        """Row-level security does not concern it."""
        return self.role == "service_role"

    @property
    def folder(self) -> str | None:
        """What all keys it may touch begin with: by the application's policy, a folder named by the user's id."""
        if self.is_service:
            return ""
        return f"{self.user_id}/" if self.role == "authenticated" and self.user_id else None

    def may_touch(self, key: str) -> bool:
        return self.folder is not None and key.startswith(self.folder)


ANYBODY = Caller("anon")
SERVICE = Caller("service_role")


@dataclass(frozen=True)
class S3Keys:
    """The project's access keys of the S3 endpoint, made up once per state folder: they speak for the service role."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """Made up once per state folder, readable by its owner alone."""

    jwt_secret: str = field(repr=False)
    service_role_key: str = field(repr=False)
    anon_key: str = field(repr=False)
    user_id: str
    s3: S3Keys

    @classmethod
    def of(cls, state: State) -> Self:
        return cls(**state.once("supabase.json", _made_up), s3=S3Keys(**state.once(S3_KEYS, _made_up_for_s3)))

    def caller(self, authorization: str) -> Caller:
        """Who a bearer token speaks for; raises StorageError (403 in the body) when it is not valid now."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            token = authorization  # the real server takes a bare token too
        try:
            claims = self._claims(token.strip())
        except jwt.InvalidTokenError as error:
            raise errors.denied(_said(error)) from None
        return Caller(str(claims.get("role", "anon")), claims.get("sub"))

    def session(self, issuer: str) -> str:
        """The token of the user, signed in: as Supabase's Auth would issue it."""
        now = int(time.time())
        claims = {
            "iss": issuer, "sub": self.user_id, "aud": "authenticated", "role": "authenticated",
            "iat": now, "exp": now + _TEN_YEARS,
        }  # fmt: skip
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")

    def signed(self, action: str, path: str, seconds: int, **claims: Any) -> str:
        """A token to `download` or `upload` what is at `{bucket}/{key}`."""
        now = int(time.time())
        claims = {**claims, "url": path, "scope": _SCOPES[action], "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")

    def verified(self, action: str, path: str, token: str) -> dict[str, Any]:
        """The claims of a token made by `signed`; raises StorageError when it is another's, or too old."""
        try:
            claims = self._claims(token)
        except jwt.InvalidTokenError as error:
            raise errors.invalid_jwt(_said(error)) from None
        if claims.get("scope") != _SCOPES[action]:
            raise errors.invalid_signature(f"Token is not scoped for {_SCOPES[action]}")
        if claims.get("url") != path:
            raise errors.invalid_signature()
        return claims

    def _claims(self, token: str) -> dict[str, Any]:
        options: Any = {"verify_aud": False, "verify_iat": False, "verify_sub": False}
        claims: dict[str, Any] = jwt.decode(token, self.jwt_secret, algorithms=["HS256"], options=options)
        return claims


def _made_up() -> dict[str, str]:
    secret, now = secrets.token_urlsafe(48), int(time.time())

    def key(role: str) -> str:
        claims = {"iss": "supabase", "role": role, "iat": now, "exp": now + _TEN_YEARS}
        return jwt.encode(claims, secret, algorithm="HS256")

    return {
        "jwt_secret": secret,
        "service_role_key": key("service_role"),
        "anon_key": key("anon"),
        "user_id": str(uuid.uuid4()),
    }


def _made_up_for_s3() -> dict[str, str]:
    return {"access_key_id": secrets.token_hex(16), "secret_access_key": secrets.token_hex(32)}


def _said(error: jwt.InvalidTokenError) -> str:
    """The words of the library the real server verifies with."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return '"exp" claim timestamp check failed'
    if isinstance(error, jwt.InvalidSignatureError):
        return "signature verification failed"
    return "Invalid Compact JWS"
