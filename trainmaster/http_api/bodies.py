"""How much a request may bring, and how slowly: neither the memory nor a thread of the server is anybody's to hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainmaster.http_api.answers import refusal
from trainmaster.settings import Settings

SLOWEST = 10_000
"""Bytes a second, on the whole, that a body has to come with."""


@dataclass(frozen=True)
class Bodies:
    """413 for what is too large, before it is read where its length is told (400 where that is none); 408 for what does not come.

    `unbounded` are paths whose bodies are measured by those who read them.
    """

    app: ASGIApp
    settings: Settings
    unbounded: Collection[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = None if scope["path"] in self.unbounded else self.settings.http_body_bytes
        body = _Body(receive, send, most, self.settings.http_slow_seconds)
        told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not told.isdigit():
            await body.refuse(scope, 400)
            return
        if most is not None and int(told) > most:
            await body.refuse(scope, 413)
            return
        await self.app(scope, body.receive, body.send)
        if body.refused and not body.answered:
            await body.refuse(scope, body.refused)


@dataclass
class _Body:
    """One body on its way in. Once it is refused, whatever reads it sees its client gone, and what it answers is not sent."""

    receiving: Receive
    sending: Send
    most: int | None
    patience: float
    size: int = 0
    refused: int = 0
    answered: bool = False
    whole: bool = False
    began: float = field(default_factory=time.monotonic)

    async def receive(self) -> Message:
        if self.whole:
            return await self.receiving()
        if self.refused:
            return {"type": "http.disconnect"}
        left = self.began + self.patience + self.size / SLOWEST - time.monotonic()
        try:
            message = await asyncio.wait_for(self.receiving(), max(left, 0))
        except TimeoutError:
            self.refused = 408
            return {"type": "http.disconnect"}
        self.size += len(message.get("body", b""))
        self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self.most is not None and self.size > self.most:
            self.refused = 413
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.refused and not self.answered:
            return
        self.answered = True
        await self.sending(message)

    async def refuse(self, scope: Scope, status: int) -> None:
        """Answer in place of whoever would have read it, and end the connection: the rest of the body is still on its way."""
        said = {
            400: "Content-Length has to be a number.",
            413: f"A request may bring {self.most:,} bytes, and this one brings more. Send less, or a dataset as an upload."
            if self.most is not None
            else "",
            408: f"The request did not come at {SLOWEST:,} bytes a second. Send it again over a better connection.",
        }[status]
        kind = {400: "BadRequest", 413: "BodyTooLarge", 408: "BodyTooSlow"}[status]
        answer = refusal(kind, said, status, scope, headers={"Connection": "close"})
        await answer(scope, self.receiving, self.sending)
