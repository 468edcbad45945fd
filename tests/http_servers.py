"""The HTTP API on a port of its own, for tests of what a client and a server do to each other's connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from trainmaster.http_api.application import application
from trainmaster.http_api.office import Office

READY_WITHIN = 60.0


@contextmanager
def served(office: Office) -> Iterator[tuple[str, int]]:
    """Host and port, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(application(office), log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + READY_WITHIN
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        host, port = listening.getsockname()[:2]
        yield host, port
        server.should_exit = True
        thread.join(READY_WITHIN)
