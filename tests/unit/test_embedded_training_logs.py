"""A job's output becomes log lines: all of them, in order, within CloudWatch's limits."""

from hypothesis import given
from hypothesis import strategies as st

from trainmaster.embedded.sagemaker import logs
from trainmaster.embedded.sagemaker.logs import LineSplitter, batches


def split(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + list(splitter.end())


def test_a_line_ends_at_its_newline_and_the_last_needs_none() -> None:
    assert split(b"one\r\ntwo\n\nthree") == ["one", "two", "three"]


def test_invalid_utf_8_is_replaced() -> None:
    assert split(b"caf\xc3\xa9 \xff\n") == ["café \ufffd"]


@given(
    st.lists(st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1)), st.data()
)
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[str], data: st.DataObject) -> None:
    output = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)))))
    chunks = [output[start:end] for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    assert split(*chunks) == lines


def test_a_long_line_is_cut_at_cloudwatchs_limit_without_losing_or_splitting_a_character() -> None:
    line = "é" * logs.EVENT_BYTES
    pieces = split(line.encode()[:777], line.encode()[777:] + b"\n")
    assert "".join(pieces) == line
    assert max(len(piece.encode()) for piece in pieces) <= logs.EVENT_BYTES


def test_bytes_that_are_no_text_stay_within_the_limit_too() -> None:
    assert max(len(piece.encode()) for piece in split(b"\x80" * logs.EVENT_BYTES * 2)) <= logs.EVENT_BYTES


def test_output_without_any_newline_does_not_wait_for_one() -> None:
    assert next(LineSplitter().feed(b"x" * (logs.EVENT_BYTES + 1))) == "x" * logs.EVENT_BYTES


@given(st.lists(st.integers(1, logs.EVENT_BYTES), max_size=30))
def test_batches_hold_every_line_in_order_within_the_limits_of_one_request(sizes: list[int]) -> None:
    lines = [(number, "x" * size) for number, size in enumerate(sizes)]
    made = list(batches(lines))
    assert [line for batch in made for line in batch] == lines
    for batch in made:
        assert sum(len(text) + logs.EVENT_OVERHEAD for _, text in batch) <= logs.BATCH_BYTES


def test_a_batch_has_at_most_ten_thousand_lines() -> None:
    assert [len(batch) for batch in batches((0, "x") for _ in range(25_000))] == [10_000, 10_000, 5_000]
