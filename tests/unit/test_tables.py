"""Tables are judged whole: every problem with its line and column, and the sound ones written in one form."""

from __future__ import annotations

import gzip
import hashlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.datasets.tables import (
    HOUSE_PRICES,
    CheckedTable,
    Column,
    ProblemKind,
    SourceChangedError,
    TableSchema,
    check_table,
    write_normalised,
)

HEADER = "bedrooms,bathrooms,sqft,year_built,price"
ROW = "3,2,1500,1990,250000"
ROWS = [ROW] * 20


def table(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


class Chunks(io.BytesIO):
    """A stream that gives one chunk at a time and never holds them all."""

    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__()
        self.chunks, self.left = iter(chunks), b""

    def read(self, size: int | None = -1) -> bytes:
        self.left = self.left or next(self.chunks, b"")
        chunk, self.left = self.left[:size], self.left[size:]
        return chunk

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


def check(content: bytes, schema: TableSchema = HOUSE_PRICES, cap: int = 100) -> CheckedTable:
    return check_table(io.BytesIO(content), schema, name="kc.csv", cap=cap)


def normalised(content: bytes) -> bytes:
    target = io.BytesIO()
    write_normalised(io.BytesIO(content), check(content), target)
    return target.getvalue()


def only_problem(content: bytes) -> str:
    checked = check(content)
    assert checked.problem_count == 1, str(checked)
    return str(checked.problems[0])


def test_a_sound_table_is_described() -> None:
    checked = check(table(HEADER + ",note", *[f"{ROW},x"] * 19, "5,2.5,3000,2000,600000,"))

    assert checked.ok
    assert checked.rows == 20
    assert checked.columns == {name: name for name in HEADER.split(",")}
    assert checked.ignored == ("note",)
    assert (checked.statistics["price"].low, checked.statistics["price"].high) == (250_000, 600_000)
    assert checked.statistics["price"].mean == pytest.approx((19 * 250_000 + 600_000) / 20)
    assert str(checked) == "kc.csv: 20 rows, no problems"


def test_checksums_are_of_the_source_and_of_what_will_be_written() -> None:
    content = table(HEADER, *ROWS, end="\r\n")
    checked = check(content)

    assert checked.source_sha256 == hashlib.sha256(content).hexdigest()
    assert checked.normalised_sha256 == hashlib.sha256(normalised(content)).hexdigest()


def test_the_source_is_hashed_whole_even_when_it_is_given_up_early() -> None:
    content = b"{" + b" " * 300_000
    assert check(content).source_sha256 == hashlib.sha256(content).hexdigest()


def test_paths_and_streams_give_the_same_verdict_and_the_path_its_name(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(table(HEADER, *ROWS))
    checked = check_table(path, HOUSE_PRICES)

    assert checked.name == "houses.csv"
    assert checked.normalised_sha256 == check(path.read_bytes()).normalised_sha256


def test_a_stream_that_gives_little_at_a_time_and_cannot_seek_is_read() -> None:
    content = table(HEADER, *ROWS)
    stream = Chunks([content[at : at + 7] for at in range(0, len(content), 7)])
    assert check_table(stream, HOUSE_PRICES).ok
    assert not stream.closed


# --- headers


@pytest.mark.parametrize(
    "header",
    [
        "Bedrooms,BATHROOMS,Sqft,Year Built,Price",
        "beds,baths,sqft_living,yr_built,price",
        "Beds, Baths ,Living Area,YearBuilt,Sale Price",
        "bedrooms,bathrooms,Gr Liv Area,Construction-Year,SalePrice",
        "bedrooms,bathrooms,Square Feet,year_built,Price ($)",
        "\ufeffbedrooms,bathrooms,sqft,year_built,price",
    ],
)
def test_usual_names_are_recognised_however_they_are_spelled(header: str) -> None:
    checked = check(table(header, *ROWS))

    assert checked.ok, str(checked)
    assert list(checked.columns) == HEADER.split(",")
    assert normalised(table(header, *ROWS)) == table(HEADER, *ROWS)


def test_no_name_means_two_columns() -> None:
    for column in HOUSE_PRICES.columns:
        for name in (column.name, *column.aliases):
            assert [other.name for other in HOUSE_PRICES.columns if other.found_in([name])] == [column.name]


def test_the_exact_name_beats_other_spellings_and_those_beat_aliases() -> None:
    schema = TableSchema((Column("sqft", 0, 10, ("area",)),))
    assert check(table("area,SqFt,sqft", "1,2,3"), schema).columns == {"sqft": "sqft"}
    assert check(table("area,SqFt", "1,2"), schema).columns == {"sqft": "SqFt"}
    assert check(table("area,x", "1,2"), schema).columns == {"sqft": "area"}
    assert check(table("area,SqFt,sqft", "1,2,3"), schema).ignored == ("area", "SqFt")


def test_two_columns_that_could_be_the_same_are_a_problem() -> None:
    problem = only_problem(table("beds,bathrooms,sqft_living,living area,year_built,price", *["3,2,1,1,1990,1"] * 20))
    assert problem == (
        "line 1, column sqft: found 2 columns for it: 'sqft_living' and 'living area'; "
        "wanted only one of them, or one named exactly sqft"
    )


def test_a_needed_name_given_twice_is_a_problem_and_another_is_not() -> None:
    assert "found 2 columns for it: 'price' and 'price'" in only_problem(table(HEADER + ",price", *[ROW + ",1"] * 20))
    assert check(table(HEADER + ",note,note", *[ROW + ",a,b"] * 20)).ok


def test_a_missing_column_names_what_was_looked_for_and_the_nearest_header() -> None:
    problem = only_problem(table("bedrooms,bathrooms,sqft,yaer_built,price", *ROWS))
    assert problem.startswith(
        "line 1, column year_built: found no such column; the nearest is 'yaer_built'; "
        "wanted one of the names year_built, yr built, "
    )


def test_a_missing_column_that_is_like_none_names_the_headers_there_are() -> None:
    problem = only_problem(table("id,bedrooms,bathrooms,sqft,price,ZIP", *["1,3,2,1500,1,98101"] * 20))
    assert problem.startswith("line 1, column year_built: found no such column among 'id', 'ZIP'; wanted ")


def test_cells_of_the_columns_that_are_there_are_checked_though_another_is_missing() -> None:
    checked = check(table("bedrooms,bathrooms,sqft,price", *["3,2,1500,1"] * 20, "3,2,many,1"))
    assert checked.counts == {ProblemKind.MISSING_COLUMN: 1, ProblemKind.NOT_A_NUMBER: 1}


def test_a_table_without_a_header_is_told_so() -> None:
    assert only_problem(table(*ROWS)).startswith(f"line 1: found only numbers in the first line ('{ROW}')")


# --- cells

WRONG_CELLS = {
    "three": (ProblemKind.NOT_A_NUMBER, "found 'three'; wanted a number from 50 to 1,000,000"),
    "N/A": (ProblemKind.NOT_A_NUMBER, "found 'N/A'"),
    "1_500": (ProblemKind.NOT_A_NUMBER, "found '1_500'"),
    "١٥٠٠": (ProblemKind.NOT_A_NUMBER, "found '١٥٠٠'"),
    '"$1,500"': (ProblemKind.NOT_A_NUMBER, "found '$1,500'; wanted a number from 50 to 1,000,000 written plainly"),
    '"1,500"': (ProblemKind.NOT_A_NUMBER, "no currency sign or thousands separator, a point before decimals"),
    "": (ProblemKind.EMPTY_CELL, "found nothing; wanted a number from 50 to 1,000,000"),
    "  ": (ProblemKind.EMPTY_CELL, "found nothing"),
    "NaN": (ProblemKind.NOT_FINITE, "found 'NaN'"),
    "-Infinity": (ProblemKind.NOT_FINITE, "found '-Infinity'"),
    "49.9": (ProblemKind.OUT_OF_BOUNDS, "found 49.9; wanted a number from 50 to 1,000,000"),
    "-1500": (ProblemKind.OUT_OF_BOUNDS, "found -1500"),
    "1e999": (ProblemKind.OUT_OF_BOUNDS, "found 1e999"),
    "x" * 500: (ProblemKind.NOT_A_NUMBER, f"found '{'x' * 40}…'"),
}


@pytest.mark.parametrize(("cell", "kind", "said"), [(cell, *told) for cell, told in WRONG_CELLS.items()])
def test_a_wrong_cell_is_told_with_line_column_and_what_is_wanted(cell: str, kind: ProblemKind, said: str) -> None:
    content = table(HEADER, *ROWS, f"3,2,{cell},1990,250000", *ROWS)

    assert check(content).counts == {kind: 1}
    assert only_problem(content).startswith("line 22, column sqft: ")
    assert said in only_problem(content)


def test_a_column_under_another_name_is_told_under_the_name_in_the_file() -> None:
    content = table("beds,baths,sqft_living,yr_built,price", *ROWS, "3,2,x,1990,1")
    assert only_problem(content).startswith("line 22, column sqft_living (sqft): found 'x'")


@pytest.mark.parametrize("row", ["0,0,50,1600,1", "33,8,13540,1900,7700000", " 3 ,+2.,.15e4,1990.0,2.5E5"])
def test_unusual_but_real_values_are_sound(row: str) -> None:
    assert check(table(HEADER, *ROWS, row)).ok


def test_wrong_numbers_of_cells_are_told() -> None:
    checked = check(table(HEADER, *ROWS, "3,2,1500,1990", "3,2,1500,1990,250,000"))
    assert [str(problem) for problem in checked.problems] == [
        "line 22: found 4 cells; wanted 5, as in the header",
        "line 23: found 6 cells; wanted 5, as in the header",
    ]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    content = table("note," + HEADER, '"a\nb\r\nc",' + ROW, "", '"d\ne",3,2,x,1990,1', *["," + ROW] * 20)
    assert only_problem(content).startswith("line 6, column sqft")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_ends_are_sound_and_counted(end: str) -> None:
    content = table(HEADER, *ROWS, end=end)
    assert check(content).ok
    assert normalised(content) == table(HEADER, *ROWS)
    assert only_problem(content + b"3,2,x,1990,1").startswith("line 22, ")


def test_blank_lines_and_rows_of_empty_cells_are_passed_over() -> None:
    content = table("", " ", HEADER, "", *ROWS, ",,,,", " , ,", "")
    assert check(content).rows == 20
    assert normalised(content) == table(HEADER, *ROWS)


def test_a_header_in_the_middle_is_one_problem() -> None:
    problem = only_problem(table(HEADER, *ROWS, HEADER, *ROWS))
    assert problem == "line 22: found the header once more; wanted a row of figures"


def test_quotes_that_do_not_match_are_told_where_they_open() -> None:
    content = table(HEADER, *ROWS, '3,2,"15"00,1990,1', *ROWS)
    assert check(content).counts == {ProblemKind.BROKEN_QUOTES: 1}
    assert only_problem(content).startswith("line 22: ")

    content = table(HEADER, *ROWS, '3,2,"1500,1990,1', *ROWS)
    assert only_problem(content).startswith("line 22: found unexpected end of data")


# --- files


def test_an_empty_file_and_a_blank_one_are_told_so() -> None:
    for content in (b"", b"\xef\xbb\xbf", b"\n\n\n"):
        assert check(content).counts == {ProblemKind.EMPTY_FILE: 1}


def test_a_header_alone_and_too_few_rows_are_told() -> None:
    assert only_problem(table(HEADER)) == "too few rows: found a header and no rows; wanted at least 10 to train on"
    assert only_problem(table(HEADER, *ROWS[:9])) == "too few rows: found 9 rows; wanted at least 10 to train on"
    assert check(table(HEADER, *ROWS[:10])).ok


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return content.getvalue()


TEXT = table(HEADER, *ROWS)
FOREIGN = {
    "workbook": (workbook(), ProblemKind.NOT_CSV, "an Excel workbook (.xlsx)"),
    "gzip": (gzip.compress(TEXT), ProblemKind.NOT_CSV, "gzip data"),
    "pdf": (b"%PDF-1.7 ...", ProblemKind.NOT_CSV, "a PDF document"),
    "binary": (bytes(range(256)) * 20, ProblemKind.NOT_CSV, "NUL bytes"),
    "zeros": (bytes(5000), ProblemKind.NOT_CSV, "NUL bytes"),
    "json": (b' [\n {"price": 1}]', ProblemKind.NOT_CSV, "JSON"),
    "json lines": (b'{"price": 1}\n{"price": 2}\n', ProblemKind.NOT_CSV, "JSON"),
    "html": (b"\n<!DOCTYPE html><html>", ProblemKind.NOT_CSV, "a web page (HTML) or XML"),
    "utf-16": (TEXT.decode().encode("utf-16"), ProblemKind.WRONG_ENCODING, "UTF-16"),
    "utf-16-le": (TEXT.decode().encode("utf-16-le"), ProblemKind.WRONG_ENCODING, "UTF-16"),
    "utf-16-be": (TEXT.decode().encode("utf-16-be"), ProblemKind.WRONG_ENCODING, "UTF-16"),
}


@pytest.mark.parametrize(("content", "kind", "said"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_is_no_csv_is_called_what_it_is(content: bytes, kind: ProblemKind, said: str) -> None:
    assert check(content).counts == {kind: 1}
    assert said in only_problem(content)


def test_prose_is_told_to_lack_the_columns_and_not_every_line_of_it() -> None:
    checked = check(b"Dear colleague, here are the houses.\nThey are, as promised, many.\n" * 50)
    assert checked.counts == {ProblemKind.MISSING_COLUMN: 5}


def test_latin_1_is_named_with_the_letter_and_the_line_it_was_seen_on() -> None:
    content = (
        table("note," + HEADER, *["x," + ROW] * 20) + "Orléans,3,2,x,1990,1\nÉtretat,".encode("latin-1") + ROW.encode()
    )
    checked = check(content)

    assert checked.counts == {ProblemKind.NOT_A_NUMBER: 1, ProblemKind.WRONG_ENCODING: 1}
    assert "line 22: found byte 0xE9, which is 'é' in Latin-1 (Windows-1252); wanted UTF-8: save it as such" in str(
        checked
    )


def test_utf8_names_are_sound() -> None:
    assert check(table("note," + HEADER, *["Orléans 東京," + ROW] * 20)).ok


def test_binary_data_after_a_fair_beginning_is_told() -> None:
    content = table(HEADER, *[ROW] * 5000) + b"\0\0\0\n"
    assert only_problem(content).startswith("line 5002: found a NUL byte")


def test_a_quote_that_is_never_closed_does_not_swallow_the_file() -> None:
    content = table(HEADER, *ROWS) + b'"' + b"x,\n" * 1_000_000
    assert only_problem(content).startswith("line 22: found ")


def test_a_line_without_end_is_told_and_not_held_in_memory() -> None:
    tracemalloc.start()
    checked = check_table(Chunks([table(HEADER, *ROWS), *[b"1," * 10_000] * 1000]), HOUSE_PRICES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert str(checked.problems[0]).startswith("line 22: found a row that does not end within 1,048,576 characters")
    assert checked.counts == {ProblemKind.NOT_CSV: 1}
    assert peak < 8_000_000


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_semicolons_and_tabs_are_accepted_and_mentioned(delimiter: str, name: str) -> None:
    content = table(
        "note, with comma" + delimiter + HEADER.replace(",", delimiter),
        *["x" + delimiter + ROW.replace(",", delimiter)] * 20,
    )
    checked = check(content)

    assert checked.ok, str(checked)
    assert checked.notes == (f"cells are separated by {name}, not commas",)
    assert normalised(content) == table(HEADER, *ROWS)


def test_decimal_commas_are_told_apart_from_sound_figures() -> None:
    content = table(HEADER.replace(",", ";"), *["3;2,5;1500;1990;250000"] * 20)
    assert check(content).counts == {ProblemKind.NOT_A_NUMBER: 20}
    assert "a point before decimals" in str(check(content).problems[0])


# --- the report


def test_the_report_opens_with_the_first_problem_and_ends_with_the_kinds() -> None:
    checked = check(table(HEADER, *["3,2,x,1990,1"] * 12, *["3,,1500,1990,1"] * 3))

    lines = checked.summary(shown=3).splitlines()
    assert lines[0].startswith("kc.csv: 15 problems in 15 rows: line 2, column sqft: found 'x'; wanted ")
    assert lines[1].startswith("  line 3, column sqft: ")
    assert lines[3:] == ["  … and 12 more", "  In all: 12 × not a number, 3 × empty cell"]


def test_problems_are_kept_up_to_a_cap_and_counted_whole() -> None:
    checked = check(table(HEADER, *["3,2,x,1990,1"] * 250), cap=100)
    assert len(checked.problems) == 100
    assert checked.problem_count == 250
    assert checked.normalised_sha256 is None


def test_one_problem_reads_in_one_line() -> None:
    assert str(check(b"[]")) == "kc.csv: 1 problem: not a CSV file: found JSON; wanted a CSV file in UTF-8"
    assert "\n" not in str(check(table(HEADER, *ROWS, "3,2,x,1990,1")))


# --- normalising


def test_only_needed_columns_are_written_in_canonical_order_and_figures_as_they_were() -> None:
    content = table("price,note,yr_built,sqft,baths,beds", *['2.50e5,"a, b", 1990 ,1500.0,2,03'] * 10, end="\r\n")
    assert normalised(content) == table(HEADER, *["03,2,1500.0,1990,2.50e5"] * 10)


def test_a_refused_table_is_not_normalised() -> None:
    content = table(HEADER, "3,2,x,1990,1")
    with pytest.raises(ValueError, match="nothing to normalise"):
        write_normalised(io.BytesIO(content), check(content), io.BytesIO())


@pytest.mark.parametrize("changed", [table(HEADER, *ROWS, ROW), table(HEADER, *ROWS[:-1], "3,2"), b""])
def test_a_source_that_changed_after_the_check_is_noticed(changed: bytes) -> None:
    with pytest.raises(SourceChangedError, match="changed since it was checked"):
        write_normalised(io.BytesIO(changed), check(table(HEADER, *ROWS)), io.BytesIO())


def test_memory_does_not_grow_with_the_table() -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        assert check_table(Chunks([table(HEADER), *[table(*[ROW] * 1000)] * (rows // 1000)]), HOUSE_PRICES).rows == rows
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(40_000) < peak(4_000) + 100_000


# --- rules for all inputs

FIGURES = {
    "bedrooms": st.integers(0, 100).map(str),
    "bathrooms": st.floats(0, 100).map(repr),
    "sqft": st.floats(50, 1_000_000).map(lambda value: f"{value:.2f}"),
    "year_built": st.integers(1600, 2100).map(lambda year: f" {year} "),
    "price": st.integers(1, 10**9).map(lambda price: f"{price:e}" if price % 10**6 == 0 else str(price)),
}
DEFECTS = {
    "": "column",
    "x": "column",
    "nan": "column",
    "-1": "column",
    "1e12": "column",
    "1 000 000": "column",
    "1,1": "row",  # one cell becomes two
}


@st.composite
def written_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]], str, str]:
    """Column order, rows of cells, delimiter and line end of a sound table with a column of notes."""
    order = draw(st.permutations([*FIGURES, "note"]))
    note = st.sampled_from(["", "plain", '"two\nlines"', '"a ""quoted"" word"', "Orléans"])
    row = st.tuples(*(FIGURES.get(name, note) for name in order)).map(list)
    rows = draw(st.lists(row, min_size=10, max_size=30))
    return order, rows, draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))


@given(written_tables())
def test_normalising_is_idempotent_and_forgets_only_the_form(
    written: tuple[list[str], list[list[str]], str, str],
) -> None:
    order, rows, delimiter, end = written
    content = table(delimiter.join(order), *(delimiter.join(cells) for cells in rows), end=end)

    once = normalised(content)

    assert normalised(once) == once
    assert check(once).normalised_sha256 == check(once).source_sha256 == check(content).normalised_sha256
    expected = [[cells[order.index(name)].strip() for name in FIGURES] for cells in rows]
    assert [line.split(",") for line in once.decode().splitlines()[1:]] == expected


@given(written_tables(), st.data())
def test_k_defects_are_k_problems_on_their_lines(
    written: tuple[list[str], list[list[str]], str, str], data: st.DataObject
) -> None:
    order, rows, _, end = written
    wrong = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    expected, line = [], 2
    for at, cells in enumerate(rows):
        if at in wrong:
            name = data.draw(st.sampled_from(list(FIGURES)))
            defect = data.draw(st.sampled_from(list(DEFECTS)))
            cells[order.index(name)] = defect
            expected.append((line, f"column {name}" if DEFECTS[defect] == "column" else None))
        line += 1 + sum(cell.count("\n") for cell in cells)

    checked = check(table(",".join(order), *(",".join(cells) for cells in rows), end=end))

    assert [(problem.number, problem.place) for problem in checked.problems] == expected
    assert checked.problem_count == len(wrong)
    assert checked.rows == len(rows)
