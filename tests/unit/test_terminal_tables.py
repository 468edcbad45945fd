"""Tables and facts: for a terminal laid out within its width, for all else the same lines as ever."""

from __future__ import annotations

import io
import re
import sys

import pytest

from trainmaster.commands.terminal.reporting import say
from trainmaster.commands.terminal.tables import labelled, table

ROWS = [
    ("TYPE", "USD", "SOURCE"),
    ("ml.g5.xlarge", "1.408", "AWS Price List, quoted in notes [bold]as they are[/bold]"),
    ("ml.m5.large", "0.115", "AWS Price List"),
]
PLAIN = """TYPE            USD  SOURCE
ml.g5.xlarge  1.408  AWS Price List, quoted in notes [bold]as they are[/bold]
ml.m5.large   0.115  AWS Price List
"""
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, columns: int = 80, **environment: str) -> str:
    """What a table and a fact look like there."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    say(*table(ROWS, frozenset({1})), *labelled({"url": f"https://example.org/{'x' * 90}"}), "The end.")
    return stream.getvalue()


FACT = f"  url         https://example.org/{'x' * 90}\nThe end.\n"


def test_what_is_no_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, io.StringIO()) == PLAIN + FACT


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_so_does_a_terminal_where_colours_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert said(monkeypatch, Terminal(), **environment) == PLAIN + FACT


def test_on_a_terminal_the_same_words_are_there_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = said(monkeypatch, Terminal(), columns=200)
    assert "\x1b[1m" in shown
    lines = [line.rstrip() for line in ESCAPES.sub("", shown).splitlines()]
    assert lines == (PLAIN + FACT).splitlines()


@pytest.mark.parametrize("columns", [45, 60, 79, 80, 120])
def test_a_table_is_laid_out_within_the_width_and_no_letter_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    lines = ESCAPES.sub("", said(monkeypatch, Terminal(), columns=columns)).splitlines()
    of_the_table = lines[: -len(FACT.splitlines())]
    assert max(map(len, of_the_table)) <= columns
    assert sorted("".join(of_the_table).replace(" ", "")) == sorted(PLAIN.replace(" ", "").replace("\n", ""))
    assert any("ml.g5.xlarge" in line for line in of_the_table), "no word is broken"


def test_where_words_would_be_broken_the_terminal_breaks_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Terminal(), columns=20).startswith(PLAIN)


def test_what_is_to_be_copied_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FACT.splitlines()[0] in ESCAPES.sub("", said(monkeypatch, Terminal(), columns=40))
