"""Where JupyterLab is not installed an app says so, and how to install it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.studio.jupyterlab import LabFailedError, Labs


def test_without_jupyterlab_nothing_starts_and_the_reason_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://127.0.0.1:9"
    labs = Labs(Account(tmp_path, Records(tmp_path / "records.db"), address, address, "key", "secret"), real=True)
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    with pytest.raises(LabFailedError, match=r"pip install trainmaster\[studio\]"):
        labs.start("d-1/notes/jupyterlab/default", tmp_path / "notes")
    assert not (tmp_path / "notes").exists()
