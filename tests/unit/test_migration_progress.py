"""How far a batch is, on the line of a terminal, while it runs."""

from __future__ import annotations

import io
import time

import pytest

from trainmaster.commands.datasets.migration import following
from trainmaster.commands.terminal import progress as progress_module
from trainmaster.commands.terminal.progress import Progress
from trainmaster.storage.copy import Tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bytes_of_a_batch_at_work_are_shown_and_what_is_said_stays_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_AFTER", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    stream, tally, deadline = Terminal(), Tally(), time.monotonic() + 90
    with Progress(200, stream) as progress, following(tally, progress):
        tally.read(50)
        while " 25% of 200 bytes" not in stream.getvalue():
            assert time.monotonic() < deadline, stream.getvalue()
            time.sleep(0.02)
        progress.say("Batch 1: done")
    assert "\r\033[KBatch 1: done\n" in stream.getvalue()
    assert stream.getvalue().endswith("\r\033[K")


def test_on_a_terminal_with_colours_they_are_a_bar_that_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(progress_module, "EVERY", 0.0)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with Progress(200, stream) as progress:
        progress.show(50)
        assert " 25% of 200 bytes" in stream.getvalue()
        progress.say("Batch [1]: done")
        progress.show(200)
    assert "100% of 200 bytes" in stream.getvalue()
    assert "Batch [1]: done\n" in stream.getvalue(), "as it is, no markup"
    assert "━" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K"), "the line of the bar is erased"
    assert "\x1b[?25h" in stream.getvalue(), "the cursor is there again"


def test_nothing_but_lines_that_stay_is_written_into_a_file() -> None:
    stream, tally = io.StringIO(), Tally()
    with Progress(200, stream) as progress, following(tally, progress):
        tally.read(50)
        progress.say("Batch 1: done")
    assert stream.getvalue() == "Batch 1: done\n"
