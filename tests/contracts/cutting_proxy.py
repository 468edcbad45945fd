"""Connections that break on purpose: a TCP proxy on loopback that cuts or holds them, and a server that never answers."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 16 << 10


@dataclass
class CuttingProxy:
    """Passes bytes on to `upstream` (a URL) until a limit is reached in one direction, then resets the connection or holds it.

    `cut_up`, `cut_down`: after so many bytes towards, or from, the server, over whatever connections, the one in use is cut; then
    the next number counts anew. `cut_down_on` waits with those from the server for its event. `hold_up`: nothing more goes to the
    server after that many bytes.
    """

    upstream: str
    cut_up: list[int] = field(default_factory=list)
    cut_down: list[int] = field(default_factory=list)
    cut_down_on: threading.Event | None = None
    hold_up: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    cuts: int = 0
    connections: int = 0

    def __post_init__(self) -> None:
        target = urlsplit(self.upstream)
        assert target.hostname
        self._tls = ssl.create_default_context() if target.scheme == "https" else None
        self._target = (target.hostname, target.port or (443 if self._tls else 80))
        self._named = f"Host: {target.netloc}".encode()
        self._passed_up = 0
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        netloc = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url, self._called = f"http://{netloc}{target.path}", f"Host: {netloc}".encode()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = self._connect()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open += [client, server]
            for source, sink, cuts in ((client, server, self.cut_up), (server, client, self.cut_down)):
                threading.Thread(target=self._pass, args=(source, sink, cuts), daemon=True).start()

    def _connect(self) -> socket.socket:
        server = socket.create_connection(self._target)
        return self._tls.wrap_socket(server, server_hostname=self._target[0]) if self._tls else server

    def _pass(self, source: socket.socket, sink: socket.socket, cuts: list[int]) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if cuts is self.cut_up:
                    if self._tls:  # whoever serves many projects tells them apart by their names
                        piece = piece.replace(self._called, self._named)
                    if self._holds(len(piece)):
                        return
                if (left := self._left(cuts, len(piece))) is not None:
                    sink.sendall(piece[:left])
                    if self.cut_down_on and cuts is self.cut_down:
                        self.cut_down_on.wait(60)
                    _reset(source)
                    _reset(sink)
                    return
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def _left(self, cuts: list[int], size: int) -> int | None:
        """How much of a piece still passes before a cut that is due in it."""
        with self._lock:
            if not cuts:
                return None
            if cuts[0] > size:
                cuts[0] -= size
                return None
            self.cuts += 1
            return cuts.pop(0)

    def _holds(self, size: int) -> bool:
        with self._lock:
            self._passed_up += size
        if self.hold_up is None or self._passed_up <= self.hold_up:
            return False
        self.held.set()
        return True


@contextmanager
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
