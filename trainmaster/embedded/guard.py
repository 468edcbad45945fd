"""Runs one command and makes sure nothing of it outlives whoever started this.

`python guard.py LIFELINE COMMAND…`: LIFELINE is the read end of a pipe whose other end only the starter holds. The kernel closes
it however the starter dies, SIGKILL included; then, and when the command ends, every process descended from the command
is killed. SIGTERM is passed on to the command alone, as a container's init gets it. Needs the standard library only.
"""

import ctypes
import os
import select
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(lifeline: int, command: list[str]) -> int:
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(lifeline, False)
    child = os.fork()
    if child == 0:
        run(command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))

    while True:
        readable, _, _ = select.select([lifeline, wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
        status = reap(child)
        if status is not None or lifeline in readable:
            kill_all(child)
            return 128 + signal.SIGKILL if status is None else status


def run(command: list[str]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def reap(child: int) -> int | None:
    """Collect what has ended; the command's exit code (128 + n for signal n) when it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def kill_all(child: int) -> None:
    """Kill the command's group and every descendant, those that left the group too, until none is left."""
    while True:
        for pid in [-child, *descendants(os.getpid())]:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # gone already; or another user's, which only its own parent may end
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue  # it ended meanwhile
        for one in children:
            found += [one, *descendants(one)]
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
