"""A terminal of a person who follows a page: one bash in a folder, whose commands are waited for only so long."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from documented_commands import LEFT_RUNNING, Command, is_as_shown

from trainmaster.embedded import processes

WITHIN = 400.0
"""Seconds for one command: everything is started in some of them."""


STOPPED_WITHIN = 60.0


@dataclass(frozen=True)
class Said:
    """What a command printed, on either stream, and how it ended."""

    text: str
    exit_code: int


class Terminal:
    """Commands keep what those before them changed: folder, variables, processes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._running: list[processes.Child] = []
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=environment, text=True, bufsize=1, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def type(self, command: Command) -> Said:
        """What came of it. Raises AssertionError when it does not end in time, or the shell does."""
        if command.is_left_running:
            return self._leave_running(command)
        assert self._bash.stdin
        end = f"ended-{uuid.uuid4().hex}"
        self._bash.stdin.write(f"{{ {command.typed}\n}} </dev/null\nprintf '\\n%s %s\\n' {end} $?\n")
        said, deadline = "", time.monotonic() + WITHIN
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"{command}\ndid not end within {WITHIN:.0f} s. It said:\n{said}") from None
            assert line is not None, f"{command}\nended the shell. It said:\n{said}"
            if line.startswith(end):
                return Said(said, int(line.split()[1]))
            said += line

    def close(self) -> None:
        """End what was left running, the shell, and whatever either started."""
        for process in self._running:
            process.stop(STOPPED_WITHIN)
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()

    def _leave_running(self, command: Command) -> Said:
        """As in a terminal of its own, until it has said what the page shows."""
        output = self._folder / f".left-running-{len(self._running)}"
        with output.open("wb") as log:
            process = processes.start(
                ["bash", "-c", f"exec {command.typed.removesuffix(LEFT_RUNNING)}"], cwd=self._folder,
                env=self._environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(process)
        deadline = time.monotonic() + WITHIN
        while not is_as_shown(command.answer, said := output.read_text()):
            assert (code := process.poll()) is None, f"{command}\nended with {code}. It said:\n{said}"
            assert time.monotonic() < deadline, f"{command}\nshould say\n{command.answer}\nand says\n{said}"
            time.sleep(0.2)
        return Said(said, 0)

    def _read(self) -> None:
        assert self._bash.stdout
        for line in self._bash.stdout:
            self._lines.put(line)
        self._lines.put(None)
