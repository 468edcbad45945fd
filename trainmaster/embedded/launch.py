"""The embedded AWS for as long as a block runs: an own one, or that which serves the state folder already."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from trainmaster.embedded import processes
from trainmaster.embedded.state import State
from trainmaster.errors import TrainmasterError

_READY_WITHIN = 90.0
_STOPPED_WITHIN = 10.0


class DidNotStartError(TrainmasterError):
    """Raised when the embedded AWS ended or hung while starting; the message is what it said."""


@contextmanager
def running(state: Path, **options: str | float) -> Iterator[dict[str, str]]:
    """The environment a client needs. `options` are those of `trainmaster embedded`, e.g. `stop_grace=2`.

    One that serves the folder already is used, whatever its options, and left to whoever started it.
    """
    if (environment := _answering(state)) is not None:
        yield environment
        return
    state.mkdir(parents=True, exist_ok=True)
    said = state / "start.log"
    command = [sys.executable, "-m", "trainmaster.embedded.command", "--state", str(state)]
    command += [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with said.open("wb") as log:
        child = processes.start(command, stdout=log, stderr=log)
    try:
        yield _started(state, child, said)
    finally:
        child.stop(_STOPPED_WITHIN)


def is_serving(state: Path) -> bool:
    """True while an embedded AWS serves the folder and answers."""
    return _answering(state) is not None


def has_ended(state: Path) -> bool:
    """True where no process is left that serves the folder, or is about to."""
    return not State(state).has_live_claim()


def _started(state: Path, child: processes.Child, said: Path) -> dict[str, str]:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        ended = child.poll() is not None
        if (environment := _answering(state)) is not None:
            return environment
        # When the child gave way to another that is starting on the same folder, that one will answer.
        if (ended and not State(state).has_live_claim()) or time.monotonic() > deadline:
            raise DidNotStartError(said.read_text(errors="replace").strip() or "The embedded AWS said nothing.")
        time.sleep(0.02)


def _answering(state: Path) -> dict[str, str] | None:
    """The environment of whoever serves the folder, when it answers and says that it does."""
    environment = State(state).serving()
    if environment is None:
        return None
    address = urlsplit(environment["AWS_ENDPOINT_URL"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    try:
        connection.request("GET", "/_trainmaster/health")
        said = json.loads(connection.getresponse().read())
        return environment if said.get("state") == str(state.resolve()) else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
