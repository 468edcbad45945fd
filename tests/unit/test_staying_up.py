"""`trainmaster up` goes on where the machine is busy for a while, and ends where nobody will answer any more."""

from __future__ import annotations

import os
from pathlib import Path

from trainmaster.embedded import launch
from trainmaster.laptop import SILENT_SECONDS, Hearing


class Time:
    """As a test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whoever_does_not_answer_for_a_while_is_busy_and_whoever_never_does_has_ended() -> None:
    time = Time()
    hearing = Hearing(time)
    for now, answers in ((1, True), (SILENT_SECONDS, False), (SILENT_SECONDS + 1, False)):
        time.now = now
        assert not hearing.is_lost(answers=answers)
    time.now += 0.1
    assert hearing.is_lost(answers=False)


def test_whoever_answers_again_has_all_the_time_again() -> None:
    time = Time()
    hearing = Hearing(time)
    for _ in range(5):
        time.now += SILENT_SECONDS
        assert not hearing.is_lost(answers=False)
        assert not hearing.is_lost(answers=True)


def test_an_embedded_aws_whose_process_is_gone_has_ended_at_once(tmp_path: Path) -> None:
    assert launch.has_ended(tmp_path)
    (tmp_path / "lock").write_text(str(os.getpid()))
    assert not launch.has_ended(tmp_path)
