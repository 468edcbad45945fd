"""Child processes that never outlive the one that started them, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")


class Child:
    """A running command with all its descendants. Its exit code is that of a shell: 128 + n when signal n ended it."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int) -> None:
        self._process, self._lifeline = process, lifeline

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._process.stderr

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        code = self._process.poll()
        return None if code is None else _as_in_a_shell(code)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; raises subprocess.TimeoutExpired after `timeout` seconds."""
        return _as_in_a_shell(self._process.wait(timeout))

    def terminate(self) -> None:
        """SIGTERM to the command alone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command and every descendant at once, and wait until they are gone."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._process.wait()

    def stop(self, grace: float) -> int:
        """SIGTERM, up to `grace` seconds to end by itself, then everything is killed. Returns the exit code."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()
        return _as_in_a_shell(self._process.returncode)


def _as_in_a_shell(code: int) -> int:
    """The guard's own exit code is negative when a signal ended it."""
    return 128 - code if code < 0 else code


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Child:
    """Start a command in a session of its own. A command that cannot be run exits 127 and says so on stderr."""
    read, write = os.pipe()  # neither end is inherited by other children: Python opens pipes close-on-exec
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(read), *command],
            env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=[read], start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    return Child(process, write)
