"""Nothing of a guarded command outlives whoever started it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainmaster.embedded import processes

ENDS_WITHIN = 90.0

FAMILY = """
import os, subprocess, sys, time
script = "import sys, time; open(sys.argv[1], 'w').write(str(__import__('os').getpid())); time.sleep(600)"
for name, apart in (("grandchild", False), ("runaway", True)):
    subprocess.Popen([sys.executable, "-c", script, f"{sys.argv[1]}/{name}.tmp"], start_new_session=apart)
while not all(os.path.exists(f"{sys.argv[1]}/{name}.tmp") for name in ("grandchild", "runaway")):
    time.sleep(0.01)
open(f"{sys.argv[1]}/child.tmp", "w").write(str(os.getpid()))
"""
LIVES_ON, ENDS = "time.sleep(600)", "sys.exit(7)"


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def family(folder: Path) -> list[int]:
    """The pids of a child, a grandchild and a grandchild that left for a session of its own, once all live."""
    files = [folder / f"{name}.tmp" for name in ("child", "grandchild", "runaway")]
    until(lambda: all(file.exists() and file.read_text() for file in files))
    return [int(file.read_text()) for file in files]


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"import os, signal, sys, time\n{code}", *arguments]


def test_killing_a_child_ends_its_whole_family_those_in_other_sessions_too(tmp_path: Path) -> None:
    child = processes.start(python(FAMILY + LIVES_ON, str(tmp_path)))
    pids = family(tmp_path)
    child.kill()
    assert not any(alive(pid) for pid in pids)


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    child = processes.start(python(FAMILY + ENDS, str(tmp_path)))
    assert child.wait(ENDS_WITHIN) == 7
    assert not any(alive(pid) for pid in family(tmp_path))
    child.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_family_ends_when_its_starter_dies(tmp_path: Path, how: signal.Signals) -> None:
    code = f"from trainmaster.embedded import processes\nprocesses.start({python(FAMILY + LIVES_ON, str(tmp_path))!r})"
    starter = subprocess.Popen(python(f"{code}\ntime.sleep(600)"))
    pids = family(tmp_path)
    starter.send_signal(how)
    starter.wait(ENDS_WITHIN)
    until(lambda: not any(alive(pid) for pid in pids))


def test_sigterm_reaches_the_command_alone_so_that_it_can_end_in_order(tmp_path: Path) -> None:
    code = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n{FAMILY}{LIVES_ON}"
    child = processes.start(python(code, str(tmp_path)))
    family(tmp_path)
    assert child.stop(ENDS_WITHIN) == 3


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FAMILY}{LIVES_ON}"
    child = processes.start(python(code, str(tmp_path)))
    pids = family(tmp_path)
    assert child.stop(0.2) == 128 + signal.SIGKILL
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("code", "expected"), [("sys.exit(0)", 0), ("sys.exit(42)", 42), ("os.kill(os.getpid(), signal.SIGSEGV)", 139)]
)
def test_the_exit_code_is_the_commands_as_a_shell_tells_it(code: str, expected: int) -> None:
    child = processes.start(python(code), stderr=subprocess.DEVNULL)
    assert child.wait(ENDS_WITHIN) == expected
    child.kill()


def test_a_command_that_does_not_exist_exits_127_and_says_so() -> None:
    child = processes.start(["/no/such/command"], stderr=subprocess.PIPE)
    assert child.stderr
    said = child.stderr.read()
    assert child.wait(ENDS_WITHIN) == 127
    assert b"/no/such/command: No such file or directory" in said
    child.stderr.close()
    child.kill()


def test_output_comes_through_as_it_is_written() -> None:
    child = processes.start(python("print('one', flush=True)\ntime.sleep(600)"), stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"one\n"
    child.kill()
    child.stdout.close()


def test_the_command_inherits_neither_the_lifeline_nor_other_files(tmp_path: Path) -> None:
    code = "print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
    child = processes.start(python(code), stdout=subprocess.PIPE)
    assert child.stdout
    said = child.stdout.read()
    child.kill()
    child.stdout.close()
    assert said.startswith(b"[0, 1, 2, 3]")  # 3 is the listing itself


def test_each_of_many_children_ends_alone_and_may_be_killed_twice() -> None:
    children = [processes.start(["sleep", "600"]) for _ in range(8)]
    children[3].kill()
    assert [child.poll() is None for child in children] == [n != 3 for n in range(8)]
    for child in children:
        child.kill()
    assert all(child.poll() is not None for child in children)


def test_the_exit_code_is_a_shells_when_the_guard_itself_is_killed() -> None:
    child = processes.start(python(LIVES_ON))
    os.kill(child.pid, signal.SIGKILL)
    assert (child.wait(ENDS_WITHIN), child.poll(), child.stop(0)) == (137, 137, 137)
