"""One kept connection to a model server: HTTP/1.1 with a Content-Length both ways, over a unix socket.

`http.client` takes four times as long over it, most of that for headers of electronic mail; with fifty clients that is felt.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_READ_BYTES = 1 << 16
LARGEST_HEAD = 1 << 16


class BadAnswerError(OSError):
    """Raised when the other side does not speak as our model server does."""


class Connection:
    """Connects when it is first used. Not safe to share between threads; of no use after an error but to be closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, timeout: float
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer's status, its headers by their names in small letters, and its body; no read or write takes longer than `timeout`. Raises OSError."""
        sock = self._connected(timeout)
        lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise BadAnswerError("a header may not hold a line break")
        sock.sendall("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body)
        head, rest = self._head(sock)
        status, answered = _parsed(head)
        return status, answered, self._body(sock, rest, int(answered.get("content-length", 0)))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self, timeout: float) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            with address(self._path) as name:
                self._socket.connect(name)
        self._socket.settimeout(timeout)
        return self._socket

    @staticmethod
    def _head(sock: socket.socket) -> tuple[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > LARGEST_HEAD:
                raise BadAnswerError("the answer's head does not end")
            received += _more(sock)
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest

    @staticmethod
    def _body(sock: socket.socket, rest: bytes, size: int) -> bytes:
        parts, missing = [rest], size - len(rest)
        while missing > 0:
            parts.append(_more(sock))
            missing -= len(parts[-1])
        return b"".join(parts)


@contextmanager
def address(path: Path) -> Iterator[str]:
    """The socket's name in the 107 bytes an address may have, however deep the state folder lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(_READ_BYTES)
    if not data:
        raise ConnectionResetError("closed before the answer had ended")
    return data


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        return int(first.split(" ", 2)[1]), dict(_header(line) for line in lines)
    except (ValueError, IndexError):
        raise BadAnswerError(f"no HTTP: {first[:80]}") from None


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()
