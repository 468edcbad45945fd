"""What holds for every request, whoever answers it: an id, a line in the log, a count, and how often one address may ask."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainmaster.errors import TooManyRequestsError
from trainmaster.http_api.answers import answer_of
from trainmaster.http_api.limiting import Rates, note
from trainmaster.http_api.log_lines import ACCESS, REQUEST_ID
from trainmaster.http_api.request_metrics import RequestMetrics

REQUEST_ID_HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_UNCOUNTED = {"/healthz", "/readyz", "/metrics"}
"""Asked for by whoever keeps the server running, from one address."""
_access = logging.getLogger(ACCESS)


@dataclass(frozen=True)
class Reception:
    """The outermost of what a request passes."""

    app: ASGIApp
    metrics: RequestMetrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope)
        remembered = REQUEST_ID.set(visit.id)
        try:
            await self.app(scope, receive, visit.sending(send))
        finally:
            self.metrics.count(visit.method, visit.route, visit.status, visit.seconds)
            _access.info("answered", extra={"fields": visit.fields()})
            REQUEST_ID.reset(remembered)


@dataclass
class _Visit:
    """One request on its way through."""

    scope: Scope
    id: str = ""
    status: int = 499  # nobody was there any more to be answered
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        asked = next((value for name, value in self.scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        self.id = asked if _ID.fullmatch(asked) else uuid4().hex
        self.scope.setdefault("state", {})["request_id"] = self.id

    def sending(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = self.id
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                allowance = self.scope["state"].get("allowance")
                if allowance is not None:
                    message["headers"].extend(allowance.headers())
            await send(message)

        return sent

    @property
    def method(self) -> str:
        """Of those there are: anything may be asked, and each would be counted on its own."""
        return self.scope["method"] if self.scope["method"] in _METHODS else "OTHER"

    @property
    def route(self) -> str:
        """As it is written, `/api/runs/{run_id}`: never what was asked, which may be anything."""
        return str(getattr(self.scope.get("route"), "path", "none"))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def fields(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "milliseconds": round(self.seconds * 1000, 1),
            "address": _address(self.scope),
            "user_id": self.scope["state"].get("user_id", ""),
        }


@dataclass(frozen=True)
class AddressRates:
    """Refuses an address that asks too often, before anything of the request is read."""

    app: ASGIApp
    rates: Rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _UNCOUNTED:
            try:
                note(scope, await run_in_threadpool(self.rates.count_address, _address(scope)))
            except TooManyRequestsError as error:
                await answer_of(error, scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _address(scope: Scope) -> str:
    """Who asks; a trusted proxy says for whom."""
    return str((scope.get("client") or ("unknown",))[0])
