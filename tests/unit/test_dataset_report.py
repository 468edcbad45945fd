"""A report as it is read: the verdict, what is wrong where, what to do; the same figures for machines and in a picture."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainmaster.datasets.formats import Canonical, Detection, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Problem
from trainmaster.datasets.report import Container, DatasetReport, DatasetStatistics, Written
from trainmaster.datasets.showing.machine import as_json
from trainmaster.datasets.showing.markdown import as_markdown
from trainmaster.datasets.showing.picture import picture
from trainmaster.datasets.showing.terminal import Page, as_text
from trainmaster.datasets.showing.wording import measured, smallest_fraction, verdict
from trainmaster.datasets.statistics import Tally
from trainmaster.plain_words import size

COLOUR = re.compile(r"\033\[[0-9;]*m")
MISSING = Problem(ProblemKind.MISSING_KEY, "no output", "text", 17, "output", "element")
CHAT = ("user", "assistant")


def counted(
    lengths: list[tuple[int, int]], roles: tuple[str, ...] = CHAT, *, bad: int = 0, duplicates: int = 0
) -> DatasetStatistics:
    tally = Tally()
    tally.add([Canonical({}, given, answer, roles) for given, answer in lengths], range(1, len(lengths) + 1))
    pairs = [(n + 2, 1) for n in range(min(duplicates, 100))]
    return tally.result(duplicates=duplicates, duplicate_pairs=pairs, bad_examples=bad)


def report(
    *problems: Problem,
    sound: int = 997,
    bad: int = 0,
    allowed: float = 0.0,
    counts: dict[StrEnum, int] | None = None,
    fatal: Problem | None = None,
) -> DatasetReport:
    """Of alpaca.json.gz, in which input and output grow with the number of the example."""
    found = DatasetReport(
        name="alpaca.json.gz",
        container=Container("json array", "gzip", "element"),
        detection=Detection(Format.ALPACA, "100 of 100 examples have instruction and output", 1.0),
        examples=sound,
        bad_examples=bad,
        max_bad_fraction=allowed,
        problems=problems,
        problem_counts=counts or Counter(problem.kind for problem in problems),
        notes=(),
        note_counts={},
        fatal=fatal,
        statistics=counted([(10 + n, 3 * n) for n in range(sound)], bad=bad),
        source_size=859_893,
        text_size=2_034_112,
        source_sha256="cd" * 32,
        normalised=None,
        dropped=None,
    )
    return replace(found, normalised=Written(sound, 300_000, 810_000, "ab" * 32)) if found.ok else found


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (report(), "alpaca.json.gz: accepted · 997 examples of alpaca"),
        (report(sound=1), "alpaca.json.gz: accepted · 1 example of alpaca"),
        (report(bad=3, allowed=0.01), "alpaca.json.gz: accepted · 997 examples of alpaca, 3 malformed dropped"),
        (report(bad=3), "alpaca.json.gz: refused · 3 of 1,000 examples are malformed"),
        (report(bad=1, sound=0), "alpaca.json.gz: refused · 1 of 1 example is malformed"),
        (
            report(bad=3, allowed=0.002),
            "alpaca.json.gz: refused · 3 of 1,000 examples are malformed; 0.2% may be",
        ),
        (report(sound=0), "alpaca.json.gz: refused · there is no example in it"),
        (
            report(sound=12, fatal=Problem(ProblemKind.TRUNCATED, "no end", "a whole file", 13)),
            "alpaca.json.gz: refused · truncated file after 12 examples",
        ),
    ],
)
def test_the_verdict_is_one_sentence_and_comes_first(found: DatasetReport, wanted: str) -> None:
    assert verdict(found) == wanted
    assert as_text(found, Page()).splitlines()[0] == wanted
    assert as_markdown(found).splitlines()[0].replace("\\", "") == f"# {wanted}"


def test_the_format_comes_with_the_reason_and_how_sure_it_is() -> None:
    found = report()
    assert "alpaca (confident: 100 of 100 examples have instruction and output)" in as_text(found, Page())
    unsure = replace(found, detection=Detection(Format.JSONL, "3 of 9 are objects", 0.4))
    assert "jsonl (a guess: 3 of 9 are objects)" in as_text(unsure, Page())
    demanded = replace(found, detection=Detection(Format.DPO, "you said so", 1.0, demanded=True))
    assert "dpo, as asked for" in as_text(demanded, Page())


def test_the_share_that_is_allowed_may_be_just_the_share_that_is_bad() -> None:
    assert all(report(sound=100 - bad, bad=bad, allowed=float(f"0.{bad:02}")).ok for bad in range(1, 100))
    assert not report(sound=70, bad=30, allowed=0.29).ok


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_the_share_that_is_suggested_is_below_1_and_would_be_accepted(bad: int, sound: int) -> None:
    share = float(smallest_fraction(bad, bad + sound))
    assert bad / (bad + sound) <= share < 1


def test_a_refusal_ends_with_what_to_do() -> None:
    assert "knowingly, with --max-bad-fraction 0.003;" in as_text(report(MISSING, bad=3), Page())
    assert "max\\_bad\\_fraction = 0.003" in as_markdown(report(MISSING, bad=3))
    hopeless = as_text(report(MISSING, sound=0, bad=9), Page())
    assert "--max-bad-fraction" not in hopeless
    assert "Is it alpaca at all? --format FORMAT says otherwise: chatml" in hopeless
    foreign = Problem(ProblemKind.INVALID_JSON, "text", "JSON", 1)
    assert "Is it a dataset at all?" in as_text(report(foreign, sound=0, bad=9, counts={foreign.kind: 9}), Page())


def test_problems_stand_by_kind_and_those_alike_share_a_line() -> None:
    numbers = (1017, 3, 4, 5, 9, 8)
    text = as_text(report(*(replace(MISSING, number=number) for number in numbers), bad=6), Page())
    assert (
        "Problems: 6\n  missing key: 6\n    elements 3–5, 8, 9 and 1,017, output: found no output; wanted text" in text
    )


def test_of_a_file_that_ended_early_it_is_said_how_much_the_figures_are_of() -> None:
    broken = report(sound=12, fatal=Problem(ProblemKind.TRUNCATED, "no end", "a whole file", 13))
    for text in (as_text(broken, Page()), as_markdown(broken)):
        assert "12 sound examples, then no further" in text
        assert "Mend the file, as said above, and check it again." in text


def test_what_is_beyond_the_cap_is_counted() -> None:
    kept = [replace(MISSING, found=f"{n}", number=n) for n in (1, 2)]
    found = report(*kept, bad=9, counts={ProblemKind.MISSING_KEY: 9, ProblemKind.EMPTY_TEXT: 5_000})
    text = as_text(found, Page())
    assert "Problems: 5,009" in text
    assert "missing key: 9" in text
    assert "… and 7 more" in text
    assert "empty text: 5,000" in text
    assert "… and 7 more" in as_markdown(found)


def test_notes_name_duplicates_and_outliers_in_one_line_each() -> None:
    lengths = [(100 + n % 7, 50) for n in range(300)]
    lengths[40] = (9000, 50)
    notes = [
        Problem(ProblemKind.DUPLICATE, "the same as 1", "once", 2),
        Problem(ProblemKind.LONG_EXAMPLE, "long", "shorter", 41),
    ]
    found = replace(
        report(),
        statistics=counted(lengths, duplicates=12),
        notes=notes,
        note_counts={ProblemKind.DUPLICATE: 12, ProblemKind.LONG_EXAMPLE: 1},
    )
    text = re.sub(r"\s+", " ", as_text(found, Page()))
    assert "duplicate: 12 element 2 repeats 1, element 3 repeats 1," in text
    assert "element 11 repeats 1 … and 2 more" in text
    assert "very long example: 1 element 41 (9,050 characters)" in text


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=30))
def test_nothing_from_a_file_can_command_the_terminal(name: str, said: str, place: str) -> None:
    found = replace(
        report(replace(MISSING, found=said, wanted=said, place=place), bad=1),
        name=name,
        detection=Detection(Format.ALPACA, said, 0.5),
    )
    shown = as_text(found, Page()).replace("\n", "")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()


@given(st.integers(48, 140), st.text(st.characters(max_codepoint=0x24F), max_size=300))
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, said: str) -> None:
    found = report(replace(MISSING, found=said), bad=1)
    assert max(map(len, as_text(found, Page(width)).splitlines())) <= width


def test_colour_adds_nothing_but_colour() -> None:
    for found in (report(), report(MISSING, bad=3)):
        coloured = as_text(found, Page(colour=True))
        assert COLOUR.search(coloured)
        assert COLOUR.sub("", coloured) == as_text(found, Page())


def test_figures_are_those_of_the_statistics() -> None:
    text = as_text(report(), Page())
    for label, read, answer in (("shortest", "10", "0"), ("median", "508", "1,494"), ("longest", "1,006", "2,988")):
        assert re.search(rf"^  {label} +{read} +{answer}$", text, re.MULTILINE)
    assert "tokens       about 498,998 (characters / 4)" in text
    assert "997 × user, assistant" in text
    assert "Quality: 99 of 100" in text


def test_raw_text_has_one_column_and_one_histogram() -> None:
    found = replace(report(), statistics=counted([(0, 10 + n) for n in range(300)], roles=()))
    text = as_text(found, Page())
    assert re.search(r"^Characters +text$", text, re.MULTILINE)
    assert list(measured(found.statistics)) == ["text"]
    assert "roles" not in text


def test_a_file_without_a_sound_example_has_no_figures() -> None:
    text = as_text(report(MISSING, sound=0, bad=4), Page())
    assert "Quality" not in text
    assert "median" not in text


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (859_893, "860 kB"),
        (999_600, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count: int, wanted: str) -> None:
    assert size(count) == wanted


def test_the_json_object_has_the_documented_keys_and_numbers_that_are_numbers() -> None:
    found = json.loads(json.dumps(as_json(report(MISSING, bad=3, allowed=0.5))))
    assert found["ok"] is True
    assert (found["examples"], found["bad_examples"]) == (997, 3)
    assert found["problems"] == [
        {
            "kind": "missing key",
            "found": "no output",
            "wanted": "text",
            "number": 17,
            "place": "output",
            "unit": "element",
        }
    ]
    assert found["problem_counts"] == {"missing key": 1}
    assert found["source"] == {"file_size_bytes": 859_893, "text_size_bytes": 2_034_112, "sha256": "cd" * 32}
    assert found["statistics"]["input_length"]["p50"] == 508
    assert sum(each["count"] for each in found["statistics"]["input_length"]["histogram"]) == 997
    assert found["statistics"]["quality"]["parts"]["malformed"]["lost"] == pytest.approx(1.2)
    documented = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert {key for key in _keys(found) if f"`{key}`" not in documented} == set()


def _keys(value: object) -> set[str]:
    """Those that are always the same: not kinds, roles, sequences or parts of the score, which the file decides."""
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    if not isinstance(value, dict):
        return set()
    free = {"problem_counts", "note_counts", "roles", "turns"}
    return set(value) | set().union(*(_keys(each) for key, each in value.items() if key not in free))


def test_markdown_shows_what_is_in_the_file_as_text() -> None:
    nasty = replace(MISSING, found="<img src=x> | `a` [b](c) *d*", place=None)
    text = as_markdown(report(nasty, bad=1))
    assert r"\<img src=x\> \| \`a\` \[b\](c) \*d\*" in text


def test_markdown_carries_its_picture() -> None:
    png = re.search(r"\(data:image/png;base64,([^)]+)\)", as_markdown(report()))
    assert png
    with Image.open(io.BytesIO(base64.b64decode(png[1]))) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("plain.jsonl", [(n * n * n, 5000 + n % 37) for n in range(200)]),
        ("$x_{2$ \\frac \x1b[31m", [(5, 5)]),
        ("n" * 500, [(0, 0), (1 << 26, 1)]),
        ("", [(0, 0)]),
        ("漢字.jsonl", [(1 << 40, 7), ((1 << 40) + 5, 8)]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_name_and_any_lengths_make_a_picture_of_one_size(name: str, lengths: list[tuple[int, int]]) -> None:
    with Image.open(io.BytesIO(picture(counted(lengths), name))) as image:
        image.load()
        assert image.size == (900, 342)
        assert len(image.convert("L").getcolors(256) or []) > 10


def test_a_picture_leaves_no_global_state_behind() -> None:
    program = """
import sys
from trainmaster.datasets.showing.picture import picture
assert "matplotlib" not in sys.modules
from trainmaster.datasets.statistics import Tally
assert picture(Tally().result(), "nothing").startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
