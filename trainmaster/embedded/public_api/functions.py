"""Lambda functions that run: each in processes of its own, kept warm, a few at once, with its timeout and memory held."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.awslambda.models import lambda_backends

from trainmaster.embedded import processes
from trainmaster.embedded.permissions.role_sessions import session_environment
from trainmaster.embedded.sagemaker import logs
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from moto.awslambda.models import LambdaFunction

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
AT_ONCE = 6
"""Processes of one function. AWS starts a thousand; who comes when all are at work waits a little, then is throttled."""
INIT_SECONDS = 20.0
WAIT_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOT_KEPT = Path(os.devnull)


@dataclass(frozen=True)
class Invoked:
    """What a function answered: its result, or what went wrong, as JSON."""

    payload: bytes
    failed: bool = False


class Ended(Exception):  # noqa: N818 - it is how a process goes, not always an error
    """Raised when a process of a function ended, or was ended, before it answered."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Process:
    """One warm process of a function as it was when the process started."""

    def __init__(self, account: Account, function: LambdaFunction, folder: Path) -> None:
        self.revision, self._memory = revision(function), int(function.memory_size) << 20
        now = datetime.now(UTC)
        stream = f"{now:%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
        group = f"/aws/lambda/{function.function_name}"
        self._log = FunctionLog(account.logs, stream, group=group)
        ours, theirs = socket.socketpair()
        environment = {
            **account.client_environment,
            **session_environment(account, str(function.role), str(function.function_name)),
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": str(function.handler),
            "NO_PROXY": os.environ.get("NO_PROXY", ""),
            "no_proxy": os.environ.get("no_proxy", ""),
            **{name: str(value) for name, value in function.environment_vars.items()},
        }
        with theirs:
            self._child = processes.start(
                [sys.executable, str(BOOTSTRAP), str(folder), str(function.handler)],
                env=environment, cwd=folder, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert self._child.stdout
        arguments = (self._child.stdout.fileno(), self._log, _NOT_KEPT, lambda _lines: None)
        threading.Thread(target=logs.follow, args=arguments, name=f"log of {group}", daemon=True).start()
        self._channel, self._rest, self._pid = ours, b"", 0
        try:
            said = self._read(time.monotonic() + INIT_SECONDS)
        except Ended:
            self.close()
            raise
        if "failed" in said:
            self.close()
            raise Ended(said["failed"]["errorType"], said["failed"]["errorMessage"])
        self._pid = int(said["ready"])

    def invoke(self, function: LambdaFunction, event: Any) -> Invoked:
        """Raises Ended when the process did not live to answer; it is gone then."""
        request_id, seconds = str(uuid.uuid4()), float(function.timeout)
        asked = {
            "request_id": request_id,
            "arn": function.function_arn,
            "deadline": time.time() + seconds,
            "event": event,
        }
        try:
            self._channel.sendall(json.dumps(asked).encode() + b"\n")
            said = self._read(time.monotonic() + seconds)
        except (Ended, OSError) as error:
            self.close()
            kind = error.kind if isinstance(error, Ended) else "Runtime.ExitError"
            if kind == "Sandbox.Timedout":
                message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
            else:
                message = f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
            with suppress(ClientError):
                self._log.put([(int(time.time() * 1000), message)])
            raise Ended(kind, message) from error
        if "failed" in said:
            return Invoked(json.dumps(said["failed"]).encode(), failed=True)
        return Invoked(said["result"].encode())

    def close(self) -> None:
        self._channel.close()
        self._child.kill()

    def _read(self, deadline: float) -> dict[str, Any]:
        self._channel.settimeout(_LOOK_SECONDS)
        while b"\n" not in self._rest:
            try:
                data = self._channel.recv(1 << 20)
            except TimeoutError:
                if self._used() > self._memory:
                    raise Ended("Runtime.ExitError", "it took more memory than it has") from None
                if time.monotonic() > deadline:
                    raise Ended("Sandbox.Timedout", "it took longer than it may") from None
                continue
            if not data:
                raise Ended("Runtime.ExitError", "it ended")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def _used(self) -> int:
        try:
            return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0  # it has ended, or not said yet which it is


class FunctionLog(logs.LogStream):
    """A stream in a function's log group. Lambda makes no group it has no right to make: lines without one are lost, as on AWS."""

    def _create(self) -> None:
        with suppress(self._logs.exceptions.ResourceAlreadyExistsException):
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._name)
        self._exists = True


@dataclass
class _Crew:
    """The processes of one function: those that wait for an event, and how many more may be started."""

    idle: list[Process] = field(default_factory=list)
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))


class Functions:
    """Every function that moto knows of, and its processes. Safe to share between threads."""

    def __init__(self, account: Account) -> None:
        self._account, self._folder = account, account.state / "functions"
        self._crews: dict[str, _Crew] = defaultdict(_Crew)
        self._lock, self._closed = threading.Lock(), False

    def invoke(self, name: str, payload: bytes) -> Invoked:
        """Raises AwsError: ResourceNotFoundException, InvalidRequestContentException, TooManyRequestsException."""
        function = self._function(name)
        try:
            event = json.loads(payload or b"{}")
        except ValueError as error:
            raise AwsError(
                "InvalidRequestContentException", f"Could not parse request body into json: {error}"
            ) from None
        with self._lock:
            crew = self._crews[function.function_name]
        if not crew.places.acquire(timeout=WAIT_SECONDS):
            raise AwsError("TooManyRequestsException", "Rate Exceeded.", status=429, Reason="ConcurrentInvocationLimitExceeded")  # fmt: skip
        try:
            process = self._taken(crew, function)
            answer = process.invoke(function, event)
            self._put_back(crew, process)
        except Ended as ended:
            return Invoked(json.dumps({"errorType": ended.kind, "errorMessage": str(ended)}).encode(), failed=True)
        finally:
            crew.places.release()
        return answer

    def forget_deleted(self) -> None:
        """End the processes of functions that are no more."""
        backend = lambda_backends[self._account.account_id][self._account.region]
        living = {function.function_name for function in backend.list_functions()}
        with self._lock:
            gone = [self._crews.pop(name) for name in list(self._crews) if name not in living]
        for process in (process for crew in gone for process in crew.idle):
            process.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = [process for crew in self._crews.values() for process in crew.idle]
            self._crews.clear()
        for process in idle:
            process.close()

    def _function(self, name: str) -> LambdaFunction:
        backend = lambda_backends[self._account.account_id][self._account.region]
        wanted = name.rpartition(":function:")[2].partition(":")[0]
        for function in backend.list_functions():
            if function.function_name == wanted:
                return function
        raise AwsError("ResourceNotFoundException", f"Function not found: {name}", status=404)

    def _taken(self, crew: _Crew, function: LambdaFunction) -> Process:
        while True:
            with self._lock:
                process = crew.idle.pop() if crew.idle else None
            if process is None:
                return Process(self._account, function, self._unpacked(function))
            if process.revision == revision(function):
                return process
            process.close()

    def _put_back(self, crew: _Crew, process: Process) -> None:
        with self._lock:
            if not self._closed:
                crew.idle.append(process)
                return
        process.close()

    def _unpacked(self, function: LambdaFunction) -> Path:
        """The folder of the function's code, named by its content."""
        digest = revision(function)[0][:16].replace("/", "_")
        folder = self._folder / str(function.function_name) / digest
        with self._lock:
            if not folder.exists():
                new = folder.with_suffix(".new")
                with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as code:
                    code.extractall(new)  # refuses what would lie outside
                new.rename(folder)
        return folder


def revision(function: LambdaFunction) -> tuple[str, ...]:
    """What a process must be started anew for."""
    settings = (function.handler, function.memory_size, sorted(function.environment_vars.items()))
    return (str(function.code_sha_256), *map(str, settings))
