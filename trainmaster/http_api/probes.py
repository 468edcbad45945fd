"""Whether the process lives, whether it can do its work, and what Prometheus is told."""

from __future__ import annotations

import hmac
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from sqlalchemy import select

from trainmaster.http_api.answers import ErrorAnswer, refusal
from trainmaster.http_api.office import Office

WITHIN_SECONDS = 5.0
REMEMBERED_SECONDS = 2.0
"""However often somebody asks, what is checked is not asked more often than that."""
router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    """What answers, each in a word or with why not."""

    ready: bool
    checks: Annotated[
        dict[str, str],
        Field(examples=[{"database": "ok", "prefect": "ok", "aws": "ok"}]),
    ]


class Checks:
    """The last of each check, made anew when it is asked for and old. One that hangs is not begun again."""

    def __init__(self, office: Office) -> None:
        self._checks: Mapping[str, Callable[[], str]] = {
            "database": lambda: _database(office),
            "prefect": lambda: "ok" if office.runs.is_reachable() else "the Prefect server does not answer",
            "aws": lambda: _aws(office),
        }
        self._running: dict[str, tuple[float, Future[str]]] = {}
        self._turn = threading.Lock()

    def made(self) -> dict[str, str]:
        """`ok` or what is wrong, of each, within a few seconds."""
        with self._turn:
            asked = {name: self._begun(name) for name in self._checks}
        wait(asked.values(), WITHIN_SECONDS)
        return {name: future.result() if future.done() else "no answer yet" for name, future in asked.items()}

    def _begun(self, name: str) -> Future[str]:
        began, future = self._running.get(name, (float("-inf"), None))
        now = time.monotonic()
        if future is None or (future.done() and now - began > REMEMBERED_SECONDS):
            future = Future()
            self._running[name] = now, future
            # Not of a pool, whose threads Python waits for when it ends, however long AWS says nothing.
            threading.Thread(target=_make, args=(self._checks[name], future), daemon=True).start()
        return future


def _make(check: Callable[[], str], future: Future[str]) -> None:
    try:
        future.set_result(check())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why the server is not ready
        future.set_result(type(error).__name__.removesuffix("Error"))


def _database(office: Office) -> str:
    with office.desk.catalogue.database.reading() as connection:
        connection.execute(select(1))
    return "ok"


def _aws(office: Office) -> str:
    """Whether the credentials are somebody's, now."""
    office.desk.client("sts").get_caller_identity()
    return "ok"


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> Health:
    """Always, while it does: whoever keeps processes running starts those anew that do not."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Whether it can do its work",
    responses={503: {"model": Readiness, "description": "Something it needs does not answer."}},
)
def readyz(request: Request, response: Response) -> Readiness:
    """Database, Prefect and AWS's credentials, each asked for a few seconds at most."""
    checks = request.app.state.checks.made()
    ready = all(said == "ok" for said in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)


@router.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "In Prometheus's text format."},
        403: {"model": ErrorAnswer, "description": "Whoever asks is neither this machine nor Prometheus."},
    },
)
def metrics(request: Request) -> Response:
    """Requests by route and status, how long they took, trainings at work, the committed share of each budget."""
    if not _may_read(request):
        said = "Metrics are for this machine, or for whoever has TRAINMASTER_HTTP_METRICS_TOKEN as a bearer token."
        return refusal("Forbidden", said, 403, request.scope)
    return Response(request.app.state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _may_read(request: Request) -> bool:
    """With a token set, whoever shows it; else this machine, unless it asks for somebody else as a proxy does."""
    token = request.app.state.office.settings.http_metrics_token
    if token is not None:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(shown.encode(), token.get_secret_value().encode())
    forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
    return not forwarded and _is_loopback(request.client.host if request.client else "")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
