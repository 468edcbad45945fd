"""Examples come in many containers; all of them read the same, and what is none of them is called what it is."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from containers import COMPRESSIONS, LAYOUTS, canonical, chat, chats, check, csv_table, json_lines, normalised, told
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from trainmaster.datasets.brackets import Brackets
from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import Limits

EXAMPLES = chats(700)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_container_makes_no_difference_to_what_is_read(layout: str, compression: str) -> None:
    report, text = normalised(COMPRESSIONS[compression](LAYOUTS[layout](EXAMPLES)))

    assert report.ok, told(report)
    assert text == canonical(EXAMPLES)
    assert report.container.compression == compression.split(",", maxsplit=1)[0]
    assert report.container.layout == {
        "array": "json array", "wrapped": "json array", "objects": "json object", "json lines without a last line end": "json lines",
    }.get(layout.split(",", maxsplit=1)[0], layout.split(",", maxsplit=1)[0])  # fmt: skip
    assert report.examples == report.statistics.total_examples == 700


def test_one_object_in_several_lines_is_one_example() -> None:
    report = check(json.dumps(chat(), indent=2).encode())
    assert (report.ok, report.examples, report.container.layout) == (True, 1, "json object")


def test_what_stands_beside_a_list_of_examples_is_left_out_and_noted() -> None:
    report = check(json.dumps({"version": 1, "data": chats(3), "licence": "CC0"}).encode())
    assert (report.ok, report.examples) == (True, 3)
    assert [str(note) for note in report.notes] == [
        "left out: found 'version', 'licence' beside the list of examples; wanted examples alone"
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_turns_is_one_example_and_an_array_of_such_arrays_many(indent: int | None) -> None:
    turns = chat()["messages"]
    one, text = normalised(json.dumps(turns, indent=indent).encode())
    assert (one.ok, one.examples, text) == (True, 1, canonical([chat()]))
    assert check(json.dumps([turns] * 3, indent=indent).encode()).examples == 3
    assert check(json_lines([turns] * 3)).examples == 3


def test_columns_of_csv_are_found_whatever_separates_them() -> None:
    for separator in ",;\t":
        rows = [
            separator.join(["instruction", "input", "output"]),
            *[separator.join(["Say it", "", f"It {n}"]) for n in range(9)],
        ]
        report = check("\r\n".join(rows).encode())
        assert (report.ok, report.examples, report.detection.format) == (True, 9, Format.ALPACA), told(report)


@pytest.mark.parametrize("others", [[], ["source"]], ids=["alone", "beside another"])
def test_tables_of_prompts_and_completions_are_taken_for_what_they_are_in_json(others: list[str]) -> None:
    names = ["prompt", "completion", *others]
    pairs = [dict.fromkeys(names, f"text {n}") for n in range(3)]
    for content in (LAYOUTS["csv"](pairs), LAYOUTS["parquet"](pairs), json_lines(pairs)):
        report, text = normalised(content)
        assert (report.ok, report.detection.format, report.examples) == (True, Format.JSONL, 3), told(report)
        assert report.detection.reason == "3 of 3 examples have `prompt` and `completion`"
        assert text == canonical(pairs)


@pytest.mark.parametrize("content", [{"examples": []}, {"version": 1, "data": [], "licence": "CC0"}], ids=str)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_empty_list_of_examples_is_none(content: dict[str, object], indent: int | None) -> None:
    report = check(json.dumps(content, indent=indent).encode() + b"\n")
    assert not report.ok
    assert report.fatal
    assert (report.fatal.kind, report.examples) == (ProblemKind.EMPTY_FILE, 0)


def test_an_example_that_has_an_empty_list_of_that_name_is_one() -> None:
    example = {"items": [], "instruction": "Count.", "output": "None."}
    report = check(json.dumps(example).encode())
    assert (report.ok, report.detection.format, report.examples) == (True, Format.ALPACA, 1)
    assert check(json_lines([{"data": []}, {"data": [1]}])).examples == 2


def test_cells_of_csv_may_be_long_and_of_many_lines_and_are_numbered_by_their_line() -> None:
    long = "many\nlines\n" * 200_000
    examples = [{"prompt": "a", "completion": long, "label": n % 2 == 0} for n in range(2)]
    report = check(csv_table(examples) + b'"b","","true"\nc,d\n')
    assert told(report)[0].startswith("line 800004, completion: ")
    assert told(report)[1] == "line 800005: found 2 cells; wanted 3, as in the header"
    assert (report.examples, report.bad_examples, report.detection.format) == (2, 2, Format.KTO)


def test_a_column_without_a_name_is_kept_under_none() -> None:
    report, text = normalised(b",text\n0,Hello there\n1,Good bye\n")
    assert (report.ok, text.splitlines()[0]) == (True, b'{"":"0","text":"Hello there"}')


def test_cells_that_are_no_utf8_are_told_by_their_line() -> None:
    turns = json.dumps(chat()["messages"]).replace('"', '""').encode()
    content = b'messages\n"%b"\n"%b"\n' % (turns, turns.replace(b"this", b"th\xeds"))
    report = check(content)
    assert (report.examples, report.problem_counts) == (1, {ProblemKind.INVALID_UTF8: 1})
    assert told(report)[0].startswith("line 3, byte ")


def test_numbers_no_json_has_are_found_in_parquet() -> None:
    rows = [{"text": "one", "score": 1.0}, {"text": "two", "score": float("nan")}, {"text": "three", "score": None}]
    report = check(LAYOUTS["parquet"](rows))
    assert told(report) == ["row 2, score: found NaN; wanted a number JSON has (null if there is none)"]
    assert report.examples == 2


def test_a_row_too_long_and_one_that_json_cannot_say_are_told() -> None:
    rows = [{"text": "one"}, {"text": "x" * 5000}, {"text": "three"}]
    assert told(check(LAYOUTS["parquet"](rows), limits=Limits(example=1000)))[0].startswith("row 2: found a row of 5,0")
    binary = check(LAYOUTS["parquet"]([{"text": "one", "picture": b"\x89"}]))
    assert told(binary)[0].startswith("row 1: found binary data; wanted text")


def test_damaged_parquet_is_refused_and_not_a_failure() -> None:
    content = LAYOUTS["parquet"](EXAMPLES)
    for damaged in (content[:-3], content[:400], content[:20] + bytes(200) + content[220:]):
        assert check(damaged).fatal, damaged[:10]


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return content.getvalue()


LINES = json_lines(EXAMPLES)
FOREIGN = {
    "workbook": (workbook(), ProblemKind.UNREADABLE, "a zip archive; an Excel workbook"),
    "pdf": (b"%PDF-1.7 ...", ProblemKind.UNREADABLE, "a PDF document"),
    "html": (b"\n<!DOCTYPE html><html>", ProblemKind.UNREADABLE, "a web page"),
    "utf-16": (LINES.decode().encode("utf-16"), ProblemKind.WRONG_ENCODING, "UTF-16"),
    "utf-16-le": (LINES.decode().encode("utf-16-le"), ProblemKind.WRONG_ENCODING, "UTF-16"),
    "xz": (b"\xfd7zXZ\0\0", ProblemKind.UNREADABLE, "xz data"),
    "prose": (b"Dear all,\nhere it is.\n" * 99, ProblemKind.MISSING_COLUMN, "columns"),
    "word": (b"hello", ProblemKind.UNREADABLE, "text that is no JSON"),
    "other columns": (b"a,b\n1,2\n", ProblemKind.MISSING_COLUMN, "the columns a, b"),
    "a column twice": (b"text,text\na,b\n", ProblemKind.CONFLICTING_KEYS, "several columns named 'text'"),
    "packed twice": (gzip.compress(gzip.compress(LINES)), ProblemKind.UNREADABLE, "gzip data within"),
    "nothing": (b"", ProblemKind.EMPTY_FILE, "no example"),
    "white space": (b"\n \n", ProblemKind.EMPTY_FILE, "no example"),
    "no elements": (b" [ ] ", ProblemKind.EMPTY_FILE, "no example"),
    "gzip of nothing": (gzip.compress(b""), ProblemKind.EMPTY_FILE, "no example"),
}


@pytest.mark.parametrize(("content", "kind", "said"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_dataset_is_called_what_it_is_in_one_problem(content: bytes, kind: ProblemKind, said: str) -> None:
    report = check(content)
    assert (report.ok, report.problem_counts) == (False, {kind: 1})
    assert said in told(report)[0]


MANY = LINES * 30  # what comes out of the last megabyte before damage is lost with it
PACKED = gzip.compress(MANY)
FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(MANY)
DAMAGED = {
    "gzip cut off": (PACKED[:-2000], ProblemKind.TRUNCATED),
    "gzip without its end": (PACKED[:-4], ProblemKind.TRUNCATED),
    "gzip with another checksum": (PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:], ProblemKind.UNREADABLE),
    "gzip and more": (PACKED + b"and more", ProblemKind.UNREADABLE),
    "zstd cut off": (zstandard.compress(MANY)[:-20], ProblemKind.TRUNCATED),
    "zstd without its end": (FRAME[:-1], ProblemKind.TRUNCATED),
    "zstd with another checksum": (FRAME[:-4] + b"\1\2\3\4", ProblemKind.UNREADABLE),
    "zstd and more": (FRAME + b"and more", ProblemKind.UNREADABLE),
}


@pytest.mark.parametrize(("content", "kind"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_data_is_refused_with_what_was_read_up_to_there(content: bytes, kind: ProblemKind) -> None:
    report, _ = normalised(content, max_bad_fraction=0.5)
    assert not report.ok
    assert report.fatal
    assert report.fatal.kind is kind
    assert report.fatal in report.problems
    assert report.examples > 100
    assert report.source_size == len(content)


def test_a_bomb_is_refused_with_both_numbers_and_a_repetitive_dataset_is_none() -> None:
    bound = Limits(free=1_000_000, ratio=200)
    for bomb in (gzip.compress(b'{"text": "' + bytes(50_000_000)), zstandard.compress(b"\n" * 50_000_000)):
        report = check(bomb, limits=bound)
        assert report.fatal
        assert report.fatal.kind is ProblemKind.GZIP_BOMB
        assert report.text_size <= 200 * report.source_size + (2 << 20)
        assert f"{report.text_size:,} bytes out of the first " in report.fatal.found
        assert "at most 200 times" in report.fatal.wanted
    assert check(gzip.compress(json_lines(chats(5000))), limits=bound).ok


def test_more_than_may_be_unpacked_is_refused() -> None:
    report = check(gzip.compress(LINES * 40), limits=Limits(unpacked=1_000_000))
    assert report.fatal
    assert report.fatal.kind is ProblemKind.TOO_LARGE
    assert "1,000,000" in report.fatal.wanted


def test_zstd_that_takes_too_much_memory_to_unpack_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(LINES) + stream.flush()
    report = check(packed, limits=Limits(window=8 << 20))
    assert "33,554,432 bytes of memory" in told(report)[0]
    assert check(packed).ok


def test_a_source_that_fails_is_the_callers_error_and_leaves_no_thread(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise OSError("the network is gone")
            return super().read(min(size or 0, 50_000))

    before = threading.active_count()
    with pytest.raises(OSError, match="the network is gone"):
        check_dataset(Broken(LINES * 30), normalised=tmp_path / "out.gz")
    with pytest.raises(FileNotFoundError):
        check_dataset(tmp_path / "nothing.jsonl", normalised=tmp_path / "out.gz")
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_is_interrupted_reads_no_further() -> None:
    read = 0

    class Endless(io.RawIOBase):
        def read(self, _: int = -1) -> bytes:
            nonlocal read
            read += 1
            return LINES

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        check_dataset(Endless(), progress=interrupt)
    assert read < 1000
    assert threading.active_count() == before


# --- arrays with broken elements


def element(n: int) -> str:
    return json.dumps(chats(n)[-1], indent=2).replace("\n", "\n  ")


BROKEN = {
    "an odd quotation mark": '{"messages": [{"role": "user", "content": "5" wide"}]}',
    "a missing brace": '{"messages": [{"role": "user", "content": "five"}]',
    "a missing bracket": '{"messages": [{"role": "user", "content": "five"}}',
    "one brace too many": '{"messages": [{"role": "user", "content": "five"}]}}',
    "no quotation mark at the end": '{"messages": [{"role": "user", "content": "five}]}',
    "a comma too many": '{"messages": [{"role": "user", "content": "five",}]}',
    "NaN": '{"messages": [{"role": "user", "content": NaN}]}',
    "a word": "nothing",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("place", [2, 30, 59])
def test_after_a_broken_element_reading_goes_on_with_the_next(broken: str, place: int) -> None:
    elements = [element(n) for n in range(1, 61)]
    elements[place - 1 : place] = [broken.replace("{", "{\n    ", 1) if broken.startswith("{") else broken]
    report = check(("[\n  " + ",\n  ".join(elements) + "\n]").encode())

    assert {problem.number for problem in report.problems} == {place}, told(report)
    assert (report.examples, report.bad_examples, report.fatal) == (59, 1, None)


@pytest.mark.parametrize("end", [-1, -2, -3, -30, -300])
def test_an_array_that_breaks_off_is_refused(end: int) -> None:
    report = check(LAYOUTS["array, indented"](EXAMPLES)[:end], max_bad_fraction=0.5)
    assert report.fatal
    assert not report.ok
    assert report.examples >= 690


@pytest.mark.parametrize("more", [b"]", b"[]", b"x", b'{"a": 1}', b"\n" + LINES])
def test_more_after_an_arrays_end_is_refused(more: bytes) -> None:
    assert not check(LAYOUTS["array"](EXAMPLES) + more, max_bad_fraction=0.001).ok


def test_an_element_too_long_to_hold_is_one_problem_and_reading_goes_on() -> None:
    examples = [*chats(5), chat("x" * 2_000_000), *chats(3)]
    report = check(LAYOUTS["array, indented"](examples), limits=Limits(example=500_000))
    assert (report.examples, report.bad_examples, report.problem_counts) == (8, 1, {ProblemKind.TOO_LONG: 1})
    assert told(report)[0].startswith("element 6: found an element of 2,000,")


@given(st.lists(st.recursive(st.text('ab"\\,[]{}\n') | st.integers() | st.none(), lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text('k"\\:{'), s, max_size=3), max_leaves=8), max_size=5), st.data())  # fmt: skip
def test_brackets_find_the_same_elements_wherever_the_text_is_cut(values: list[object], data: st.DataObject) -> None:
    text = json.dumps(values, indent=data.draw(st.sampled_from([None, 0, 1]))).encode()[1:]
    size = data.draw(st.integers(1, len(text)))
    brackets, cuts = Brackets(depth=1), []
    for at in range(0, len(text), size):
        found = brackets.feed(text[at : at + size])
        assert found.broken is None
        cuts += [at + int(cut) for cut in found.commas[found.comma_depths == 1]]
    assert brackets.depth == 0
    cut = [text[a + 1 : b] for a, b in zip([-1, *cuts], [*cuts, len(text) - 1], strict=True)]
    assert [json.loads(each) for each in cut if each.strip()] == values


def test_line_ends_within_a_cell_of_csv_are_the_users_text() -> None:
    said = "one\r\ntwo\rthree\nfour\r\n"
    report, text = normalised(f'text,id\r\n"{said}",a\r\n"{said}",b\r\n'.encode())
    assert report.ok, told(report)
    assert [json.loads(line)["text"] for line in text.splitlines()] == [said, said]


def test_a_parquet_file_that_unpacks_to_more_than_text_can_is_refused_unread() -> None:
    file = io.BytesIO()
    parquet.write_table(pa.table({"text": ["x" * 2_000_000]}), file, compression="gzip", use_dictionary=False)
    report = check(file.getvalue(), limits=Limits(free=1_000_000))
    assert (report.examples, report.fatal and report.fatal.kind) == (0, ProblemKind.GZIP_BOMB)
    assert "column text" in str(report.fatal)
