"""Damaged files of every format and container: never a failure, and whatever is accepted is accepted again as it was written.

`make fuzz MINUTES=30` runs the same for as long as one likes, under a limit on memory.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from containers import COMPRESSIONS, LAYOUTS, chats
from dataset_examples import SOUND
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.limits import Limits

LIMITS = Limits(example=20_000, depth=20, unpacked=5_000_000, free=1_000_000)
CANONICAL = {Format.DPO, Format.RLHF, Format.KTO, Format.RAW_TEXT, Format.JSONL}
"""Formats whose examples stay of that format; all others become chatml."""
JSON_LAYOUTS = [name for name in LAYOUTS if name not in ("csv", "parquet")]
TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b" ", b"\0", b"null", b"NaN", b"-Infinity", b"1e999", b"true",
    b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0022", b'"a":1,"a":2,', b'"":1,', b"[[" * 30, b"{}", b"[]", b"],[", b"}\n{", b'"messages":[',
    b'"role":"user"', b"x" * 20_001, b"9" * 400, b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\0\0\0\0", b"PAR1", b"\n" * 300,
]  # fmt: skip
WHERE = st.floats(0, 1, exclude_max=True)
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), WHERE, st.integers(0, 7)),
    st.tuples(st.just("cut"), WHERE, WHERE),
    st.tuples(st.just("end"), WHERE, st.none()),
    st.tuples(st.just("insert"), WHERE, st.sampled_from(TOKENS) | st.binary(max_size=4)),
    st.tuples(st.just("overwrite"), WHERE, st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("repeat"), WHERE, WHERE),
)


def damaged(content: bytes, damage: list[tuple[str, float, Any]]) -> bytes:
    data = bytearray(content)
    for what, where, detail in damage:
        at = int(where * len(data))
        if what == "flip" and data:
            data[at] ^= 1 << detail
        elif what == "cut":
            del data[at : at + int(detail * 200)]
        elif what == "end":
            del data[at:]
        elif what == "insert":
            data[at:at] = detail
        elif what == "overwrite":
            data[at : at + len(detail)] = detail
        elif what == "repeat":
            data[at:at] = data[at : at + int(detail * 2000)]
    return bytes(data)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A file, sound before it was damaged (if it was), and how it is to be checked."""
    layout = draw(st.sampled_from(list(LAYOUTS)))
    form = draw(st.sampled_from(list(SOUND)))
    if layout in JSON_LAYOUTS:
        examples = [sound.example for sound in draw(st.lists(SOUND[form], min_size=1, max_size=4))]
    else:
        examples = chats(draw(st.integers(1, 4)))
    content = LAYOUTS[layout](examples * draw(st.sampled_from([1, 1, 2, 40])))
    content = damaged(content, draw(st.lists(DAMAGE, max_size=4)))
    content = COMPRESSIONS[draw(st.sampled_from(list(COMPRESSIONS)))](content)
    content = damaged(content, draw(st.just([]) | st.just([]) | st.lists(DAMAGE, max_size=2)))
    options = {
        "demanded": draw(st.none() | st.just(form) | st.sampled_from(list(Format))),
        "max_bad_fraction": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "cap": draw(st.sampled_from([0, 3, 100])),
    }
    return content, options


def examine(content: bytes, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder) / "good", Path(folder) / "bad"
        report = check_dataset(io.BytesIO(content), normalised=good, dropped=bad, limits=LIMITS, **options)
        left = {path.name for path in Path(folder).iterdir()}

        assert report.source_size == len(content)
        assert report.statistics.total_examples == report.examples >= report.statistics.duplicates
        assert len(report.problems) == min(sum(report.problem_counts.values()), options["cap"])
        assert sum(report.problem_counts.values()) >= report.bad_examples + (report.fatal is not None)
        numbers = [each.number for each in (*report.problems, *report.notes) if each.number is not None]
        last = report.text_size + 1
        assert all(1 <= number <= last for number in numbers)
        assert report.ok == (good.name in left) == (report.normalised is not None)
        assert left - {"good", "bad"} == set()
        if not report.ok:
            assert report.problems or report.problem_counts
            assert left == set()
            return
        text = gzip.decompress(good.read_bytes())
        lines = text.splitlines()
        assert report.examples == len(lines)
        assert report.normalised
        assert (report.normalised.text_size, report.normalised.size) == (len(text), good.stat().st_size)
        assert all(orjson.dumps(orjson.loads(line)) == line for line in lines)
        if report.dropped:
            dropped = [json.loads(line) for line in gzip.decompress(bad.read_bytes()).splitlines()]
            assert len(dropped) == report.bad_examples > 0
            assert all(each["problems"] for each in dropped)
        form = report.detection.format if report.detection.format in CANONICAL else Format.CHATML
        again = check_dataset(good, demanded=form, normalised=Path(folder) / "again", limits=Limits())
        assert again.normalised, again.problems
        assert again.normalised.sha256 == report.normalised.sha256
        assert again.examples == report.examples


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_no_damage_brings_the_check_down_and_what_it_accepts_stays_accepted(file: tuple[bytes, dict[str, Any]]) -> None:
    examine(*file)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"[", b"{", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"prompt,completion\n"]),
)
def test_no_bytes_at_all_bring_the_check_down(content: bytes, start: bytes) -> None:
    examine(start + content, {"max_bad_fraction": 1.0, "cap": 5})


def main(minutes: float) -> None:
    """Examine files until the time is up; a failure is shown with the smallest file that shows it."""
    cases = itertools.count()
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), size + (1 << 30)))
    end = time.monotonic() + minutes * 60
    for round_number in itertools.count():

        @seed(f"{time.time()} {round_number}")
        @settings(
            max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        @given(files())
        def cases_of_one_round(file: tuple[bytes, dict[str, Any]]) -> None:
            if time.monotonic() < end:
                next(cases)
                examine(*file)

        cases_of_one_round()
        if time.monotonic() >= end:
            break
        print(f"{next(cases) - round_number:,} files, no failure", flush=True)
    print(f"{next(cases) - round_number:,} damaged files in {minutes:g} minutes: no failure")


if __name__ == "__main__":
    main(float(sys.argv[1]))
