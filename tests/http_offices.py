"""The HTTP API as tests ask it: an office over the embedded AWS, tokens of users, and runs that are written down, not run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
from desks import desk_at
from fastapi.testclient import TestClient

from trainmaster.errors import FlowRunsUnavailableError
from trainmaster.http_api.application import application
from trainmaster.http_api.office import Office, StartedRun

SECRET = "what the project of these tests signs its users' tokens with"
ISSUER = "https://project.example/auth/v1"


_ENDED = {"Completed", "Failed", "Crashed", "Cancelled"}

NOWHERE = {
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SERVICE_ROLE_KEY": "any",
    "TRAINMASTER_BUCKET": "nowhere",
    "TRAINMASTER_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/nobody",
    "TRAINMASTER_USER_ID": "6f9d2a34-3c30-4b31-8b7f-0a3f4a4f3c11",
}
"""The environment of an AWS and a Supabase that do not answer, for what asks neither."""


class RecordingRuns:
    """Runs that were asked for, in `started` as (deployment, request, once); nothing runs. `away` is a Prefect server that is down."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, Any], str]] = []
        self.away = False
        self._runs: dict[tuple[str, str], StartedRun] = {}
        self._about: dict[str, tuple[str, str]] = {}
        self._turn = threading.Lock()

    def start(self, deployment: str, request: Mapping[str, Any], *, once: str, about: str = "") -> StartedRun:
        """The same for the same `once`, as Prefect has it, also for those who ask at once."""
        self._answer()
        with self._turn:
            if (deployment, once) not in self._runs:
                self.started.append((deployment, dict(request), once))
                id_ = str(uuid4())
                self._runs[deployment, once] = StartedRun(
                    id_, f"{deployment}-{len(self.started)}", "Scheduled", f"http://127.0.0.1:4200/runs/{id_}", once
                )
                self._about[about] = (deployment, once)
            return self._runs[deployment, once]

    def latest(self, about: str) -> StartedRun | None:
        self._answer()
        return self._runs[self._about[about]] if about in self._about else None

    def find(self, run_id: str) -> StartedRun | None:
        self._answer()
        return next((run for run in self._runs.values() if run.id == run_id), None)

    def is_reachable(self) -> bool:
        return not self.away

    def become(self, run_id: str, state: str) -> None:
        """Let a run that was started be in another state."""
        for key, run in self._runs.items():
            if run.id == run_id:
                self._runs[key] = replace(run, state=state, ended=state in _ENDED)

    def _answer(self) -> None:
        if self.away:
            raise FlowRunsUnavailableError("The Prefect server does not answer. Try again later.")


@contextmanager
def office_at(
    environment: Mapping[str, str], folder: Path, runs: RecordingRuns | None = None, **settings: Any
) -> Iterator[Office]:
    """Over an embedded AWS and Supabase, with a catalogue in the folder (DATABASE_URL for another) and nobody's limits."""
    given = {
        "SUPABASE_URL": environment["SUPABASE_URL"],
        "SUPABASE_SERVICE_ROLE_KEY": environment["SUPABASE_SERVICE_ROLE_KEY"],
        "SUPABASE_JWT_SECRET": SECRET,
        "http_token_issuer": ISSUER,
        "allow_private_addresses": True,
        "http_rate_limit": "",
        **settings,
    }
    with desk_at(folder, environment, **given) as desk:
        yield Office(desk.settings, desk, runs or RecordingRuns())


def token(user_id: UUID | str, team: str = "", *, secret: str = SECRET, **claims: Any) -> str:
    """As Supabase signs it for a user who is signed in; a claim of None is left out."""
    now = int(time.time())
    said = {
        "sub": str(user_id),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": ISSUER,
        "iat": now,
        "exp": now + 600,
        "app_metadata": {"team": team} if team else {},
        **claims,
    }
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, algorithm="HS256")


def bearer(user_id: UUID | str, team: str = "") -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Bearer {token(user_id, team)}"}


def asking(office: Office, user_id: UUID | str | None = None, team: str = "") -> TestClient:
    """A client of the application that asks as that user; as nobody without one."""
    return TestClient(application(office), headers=bearer(user_id, team) if user_id else {})
