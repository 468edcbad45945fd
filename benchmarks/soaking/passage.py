"""A way to a server of objects on loopback: counts what passes, and lets happen to a call what somebody has in mind for it."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from werkzeug.datastructures import Headers

CHUNK = 64 << 10
LONGEST_SILENCE = 120.0
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "expect", "transfer-encoding", "content-length"})


class BrokenOffError(Exception):
    """Raised by a step, or in a body it makes, to have the connection reset."""


@dataclass
class Asked:
    """A call on its way. `target` is its path with its query, as it was sent; what a step changes is what goes on."""

    method: str
    target: str
    headers: Headers
    incoming: IO[bytes]
    left: int
    _body: bytes | None = None

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    @property
    def body(self) -> bytes:
        """All of it; waits until it is there."""
        if self._body is None:
            self._body = self.read(self.left)
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self.read(self.left)
        self._body = body

    def read(self, size: int) -> bytes:
        """So much of the body as it arrives; afterwards `body` lacks it."""
        wanted = min(size, self.left)
        piece = self.incoming.read(wanted) if wanted else b""
        self.left -= len(piece)
        if len(piece) < wanted:  # whoever called has died
            raise BrokenOffError
        return piece


@dataclass
class Answered:
    """What goes back. Without a Content-Length among its headers it is sent in chunks."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: Iterable[bytes] = ()


PassOn = Callable[[Asked], Answered]
Step = Callable[[Asked, PassOn], Answered]
"""What befalls a call: it passes it on or not, before or after something else, and answers it."""


@dataclass
class Rule:
    """Befalls `times` calls of the methods and targets that match, after letting `spared` of them pass; None is always."""

    step: Step
    methods: str
    target: re.Pattern[str]
    times: int | None
    spared: int
    befell: int = 0


@dataclass
class Passed:
    """A call that passed: `status` is 0 and `is_over` False until it was answered, `sent` counts the body's bytes sent back."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    received: int = 0
    status: int = 0
    sent: int = 0
    is_over: bool = False


class Passage:
    """Passes calls on to `upstream` (a URL) from an address of its own, `url`, with the Host they were signed for.

    One thread for each connection, a body at a time in memory on its way there, 64 KiB of it on its way back.
    """

    def __init__(self, upstream: str) -> None:
        target = urlsplit(upstream)
        self.address = (str(target.hostname), target.port or 80)
        self.passed: list[Passed] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.passage = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{target.path}"
        serving = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()

    def __enter__(self) -> Passage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def befall(
        self, step: Step, methods: str = "GET", target: str = "", *, times: int | None = 1, spared: int = 0
    ) -> Rule:
        """Let a step befall calls whose method is among those named, and whose path with query the pattern is found in."""
        rule = Rule(step, methods, re.compile(target), times, spared)
        with self._lock:
            self._rules.append(rule)
        return rule

    def calm(self) -> None:
        """Nothing befalls any call from now on."""
        with self._lock:
            self._rules.clear()

    def sent(self, method: str = "GET") -> Counter[str]:
        """Bytes of bodies that were sent back, by path."""
        counted = Counter[str]()
        for call in list(self.passed):
            if call.method == method and call.status < http.client.BAD_REQUEST:
                counted[call.path] += call.sent
        return counted

    def note(self, asked: Asked) -> Passed:
        call = Passed(asked.method, asked.path, asked.query, dict(asked.headers), asked.left)
        self.passed.append(call)
        return call

    def step_for(self, asked: Asked) -> Step | None:
        """That of the first rule which is about such a call and has not befallen enough."""
        with self._lock:
            for rule in self._rules:
                concerns = asked.method in rule.methods.split() and rule.target.search(unquote(asked.target))
                if not concerns or (rule.times is not None and rule.befell >= rule.times):
                    continue
                if rule.spared:
                    rule.spared -= 1
                    continue
                rule.befell += 1
                return rule.step
        return None


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    passage: Passage

    def handle_error(self, *_: Any) -> None:
        """Nothing: whoever called sees that the connection has ended."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = LONGEST_SILENCE
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        asked = self._asked()
        call = self.server.passage.note(asked)
        try:
            step = self.server.passage.step_for(asked)
            answered = step(asked, self._pass_on) if step else self._pass_on(asked)
            asked.read(asked.left)  # or it would be taken for the next call
            self._answer(answered, call)
        except (BrokenOffError, OSError, http.client.HTTPException):
            self._reset()
        finally:
            call.is_over = True

    do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815 - what the base class calls

    def finish(self) -> None:
        self._leave_upstream()
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Nothing: `Passage.passed` has it all."""

    def _asked(self) -> Asked:
        length = int(self.headers.get("Content-Length") or 0)
        return Asked(self.command, self.path, Headers(self.headers.items()), self.rfile, length)

    def _pass_on(self, asked: Asked) -> Answered:
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(*self.server.passage.address, timeout=LONGEST_SILENCE)
        upstream, body = self._upstream, asked.body
        upstream.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers:
            if name.lower() not in _OF_ONE_HOP:
                upstream.putheader(name, value)
        if body or "Content-Length" in asked.headers:
            upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body or None)
        response = upstream.getresponse()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _OF_ONE_HOP]
        if (length := response.getheader("Content-Length")) is not None:
            kept.append(("Content-Length", length))
        return Answered(response.status, Headers(kept), self._chunks(response))

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        whole = False
        try:
            while chunk := response.read(CHUNK):
                yield chunk
            whole = (self.command == "HEAD" or not response.length) and not response.will_close
        finally:
            if not whole:
                self._leave_upstream()

    def _answer(self, answered: Answered, call: Passed) -> None:
        bodiless = self.command == "HEAD" or answered.status in (204, 304)
        in_chunks = not bodiless and "Content-Length" not in answered.headers
        head = [f"HTTP/1.1 {answered.status} {http.client.responses.get(answered.status, 'Unknown')}"]
        head += [f"{name}: {value}" for name, value in answered.headers]
        head += ["Transfer-Encoding: chunked"] if in_chunks else []
        call.status = answered.status
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        for chunk in answered.body:
            if not bodiless:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if in_chunks else chunk)
                call.sent += len(chunk)
        if in_chunks:
            self.wfile.write(b"0\r\n\r\n")
        announced = answered.headers.get("Content-Length", type=int)
        if not bodiless and announced is not None and announced > call.sent:
            self.close_connection = True  # as a server that takes what it has for all there is
        if answered.headers.get("Connection", "").lower() == "close":
            self.close_connection = True

    def _leave_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def _reset(self) -> None:
        self.close_connection = True
        self._leave_upstream()
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
