"""A Prefect server of this project's own on loopback, started as a child that cannot outlive us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from trainmaster.embedded import processes
from trainmaster.errors import WaitTimedOutError

READY_SECONDS = 180
"""A fresh database on a busy laptop takes 20."""


class PrefectServer:
    """Starts at once and becomes healthy later: other work can go on meanwhile. Its database lies below `state`.

    A server that serves the same state folder already is used instead, and left running.
    """

    def __init__(self, state: Path, port: int | None = None) -> None:
        self.home = state.absolute() / "prefect"
        self.home.mkdir(parents=True, exist_ok=True)
        self._child: processes.Child | None = None
        self._serving = self.home / "serving"
        if found := self._found():
            self.ui_url = found
            return
        port = port or free_port()
        self.ui_url = f"http://127.0.0.1:{port}"
        with self.log.open("wb") as log:
            self._child = processes.start(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
                env={**os.environ, **self.environment, "PREFECT_UI_API_URL": self.api_url, **_SERVER_SETTINGS},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    @property
    def pages(self) -> str:
        """Where people look. Without /v2 a link leads into the older of Prefect's two UIs, which is not the one its front page is."""
        return f"{self.ui_url}/v2"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a flow, worker or `prefect` command needs to use this server."""
        profiles = str(self.home / "profiles.toml")
        return {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_UI_URL": self.pages,
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": profiles,
        }

    def wait_until_healthy(self) -> None:
        """Raises WaitTimedOutError, with the end of the server's log, when it stops or is not healthy in time."""
        if self._child is None:
            return
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            if _healthy(self.ui_url):
                self._serving.write_text(f"{os.getpid()} {self.ui_url}")
                return
            time.sleep(0.1)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise WaitTimedOutError(f"The Prefect server did not become healthy; the end of {self.log}:\n{tail}")

    def is_serving(self) -> bool:
        """True while it answers."""
        return not self.has_ended() and _healthy(self.ui_url)

    def has_ended(self) -> bool:
        """True once the process is gone that was started here; of another's nobody knows."""
        return self._child is not None and self._child.poll() is not None

    def _found(self) -> str | None:
        """The address of a server of this home, as long as the process that started it lives: the port may be another's by now."""
        if not self._serving.exists():
            return None
        pid, _, url = self._serving.read_text().partition(" ")
        return url if Path(f"/proc/{pid}").exists() and _healthy(url) else None

    def close(self) -> None:
        """Stop it, if it is ours; bounded."""
        if self._child:
            self._serving.unlink(missing_ok=True)
            self._child.stop(grace=10)


def _healthy(ui_url: str) -> bool:
    try:
        with _NO_PROXY.open(f"{ui_url}/api/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy meant for the world outside cannot reach this machine's loopback."""

_SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The defaults record 30 to 37 task runs a second; these 80 to 180.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


def free_port(wanted: int = 0) -> int:
    """A loopback port nobody listens on: `wanted` when it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
