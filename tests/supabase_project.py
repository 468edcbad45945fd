"""A Supabase project as tests use it: the embedded one, or a real one of the environment where TEST_SUPABASE is set."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import jwt

BUCKET = "training-datasets"
"""Private; its policy lets a user touch what is below a folder named by the user's id, and nothing else."""


@dataclass(frozen=True)
class SupabaseProject:
    """`url` is what SUPABASE_URL holds. Storage is at `/storage/v1` below it."""

    url: str
    service_role_key: str
    jwt_secret: str

    @classmethod
    def of_environment(cls) -> Self | None:
        """The real one that TEST_SUPABASE asks for. Its JWT secret signs the tokens of users the tests make up."""
        if not os.environ.get("TEST_SUPABASE"):
            return None
        names = ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_JWT_SECRET")
        return cls(*(os.environ[name] for name in names))

    @classmethod
    def embedded(cls, state: Path, environment: dict[str, str]) -> Self:
        secret = json.loads((state / "supabase.json").read_text())["jwt_secret"]
        return cls(environment["SUPABASE_URL"], environment["SUPABASE_SERVICE_ROLE_KEY"], secret)

    def token(self, user_id: str, *, seconds: int = 600, secret: str | None = None) -> str:
        """What a signed-in user's browser sends; with negative `seconds` one that has expired."""
        now = int(time.time())
        claims = {
            "iss": f"{self.url}/auth/v1", "sub": user_id, "role": "authenticated", "aud": "authenticated",
            "iat": now, "exp": now + seconds,
        }  # fmt: skip
        return jwt.encode(claims, secret or self.jwt_secret, algorithm="HS256")

    def client(self, token: str | None = None, **settings: Any) -> httpx.Client:
        """Of Storage's API, with the service key unless another token, or an empty one, is given."""
        bearer = self.service_role_key if token is None else token
        headers = {"Authorization": f"Bearer {bearer}", "apikey": self.service_role_key} if bearer else {}
        return httpx.Client(base_url=f"{self.url}/storage/v1", headers=headers, timeout=90, **settings)
