"""`trainmaster api` in a process of its own, asked by one user."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from http_offices import ISSUER, SECRET, bearer

from trainmaster.embedded import processes

TRAININGS = "/api/training/deploy/sagemaker"
WITHIN = 120.0


class ServedApi:
    """Over whatever its environment says."""

    def __init__(self, environment: Mapping[str, str], log: Path, user: UUID | None = None) -> None:
        self.user = user or uuid4()
        tokens = {"SUPABASE_JWT_SECRET": SECRET, "TRAINMASTER_HTTP_TOKEN_ISSUER": ISSUER}
        command = [sys.executable, "-m", "trainmaster.cli", "api", "--port", "0"]
        with log.open("ab") as errors:
            self.child = processes.start(command, env={**environment, **tokens}, stdout=subprocess.PIPE, stderr=errors)
        assert self.child.stdout
        said = self.child.stdout.readline().decode()
        assert said, log.read_text()
        self.url = said.split()[5].rstrip(",")

    def ask(self, method: str, path: str = TRAININGS, **options: Any) -> httpx.Response:
        headers = {**bearer(self.user), **options.pop("headers", {})}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=WITHIN, **options)

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()

    def close(self) -> None:
        self.child.kill()
        if self.child.stdout:
            self.child.stdout.close()
