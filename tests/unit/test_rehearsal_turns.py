"""A turn to rehearse is somebody's until it runs out, or its holder is seen to be dead."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trainmaster.endpoints.turns import LASTS, TURN_TAG, Turn


def test_who_has_it_can_be_read_from_the_tag_by_everybody() -> None:
    turn = Turn.begun()
    there = Turn.read({"Name": "x", **turn.tags()})
    assert there
    assert (there.holder, there.until) == (turn.holder, turn.until.replace(microsecond=0))
    assert not there.is_over()
    assert Turn.begun().holder != turn.holder


@pytest.mark.parametrize("tags", [{}, {TURN_TAG: ""}, {TURN_TAG: "somebody"}, {TURN_TAG: "somebody for ever"}])
def test_what_says_nothing_of_it_is_nobodys(tags: dict[str, str]) -> None:
    assert Turn.read(tags) is None


def test_it_runs_out_unless_it_is_renewed() -> None:
    turn = Turn.begun()
    assert turn.renewed() is turn, "that would be a call for nothing"
    old = replace(turn, until=datetime.now(UTC) - timedelta(seconds=1))
    assert old.is_over()
    assert old.renewed().until >= datetime.now(UTC) + LASTS - timedelta(minutes=1)
    assert not old.renewed().is_over()


def test_a_process_of_this_machine_that_is_no_more_has_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = Turn.begun()
    of_the_dead = replace(mine, holder=mine.holder.replace(f":{os.getpid()}:", f":{ended.pid}:"))
    assert of_the_dead.is_over()
    elsewhere = replace(of_the_dead, holder=f"elsewhere:{ended.pid}:abc")
    assert not elsewhere.is_over(), "nobody here can see whether it lives"
