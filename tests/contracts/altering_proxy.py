"""A TCP proxy on loopback that alters what passes it, and remembers how each request began."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 64 << 10


@dataclass
class AlteringProxy:
    """On its way to the server `before` becomes `after`, which is as long, wherever it passes in one piece.

    From the server one bit is another after `spoil_down` bytes. `altered` says whether either was.
    """

    upstream: str
    before: bytes = b""
    after: bytes = b""
    spoil_down: int | None = None
    heads: list[bytes] = field(default_factory=list)
    altered: bool = False

    def __post_init__(self) -> None:
        target = urlsplit(self.upstream)
        self._target = (str(target.hostname), target.port or 80)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{target.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> AlteringProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pass_up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass_down, args=(server, client), daemon=True).start()

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while piece := client.recv(PIECE):
                if b" HTTP/1.1\r\n" in piece:
                    self.heads.append(piece)
                if self.before and self.before in piece:
                    self.altered, piece = True, piece.replace(self.before, self.after)
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

    def _pass_down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := bytearray(server.recv(PIECE)):
                if self.spoil_down is not None:
                    if self.spoil_down < len(piece):
                        piece[self.spoil_down] ^= 1
                        self.altered, self.spoil_down = True, None
                    else:
                        self.spoil_down -= len(piece)
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
