"""Large files in between leave nothing behind: not after an error, not after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainmaster.storage.working_folder import working_folder

STAY = """
import sys
from pathlib import Path
from trainmaster.storage.working_folder import working_folder
with working_folder(Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def folders(below: Path) -> list[Path]:
    return [one for one in below.iterdir() if one.is_dir()]


def test_it_is_gone_when_the_work_is_even_when_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with working_folder(tmp_path / "work") as folder:
            (folder / "large").write_bytes(b"x")
            assert folder.stat().st_mode & 0o077 == 0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert folders(tmp_path / "work") == []


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_uses_stays(tmp_path: Path) -> None:
    def start() -> tuple[subprocess.Popen[str], Path]:
        child = subprocess.Popen(
            [sys.executable, "-c", STAY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout
        return child, Path(child.stdout.readline().strip())

    (killed, left), (living, used) = start(), start()
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=90)
    assert (left / "large").exists()
    with working_folder(tmp_path) as folder:
        assert sorted(folders(tmp_path)) == sorted([used, folder])
    living.communicate("", timeout=90)
    assert folders(tmp_path) == []


def test_many_at_once_each_have_their_own(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with working_folder(tmp_path) as folder:
                    (folder / "mine").touch(exist_ok=False)
                    assert list(folder.iterdir()) == [folder / "mine"]
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert folders(tmp_path) == []
