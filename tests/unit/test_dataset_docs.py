"""What docs/datasets.md says is refused, noted and limited is what the code refuses, notes and limits."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from trainmaster.datasets import rows, tabular
from trainmaster.datasets.formats import Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import DEFAULTS, Limits
from trainmaster.datasets.shapes.faults import MOST

DOCS = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
UNITS = {"": 1, " MiB": 1 << 20, " TiB": 1 << 40}


def table(head: str) -> list[list[str]]:
    """The cells of a table, below its head."""
    found = re.search(rf"^\| {head}.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", DOCS, re.MULTILINE)
    assert found, head
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[1].splitlines()]


def named(*heads: str) -> list[str]:
    return [name for head in heads for cells in table(head) for name in cells[0].split(", ")]


def kinds_of_csv() -> set[str]:
    """Those of a table's problems that reading a dataset can come to: of the rows, and of their cells."""
    of_rows = set(re.findall(r"ProblemKind\.([A-Z_0-9]+)", Path(rows.__file__).read_text(encoding="utf-8")))
    of_cells = set(re.findall(r"TableProblemKind\.([A-Z_0-9]+)", Path(tabular.__file__).read_text(encoding="utf-8")))
    return {str(rows.ProblemKind[name]) for name in of_rows | of_cells}


def test_every_kind_of_problem_and_note_is_told_once_and_no_other() -> None:
    told = named("Problem of the file", "Problem of a line, element or row", "Problem of an example", "Note")
    assert len(told) == len(set(told))
    assert set(told) == {str(kind) for kind in ProblemKind} | kinds_of_csv()


def test_the_limits_are_those_that_are_enforced() -> None:
    said = {}
    for name, most, _ in table("Limit"):
        figure = re.fullmatch(r"([\d,]+)( [MT]iB)?", most)
        assert figure, most
        said[name.strip("`")] = int(figure[1].replace(",", "")) * UNITS[figure[2] or ""]
    assert said == {each.name: getattr(DEFAULTS, each.name) for each in fields(Limits)} | {"problems": MOST}


def test_the_formats_are_those_there_are() -> None:
    assert [cells[0].strip("`") for cells in table("Format")] == [*Format]
