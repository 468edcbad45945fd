"""One endpoint instance: a model server process, its connections, its log stream."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

from trainmaster.embedded import processes
from trainmaster.embedded.sagemaker import logs, python
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import Container, Isolation
from trainmaster.embedded.sagemaker.serving.artifact import DeploymentError, ModelFiles, Script
from trainmaster.embedded.sagemaker.serving.connection import Connection, address
from trainmaster.embedded.sagemaker.serving.plan import VariantPlan

MODEL_SERVER = Path(__file__).with_name("model_server.py")
NOT_KEPT = Path(os.devnull)
"""Where the copy of a log goes that a training job keeps: an endpoint has no end, so its copy would have none."""
SIGTERM_SECONDS = 30.0
"""Between SIGTERM and SIGKILL, as AWS gives a serving container."""


class NoAnswerError(Exception):
    """Raised when a model server of `variant` gave no answer within `seconds`."""

    def __init__(self, instance: str, variant: str, seconds: float) -> None:
        super().__init__(f"No answer from {variant}/{instance} after {seconds:.3f} s.")
        self.variant, self.seconds = variant, seconds


class InstanceGoneError(NoAnswerError):
    """Raised when the model server closed the connection without an answer: it crashed, or was killed."""

    @property
    def ended(self) -> bool:
        """True when nobody listens any more; else the request may have ended its own thread only."""
        return isinstance(self.__cause__, ConnectionRefusedError)


class InvocationTimeoutError(NoAnswerError):
    """Raised when the model server did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """What the model server said, headers by their names in small letters, and after how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Instance:
    """Starts at once in the background; `wait_until_healthy` says whether it came up. `ended` is called when the process has."""

    def __init__(
        self, account: Account, endpoint: str, plan: VariantPlan, files: ModelFiles,
        *, isolation: Isolation, folder: Path, ended: Callable[[Instance], None],
    ) -> None:  # fmt: skip
        self.id = f"i-0{uuid4().hex[:16]}"
        self.variant = plan.name
        self.requests = 0
        """Requests under way; the fleet's lock guards it."""
        self._healthy_since = 0.0
        self._deadline = time.monotonic() + plan.startup_seconds
        self._isolation, self._state = isolation, account.state
        self._folder = folder / self.id
        self._idle: deque[Connection] = deque()
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._socket = self._folder / "router"
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        self._log = logs.LogStream(account.logs, f"{plan.name}/{self.id}", group=group)
        try:
            script = files.lay_out(self._folder / "ml")
            python.lay_over_ours(self._folder / "python", plan.image)
            self._process = self._started(
                script, environment(account, plan, script, isolation.base(self._folder), self._folder / "python")
            )
        except python.NoPyTorchError as error:
            self._remove()
            raise DeploymentError(str(error)) from error
        except BaseException:
            self._remove()
            raise
        self._output = threading.Thread(target=self._follow, args=(ended,), name=f"{endpoint}/{self.id}", daemon=True)
        self._output.start()

    def wait_until_healthy(self) -> None:
        """Raises DeploymentError when the process ends, or the startup deadline passes, before a ping is answered."""
        try:
            answer = self.request("GET", "/ping", timeout=max(self._deadline - time.monotonic(), 0.001))
        except NoAnswerError:
            raise self._unhealthy() from None
        if answer.status != HTTPStatus.OK:
            raise self._unhealthy()
        self._healthy_since = time.monotonic()

    def check_alive(self) -> None:
        """Raises DeploymentError when the process has ended."""
        if self._ended.is_set():
            raise self._unhealthy()

    @property
    def served_seconds(self) -> float:
        """Since it became healthy."""
        return time.monotonic() - self._healthy_since

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        *, timeout: float,
    ) -> Answer:  # fmt: skip
        """One exchange on a kept connection. Raises InstanceGoneError or InvocationTimeoutError."""
        began = time.perf_counter()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._socket)
        try:
            status, answered, content = connection.exchange(method, path, body, headers or {}, timeout=timeout)
        except OSError as error:
            connection.close()
            reason = InvocationTimeoutError if isinstance(error, TimeoutError) else InstanceGoneError
            raise reason(self.id, self.variant, time.perf_counter() - began) from error
        self._idle.append(connection)
        return Answer(status, answered, content, time.perf_counter() - began)

    def stop(self, grace: float) -> None:
        """End the process and everything it started, send the rest of its log, remove its folder."""
        with self._stopping:
            first = self._isolation.first_process(self._process.pid) if grace else None
            if first is not None:
                with suppress(ProcessLookupError):
                    os.kill(first, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace)
            self._process.kill()
            self._output.join(SIGTERM_SECONDS)
            self._remove()

    def _started(self, script: Script, env: Mapping[str, str]) -> processes.Child:
        base = self._isolation.base(self._folder)
        own_python = self._folder / "python/bin/python"
        command = [str(own_python), "-P", "-u", str(MODEL_SERVER), str(base / script.folder), str(base / "model")]
        # The model server inherits the listening socket as its standard input: a request may be sent before it is up, and fails when it dies.
        with socket.socket(socket.AF_UNIX) as listening:
            with address(self._socket) as name:
                listening.bind(name)
            listening.listen(1024)  # full, it would refuse as if the process had ended
            return processes.start(
                self._isolation.command(Container(self._folder, [self.id], state=self._state), command),
                env=env, cwd=self._folder / "ml",
                stdin=listening.fileno(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _follow(self, ended: Callable[[Instance], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:  # it ends when the process and all it started have ended
            logs.follow(output.fileno(), self._log, NOT_KEPT, lambda _: None)
        self._ended.set()
        ended(self)

    def _unhealthy(self) -> DeploymentError:
        return DeploymentError(
            f"The primary container for production variant {self.variant} did not pass the ping health check. "
            "Please check CloudWatch logs for this endpoint."
        )

    def _remove(self) -> None:
        while self._idle:
            self._idle.pop().close()
        shutil.rmtree(self._folder, ignore_errors=True)  # what another user of the container wrote may not be ours


def environment(account: Account, plan: VariantPlan, script: Script, base: Path, own_python: Path) -> dict[str, str]:
    """The container's environment: AWS's, then the model's own; nothing of ours leaks in. `base` is its /opt/ml."""
    return {
        "PATH": python.search_path(own_python),
        "HOME": str(base),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **account.client_environment,
        "SAGEMAKER_REGION": account.region,
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        **plan.environment,
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_SUBMIT_DIRECTORY": str(base / script.folder),
        "SAGEMAKER_PROGRAM": script.name,
        "SM_MODEL_DIR": str(base / "model"),
    }
