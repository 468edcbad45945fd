"""Connections of clients who take their time: each is waited for so long, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which by itself waits for headers, and for readers of its answers, as long as they like."""

    def __init__(self, *args: Any, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking = _Wait(self.loop, patience, self._give_up)
        self._reading = _Wait(self.loop, patience, self._abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asking.begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._asking.end()
        else:
            self._asking.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._asking.end()
        self._reading.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reading.end()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _abort(self) -> None:
        self.transport.abort()

    def _give_up(self) -> None:
        if not self._is_answering():
            self.transport.close()


class _Wait:
    """What is done when it has lasted so long without an end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        self._loop, self._seconds, self._then = loop, seconds, then
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._over)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self._then()
