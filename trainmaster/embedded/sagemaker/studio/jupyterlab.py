"""JupyterLab on this machine: one for each app, on loopback with a token of its own, in the folder of its space."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainmaster.embedded import processes
from trainmaster.embedded.sagemaker import python
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.studio.idleness import Activity
from trainmaster.embedded.state import State

BASE = "/jupyterlab/default/"
"""As on AWS."""
STARTUP_SECONDS = 120.0
STOP_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_ATTEMPTS = 3
"""Somebody may take a port between our choice and JupyterLab's start."""
_PORT_TAKEN = "is not available"
_LAST_WORDS = 700
_DEFAULTS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
"""It asks nobody outside for anything, and no user whether it may."""
_NOT_NEEDED = ("jupyter_lsp", "notebook_shim")
"""Extensions that JupyterLab does without, and starts sooner."""


class LabFailedError(Exception):
    """Raised when a JupyterLab did not come up; the message is for people."""


class LabSilentError(Exception):
    """Raised when a JupyterLab that ran does not answer."""


class Lab:
    """A JupyterLab that answers. Ends with its kernels and terminals, however this process ends."""

    def __init__(self, child: processes.Child, port: int, token: str) -> None:
        self._child, self._token = child, token
        self._address = f"http://127.0.0.1:{port}{BASE}"

    def url(self, path: str = "lab") -> str:
        """Where a browser is let in: a secret."""
        return f"{self._address}{path.lstrip('/')}?token={quote(self._token)}"

    @property
    def ended(self) -> int | None:
        """The exit code; None while it runs."""
        return self._child.poll()

    def activity(self) -> Activity:
        """Raises LabSilentError."""
        status, kernels = self._get("api/status"), self._get("api/kernels")
        last = datetime.fromisoformat(status["last_activity"]).timestamp()
        return Activity(last, any(kernel["execution_state"] == "busy" for kernel in kernels))

    def answers(self) -> bool:
        try:
            self._get("api/status")
        except LabSilentError:
            return False
        return True

    def stop(self) -> None:
        self._child.stop(STOP_SECONDS)

    def kill(self) -> None:
        self._child.kill()

    def _get(self, path: str) -> Any:
        # no_track_activity: our looking is nobody's work
        request = urllib.request.Request(  # noqa: S310 - http, on loopback
            f"{self._address}{path}?no_track_activity=1", headers={"Authorization": f"token {self._token}"}
        )
        try:
            with _opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise LabSilentError(f"{type(error).__name__}: {error}") from error


class Labs:
    """All that run, by the keys of their apps. Safe to share between threads. Where they are not real, apps run in name only."""

    def __init__(self, account: Account, *, real: bool) -> None:
        self._account, self.are_real = account, real
        self._lock = threading.Lock()
        self._running: dict[str, Lab] = {}
        self.are_closed = False

    def of(self, key: str) -> Lab | None:
        with self._lock:
            return self._running.get(key)

    def start(self, key: str, folder: Path) -> None:
        """Back when it answers. Raises LabFailedError."""
        importlib.invalidate_caches()  # it may have been installed since we started
        if importlib.util.find_spec("jupyterlab") is None:
            raise LabFailedError(
                "JupyterLab is not installed beside this embedded AWS: `pip install trainmaster[studio]`, or `make studio`, "
                "then start the app again."
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            lab, said = self._launched(key, folder)
            while lab.ended is None and time.monotonic() < deadline and not self.are_closed:
                if lab.answers():
                    return
                time.sleep(_LOOK_SECONDS)
            code, why = lab.ended, said.read_text(errors="replace")[-_LAST_WORDS:].strip()
            self.stop(key)
            if code is None:
                raise LabFailedError(f"JupyterLab did not answer within {STARTUP_SECONDS:.0f} s. It said: {why}")
            if attempt == _ATTEMPTS or _PORT_TAKEN not in why:
                raise LabFailedError(f"JupyterLab ended with exit code {code} while it started. It said: {why}")

    def stop(self, key: str) -> None:
        """End it with everything it started; it may be gone already."""
        with self._lock:
            lab = self._running.pop(key, None)
        if lab:
            lab.stop()

    def close(self) -> None:
        """End all at once; none starts any more."""
        with self._lock:
            self.are_closed = True
            running = list(self._running.values())
            self._running.clear()
        for lab in running:
            lab.kill()

    def _launched(self, key: str, folder: Path) -> tuple[Lab, Path]:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = self._account.state / "studio-servers" / key.replace("/", "-")
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True, mode=0o700)
        settings = own / "config/labconfig/default_setting_overrides.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(_DEFAULTS))
        token, said = secrets.token_urlsafe(32), own / "jupyterlab.log"
        with self._lock:
            if self.are_closed:
                raise LabFailedError("The embedded AWS ends.")
            name = f"jupyterlab {key}"
            port = State(self._account.state).ports([name], {})[name]
            with said.open("wb") as log:
                child = processes.start(
                    _command(port, folder), env=self._environment(folder, own, token), cwd=folder,
                    stdout=log, stderr=subprocess.STDOUT,
                )  # fmt: skip
            lab = self._running[key] = Lab(child, port, token)
        return lab, said

    def _environment(self, folder: Path, own: Path, token: str) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{python.SYSTEM_PATH}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
            "NO_PROXY": os.environ.get("NO_PROXY", ""),
            "no_proxy": os.environ.get("no_proxy", ""),
            **self._account.client_environment,
            "JUPYTER_TOKEN": token,
            "JUPYTER_RUNTIME_DIR": str(own),
            "JUPYTER_CONFIG_PATH": str(own / "config"),
        }


def _command(port: int, folder: Path) -> list[str]:
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.base_url": BASE,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.jpserver_extensions": dict.fromkeys(_NOT_NEEDED, False),  # read as Python
        "LabApp.extension_manager": "readonly",
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())]


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
