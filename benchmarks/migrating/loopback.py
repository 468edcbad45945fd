"""The bound: the same bytes, object by object, from one process through another to a third over plain sockets of this machine.

Nothing is asked but a length and nothing answered but one byte; nothing is parsed, signed, checked or kept. Runs as a program of its
own: `loopback.py give`, `loopback.py take` (each prints its port), `loopback.py copy <port> <port> <sizes.json>`.
"""

from __future__ import annotations

import json
import queue
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

CONNECTIONS = 4
_LENGTH = struct.Struct("<Q")
_BUFFER = 1 << 18


def give(connection: socket.socket) -> None:
    """Sends as many bytes as it is asked for."""
    block = memoryview(bytes(1 << 22))
    while asked := connection.recv(_LENGTH.size, socket.MSG_WAITALL):
        (left,) = _LENGTH.unpack(asked)
        while left:
            left -= connection.send(block[:left])


def take(connection: socket.socket) -> None:
    """Reads as many bytes as it is told of, and says so."""
    buffer = memoryview(bytearray(_BUFFER))
    while told := connection.recv(_LENGTH.size, socket.MSG_WAITALL):
        (left,) = _LENGTH.unpack(told)
        while left:
            left -= connection.recv_into(buffer[:left])
        connection.sendall(b"1")


def copy(giver: int, taker: int, sizes: list[int]) -> None:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for size in sizes:
        waiting.put(size)
    threads = [threading.Thread(target=_copy, args=(giver, taker, waiting)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _copy(giver: int, taker: int, waiting: queue.SimpleQueue[int]) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    with (
        socket.create_connection(("127.0.0.1", giver)) as source,
        socket.create_connection(("127.0.0.1", taker)) as sink,
        suppress(queue.Empty),
    ):
        for each in (source, sink):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            left = waiting.get_nowait()
            source.sendall(_LENGTH.pack(left))
            sink.sendall(_LENGTH.pack(left))
            while left:
                read = source.recv_into(buffer[:left])
                sink.sendall(buffer[:read])
                left -= read
            sink.recv(1)


def serve(answer: Callable[[socket.socket], None]) -> None:
    """Until it is killed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            connection = listening.accept()[0]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def main() -> None:
    match sys.argv[1:]:
        case ["give"]:
            serve(give)
        case ["take"]:
            serve(take)
        case ["copy", giver, taker, sizes]:
            with open(sizes) as file:  # noqa: PTH123 - pathlib would be a third of its memory
                copy(int(giver), int(taker), json.load(file))


if __name__ == "__main__":
    main()
