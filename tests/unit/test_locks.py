"""What is locked by itself can be installed beside everything else: no package is in two locks by two versions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_jupyterlab_is_locked_with_the_versions_that_everything_else_has() -> None:
    everything, studio = pins("requirements.lock"), pins("requirements-studio.lock")
    assert "jupyterlab" in studio
    assert {name: (everything[name], studio[name]) for name in everything.keys() & studio.keys() if everything[name] != studio[name]} == {}  # fmt: skip


def test_no_lock_names_a_registry() -> None:
    for lock in ("requirements.lock", "requirements-studio.lock"):
        assert "://" not in (ROOT / lock).read_text()


def test_make_up_sets_up_the_jupyterlab_that_workspaces_open() -> None:
    would = subprocess.run(
        ["make", "--dry-run", "up", "VENV=nowhere"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "requirements-studio.lock" in would.stdout
