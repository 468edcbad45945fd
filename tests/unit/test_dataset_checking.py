"""A dataset is judged whole: everything wrong in it with its place, what is sound written in one form, nothing half."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
import pytest
from containers import COMPRESSIONS, LAYOUTS, canonical, chat, chats, check, json_lines, normalised, told
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import Limits
from trainmaster.datasets.writing import TEMPORARY

SOUND = json_lines(chats(3000))


def with_lines(lines: dict[int, bytes]) -> bytes:
    """Sound ones but for these, by number."""
    content = SOUND.splitlines()
    for number, line in lines.items():
        content[number - 1] = line
    return b"\n".join(content) + b"\n"


def test_every_problem_is_told_with_its_line_and_place() -> None:
    report = check(
        with_lines(
            {
                1: b'{"messages": [',
                2: b'{"messages": [{"role": "user", "content": "\xe9"}, {"role": "assistant", "content": NaN}]}',
                777: json.dumps(chat(asked="", answered=" ")).encode(),
                1500: b'{"messages": [], "messages": []}',
                2000: b"\0\0\0",
                2999: b'{"messages": [{"role": "wizard", "content": "x"}, {"role": "assistant", "content": "x"}]}',
                3000: b'"just text"',
            }
        )
    )  # fmt: skip
    places = [(problem.number, problem.place, problem.kind) for problem in report.problems]
    assert places == [
        (1, "column 15", ProblemKind.INVALID_JSON),
        (2, "byte 44", ProblemKind.INVALID_UTF8),
        (2, "messages[1].content", ProblemKind.NOT_FINITE),
        (777, "messages[0].content", ProblemKind.EMPTY_TEXT),
        (777, "messages[1].content", ProblemKind.EMPTY_TEXT),
        (1500, "messages", ProblemKind.DUPLICATE_KEY),
        (2000, "column 1", ProblemKind.INVALID_JSON),
        (2999, "messages[0].role", ProblemKind.UNKNOWN_ROLE),
        (3000, None, ProblemKind.WRONG_TYPE),
    ]
    assert (report.ok, report.examples, report.bad_examples, report.fatal) == (False, 2993, 7, None)


@settings(max_examples=25)  # each is a file of 3,000 lines
@given(st.sets(st.integers(1, 3000), max_size=40), st.integers(0, 1_000_000))
def test_bad_lines_are_found_where_they_are_whatever_surrounds_them(bad: set[int], seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    awful = [b"{", b"x", b"[]", b"{}", b'{"messages": 1}', b'{"a": 1, "a": 1}', b"\xff", b"null", b'{"messages": [[]]}']
    report = check(with_lines({number: chance.choice(awful) for number in bad}), cap=1000)
    assert {problem.number for problem in report.problems} == bad
    assert (report.examples, report.bad_examples) == (3000 - len(bad), len(bad))


def test_the_report_is_capped_and_its_counts_are_not() -> None:
    report = check(b"{}\n" * 500 + SOUND, cap=20)
    assert len(report.problems) == 20
    assert sum(report.problem_counts.values()) == report.bad_examples == 500


def test_a_last_line_that_breaks_off_is_called_that_and_a_whole_one_without_line_end_is_sound() -> None:
    report = check(SOUND[:-20])
    assert (report.problem_counts, report.problems[0].number) == ({ProblemKind.PARTIAL_LINE: 1}, 3000)
    assert check(SOUND[:-1]).ok


def test_lines_too_long_are_passed_over_and_counted() -> None:
    limits = Limits(example=100_000)
    long = json.dumps(chat("x" * 3_000_000)).encode()
    report = check(with_lines({5: long, 6: long, 2000: b'"' + b"y" * 100_000, 3000: long}), limits=limits)
    assert [(problem.number, problem.kind) for problem in report.problems] == [
        (number, ProblemKind.TOO_LONG) for number in (5, 6, 2000, 3000)
    ]
    assert told(report)[0] == f"line 5: found a line of {len(long):,} bytes; wanted at most 100,000"
    assert check(SOUND + long, limits=limits).problems[0].number == 3001


def test_marks_and_line_ends_and_empty_lines_are_noted_and_counted() -> None:
    report = check(b"\xef\xbb\xbf" + SOUND.replace(b"\n", b"\r\n") + b"\r\n\n")
    assert report.ok
    assert report.note_counts == {
        ProblemKind.BYTE_ORDER_MARK: 1,
        ProblemKind.CRLF: 3001,
        ProblemKind.EMPTY_LINE: 2,
    }
    assert {note.kind: note.number for note in report.notes} == {
        ProblemKind.BYTE_ORDER_MARK: None,
        ProblemKind.CRLF: 1,
        ProblemKind.EMPTY_LINE: 3001,
    }


def test_duplicates_are_noted_by_their_pairs_whatever_their_spelling() -> None:
    same = [
        json.dumps(chat("é")),
        json.dumps(chat("é"), ensure_ascii=False, separators=(",", ":")),
        json.dumps(chat("é"), indent=None),
    ]
    report = check(SOUND + "\n".join(same).encode())
    assert report.ok
    assert report.statistics.duplicate_pairs == ((3002, 3001), (3003, 3001))
    assert report.note_counts[ProblemKind.DUPLICATE] == report.statistics.duplicates == 2


def test_outliers_are_noted() -> None:
    report = check(json_lines([chat("a" * n) for n in range(100, 140)]) + json_lines([chat("b" * 50_000)]))
    assert report.note_counts == {ProblemKind.LONG_EXAMPLE: 1}
    assert report.notes[0].number == 41


def test_an_example_of_another_format_is_called_that() -> None:
    report = check(with_lines({9: json.dumps({"instruction": "Add", "input": "1, 2", "output": "3"}).encode()}))
    assert told(report) == ["line 9: found an example of alpaca; wanted chatml, as the others: one format to a file"]
    assert report.problem_counts == {ProblemKind.OTHER_FORMAT: 1}


def test_the_format_demanded_is_the_one_checked() -> None:
    report = check(SOUND, demanded=Format.ALPACA)
    assert (report.detection.format, report.detection.demanded, report.bad_examples) == (Format.ALPACA, True, 3000)
    assert check(SOUND, demanded=Format.JSONL).ok
    assert check(b"a,b\n1,2\n", demanded=Format.JSONL).ok


# --- what is written


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", ["json lines", "array, indented", "wrapped", "csv", "parquet"])
def test_the_same_examples_give_the_same_bytes(tmp_path: Path, layout: str, compression: str) -> None:
    hashes = set()
    for name, content in (("a", json_lines(chats(900))), ("b", COMPRESSIONS[compression](LAYOUTS[layout](chats(900))))):
        source, target = tmp_path / name, tmp_path / f"{name}.gz"
        source.write_bytes(content)
        report = check_dataset(source, normalised=target)
        assert report.normalised
        assert report.normalised.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        assert report.source_sha256 == hashlib.sha256(content).hexdigest()
        assert (report.name, report.normalised.examples, report.normalised.size) == (name, 900, target.stat().st_size)
        assert report.normalised.text_size == len(gzip.decompress(target.read_bytes()))
        hashes.add(report.normalised.sha256)
    assert len(hashes) == 1


def test_what_was_normalised_is_normal() -> None:
    _, once = normalised(SOUND)
    again, twice = normalised(once)
    assert again.ok
    assert once == twice == canonical(chats(3000))


def test_no_letter_of_a_text_changes() -> None:
    text = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x11000), 0x1F600, 0x10FFFF])) + '\0 \\" \\u0041 \u2028'
    _, written = normalised(json_lines([chat(text)]))
    assert json.loads(written) == chat(text)


def test_bad_examples_are_dropped_knowingly_and_kept_beside(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gz", tmp_path / "bad.gz"
    content = with_lines({3: b'{"messages": []}', 700: b"caf\xe9", 701: b" {} "})
    report = check_dataset(io.BytesIO(content), max_bad_fraction=0.001, normalised=good, dropped=bad)

    assert (report.ok, report.examples, report.bad_examples) == (True, 2997, 3)
    assert gzip.decompress(good.read_bytes()) == canonical(
        [e for n, e in enumerate(chats(3000), 1) if n not in {3, 700, 701}]
    )
    dropped = [json.loads(line) for line in gzip.decompress(bad.read_bytes()).splitlines()]
    assert [(each["number"], each["unit"]) for each in dropped] == [(3, "line"), (700, "line"), (701, "line")]
    assert (dropped[0]["raw"], dropped[1]["raw_base64"], dropped[2]["raw"]) == ('{"messages": []}', "Y2Fm6Q==", " {} ")
    assert all(each["problems"][0].startswith(f"line {each['number']}") for each in dropped)
    assert report.dropped
    assert report.dropped.sha256 == hashlib.sha256(bad.read_bytes()).hexdigest()


@pytest.mark.parametrize("fraction", [0.0, 0.0009])
def test_more_bad_examples_than_allowed_refuse_the_file_and_leave_nothing(tmp_path: Path, fraction: float) -> None:
    content = with_lines({3: b"{}", 4: b"{}", 5: b"{}"})
    report = check_dataset(
        io.BytesIO(content), max_bad_fraction=fraction, normalised=tmp_path / "good.gz", dropped=tmp_path / "bad.gz"
    )
    assert (report.ok, report.normalised, report.dropped) == (False, None, None)
    assert list(tmp_path.iterdir()) == []


def test_without_bad_examples_nothing_is_written_beside(tmp_path: Path) -> None:
    options = {"max_bad_fraction": 0.5, "normalised": tmp_path / "good.gz", "dropped": tmp_path / "bad.gz"}
    assert check(SOUND, **options).dropped is None
    assert [path.name for path in tmp_path.iterdir()] == ["good.gz"]


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        check(SOUND, normalised=tmp_path / "nowhere" / "good.gz")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        check(SOUND, normalised=tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_full_disk_is_an_error_and_not_a_wait_without_end(tmp_path: Path) -> None:
    script = """
        import io, os, resource, signal, sys
        from pathlib import Path
        from trainmaster.datasets.checking import check_dataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        line = lambda: b'{"text": "' + os.urandom(30_000).hex().encode() + b'"}' + bytes([10])
        try:
            check_dataset(io.BytesIO(b"".join(line() for _ in range(500))), normalised=Path(sys.argv[1]))
        except OSError as error:
            print(error.strerror)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "good.gz")],
        capture_output=True, text=True, timeout=150, check=True,
    )  # fmt: skip
    assert done.stdout == "File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_is_killed_leaves_only_what_is_known_as_unfinished(tmp_path: Path) -> None:
    target = tmp_path / "good.gz"
    script = """
        import io, itertools, os, sys
        from pathlib import Path
        from trainmaster.datasets.checking import check_dataset
        class Endless(io.RawIOBase):
            def read(self, size=-1):
                return b"".join(b'{"text": "' + os.urandom(500).hex().encode() + b'"}' + bytes([10]) for _ in range(300))[:size]
        seen = itertools.count()
        check_dataset(Endless(), normalised=Path(sys.argv[1]), max_bad_fraction=1.0, progress=lambda read: next(seen) == 50 and print(read, flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(target)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert int(child.stdout.readline()) > 1_000_000
        os.kill(child.pid, signal.SIGKILL)
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".good.gz.")
    assert left[0].endswith(TEMPORARY)


def test_progress_tells_how_much_of_the_source_was_read() -> None:
    seen: list[int] = []
    packed = gzip.compress(SOUND * 10)
    check(packed, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(packed)


def test_the_report_holds_for_an_example_with_several_instances() -> None:
    instances = [{"input": f"{n}", "output": f"{n + 1}"} for n in range(3)]
    content = json_lines([{"instruction": "Add one", "instances": instances}] * 2)
    report, text = normalised(content)
    assert (report.ok, report.examples, report.statistics.duplicates) == (True, 6, 3)
    assert len(set(map(orjson.dumps, map(orjson.loads, text.splitlines())))) == 3
