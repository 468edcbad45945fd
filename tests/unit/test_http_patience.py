"""Clients who take their time are not waited for, on real connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn

from trainmaster.http_api.patience import PatientProtocol

SOON = 0.2
WITHIN = 60.0
LARGE = b"x" * (64 << 20)
"""More than the buffers of both ends take."""


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": LARGE})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where everything is answered with something large, by a server that waits for nobody longer than `SOON`."""
    listening = socket.create_server(("127.0.0.1", 0))
    protocol: Any = partial(PatientProtocol, patience=SOON)
    server = uvicorn.Server(uvicorn.Config(answer, http=protocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[:2]
    server.should_exit = True
    thread.join(WITHIN)
    assert not thread.is_alive()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow"], ids=["nothing", "half-a-header"])
def test_a_request_that_does_not_come_ends_its_connection(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address, timeout=WITHIN) as client:
        client.sendall(sent)
        assert client.recv(100) == b""


def test_an_answer_that_nobody_reads_ends_its_connection(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=WITHIN) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1)
        threading.Event().wait(5 * SOON)  # not reading, for longer than anybody waits
        received = 0
        try:
            while piece := client.recv(1 << 20):
                received += len(piece)
        except ConnectionResetError:
            pass
        assert received < len(LARGE)
