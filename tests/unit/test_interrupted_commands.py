"""Ctrl-C ends a command with one line and 130 at any time, also before it has loaded what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, sys

class AtImport:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
from trainmaster.cli import main
sys.exit(main({typed}))
"""


@pytest.mark.parametrize(
    ("module", "typed"),
    [
        ("trainmaster.commands.workspaces.standing", ["list"]),
        ("trainmaster.commands.workspaces.options", ["launch", "python-ml", "box"]),
        ("trainmaster.budget.ledger", ["budget", "show"]),
    ],
    ids=["list", "launch", "budget"],
)
def test_ctrl_c_while_a_command_is_loaded_ends_it_with_a_line(module: str, typed: list[str]) -> None:
    program = INTERRUPTED.format(module=module, typed=typed)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "Interrupted. The same command may be given again."
