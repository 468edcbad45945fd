"""The folder the embedded AWS lives in: who serves it, with which credentials, on which ports."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import socket
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PORTS = range(20_000, 32_768)
"""Below those a system gives to outgoing connections, one of which could take a port between our choice and its server's start."""
_BACKLOG = 1024


class AlreadyServedError(Exception):
    """Raised when another process serves this state folder."""


class PortTakenError(Exception):
    """Raised when a port that was asked for is in use."""


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True)
class State:
    """One state folder, open to its owner alone."""

    folder: Path

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """For as long as the block runs, or this process lives, nobody else may serve the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # it holds what users give their jobs and models, passwords among it
        announcement = self.folder / "serving.json"
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyServedError(self._said_by_the_other()) from None
            announcement.unlink(missing_ok=True)  # left by one that was killed
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                announcement.unlink(missing_ok=True)

    def has_live_claim(self) -> bool:
        """Whether the process that claimed the folder last is alive: it serves the folder, or is about to."""
        try:
            os.kill(int((self.folder / "lock").read_text()), 0)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return False
        except PermissionError:
            pass  # another user's
        return True

    def announce(self, environment: Mapping[str, str]) -> None:
        """Tell others that this process serves the folder, and the environment its clients need."""
        self._write("serving.json", environment)

    def serving(self) -> dict[str, str] | None:
        """The environment announced by whoever serves the folder, who may have died since; None when nobody has."""
        return self._read("serving.json")

    def credentials(self) -> Credentials:
        """Made up once per folder."""
        return Credentials(**self.once("credentials.json", _made_up_credentials))

    def once(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What a file of the folder says, readable by its owner alone; made up where there is none yet."""
        if not self._read(name):
            self._write(name, make())
        return self._read(name) or {}

    def ports(self, names: Sequence[str], given: Mapping[str, int | None]) -> dict[str, int]:
        """A free loopback port for each name: the one given, else that of last time, else any.

        Addresses survive a restart so that shells which evaluated the old ones go on working. Somebody else may take one
        before who asked does.
        """
        chosen: dict[str, int] = {}
        for name, one in self.listening(names, given).items():
            chosen[name] = one.getsockname()[1]
            one.close()
        return chosen

    def listening(self, names: Sequence[str], given: Mapping[str, int | None]) -> dict[str, socket.socket]:
        """The same ports with sockets that listen on them already, which the caller closes. Raises PortTakenError."""
        last = self._read("ports.json") or {}
        with _Held() as held:
            for name in names:
                wanted = given.get(name)
                held.hold(name, wanted) if wanted else held.hold_any(name, last.get(name, 0))
            sockets = held.let_go()
        chosen = {name: one.getsockname()[1] for name, one in sockets.items()}
        self._write("ports.json", {**last, **chosen})
        return sockets

    def _said_by_the_other(self) -> str:
        environment = self.serving()
        where = f"at {environment['AWS_ENDPOINT_URL']}" if environment else "which is starting up"
        return (
            f"{self.folder} is served already by process {(self.folder / 'lock').read_text()}, {where}. "
            "Use that one, stop it first, or choose another folder with --state."
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        new = self.folder / f"{name}.{os.getpid()}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file, indent=1)
        new.replace(self.folder / name)


def _made_up_credentials() -> dict[str, str]:
    return {
        "access_key_id": "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16)),
        "secret_access_key": secrets.token_urlsafe(30),
    }


class _Held:
    """Sockets that listen together, so that no port is chosen twice; closed when the block ends, unless they were let go."""

    def __enter__(self) -> _Held:
        self._sockets: dict[str, socket.socket] = {}
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets.values():
            one.close()

    def hold(self, name: str, wanted: int) -> None:
        """Raises PortTakenError."""
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that lingers in TIME_WAIT is free
        try:
            one.bind(("127.0.0.1", wanted))
            one.listen(_BACKLOG)  # two may be bound to the same until one of them listens
        except OSError as error:
            one.close()
            raise PortTakenError(f"Port {wanted} of 127.0.0.1 cannot be used: {error.strerror}.") from None
        self._sockets[name] = one

    def hold_any(self, name: str, wanted: int) -> None:
        for candidate in filter(None, [wanted, *random.sample(_PORTS, 100)]):
            with suppress(PortTakenError):
                return self.hold(name, candidate)
        return self.hold(name, 0)

    def let_go(self) -> dict[str, socket.socket]:
        sockets, self._sockets = self._sockets, {}
        return sockets
