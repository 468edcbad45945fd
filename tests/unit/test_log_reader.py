"""Each line of a job's log is told once and in order, whatever fails, and whoever dies at whatever step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from scripted_logs import JOB, ScriptedLogs, aws_error

from trainmaster.errors import StorageUnavailableError
from trainmaster.training.log_sinks import SURE_CHARACTERS, FileSink, Line
from trainmaster.training.logs import LogReader, last_lines, lines_of


class Kept:
    """A sink and its positions that outlive readers, and let them die or fail at the step they are told."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.positions: dict[str, str | None] = {}
        self.asked = 0
        self.steps_left = -1
        self.error: type[BaseException] = KeyboardInterrupt

    def _step(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise self.error("later")

    def tell(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._step()
            self.lines.append(line)
        self._step()

    def told_since(self, since: Mapping[str, int]) -> list[Line]:
        self._step()
        self.asked += 1
        return [line for line in self.lines if line.at >= since.get(line.stream, line.at + 1)]

    def load(self, _job: str, _reader: str, /) -> Mapping[str, str | None]:
        return dict(self.positions)

    def save(self, _job: str, _reader: str, positions: Mapping[str, str | None], /) -> None:
        self._step()
        self.positions.update(positions)
        self._step()

    def texts(self, host: str) -> list[str]:
        return [line.text for line in self.lines if f"/{host}-" in line.stream]


def reader_of(logs: ScriptedLogs, kept: Kept | None = None, hosts: int = 1) -> LogReader:
    return LogReader(logs, JOB, hosts, kept, kept, "me")


def texts(lines: Sequence[Line]) -> list[str]:
    return [str(line) for line in lines]


def test_lines_of_several_hosts_come_by_time_each_with_its_host() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "a", at=1)
    logs.say("algo-2", "b", at=2)
    logs.say("algo-1", "c", at=3)
    reader = reader_of(logs, hosts=2)
    assert texts(reader.new_lines()) == ["algo-1: a", "algo-2: b", "algo-1: c"]
    assert reader.new_lines() == []


def test_the_tenth_host_comes_after_the_second_in_the_same_millisecond() -> None:
    logs = ScriptedLogs()
    for host in (10, 2, 1):
        logs.say(f"algo-{host}", "x")
    assert texts(reader_of(logs, hosts=10).new_lines()) == ["algo-1: x", "algo-2: x", "algo-10: x"]


def test_equal_lines_of_one_millisecond_are_each_told_also_when_more_of_them_come_later() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "x", "x")
    reader = reader_of(logs)
    assert texts(reader.new_lines()) == ["x", "x"]
    logs.say("algo-1", "x", "y", "x")
    assert texts(reader.new_lines()) == ["x", "y", "x"]
    assert reader.new_lines() == []


def test_pages_are_read_on_until_the_token_repeats_though_some_are_empty() -> None:
    logs = ScriptedLogs(page=3)
    logs.say("algo-1", *map(str, range(10)))
    assert texts(reader_of(logs).new_lines()) == [str(number) for number in range(10)]


def test_a_page_without_events_is_no_end() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "after an empty page")
    read, pages = logs.get_log_events, [{"events": [], "nextForwardToken": "f/0"}]

    def first_empty(**asked: Any) -> Any:
        return pages.pop() if pages else read(**asked)

    logs.get_log_events = first_empty  # type: ignore[method-assign]
    assert texts(reader_of(logs).new_lines()) == ["after an empty page"]


def test_a_job_with_more_than_fifty_streams_is_read_whole() -> None:
    logs = ScriptedLogs()
    for host in range(1, 121):
        logs.say(f"algo-{host}", f"of {host}", at=host)
    lines = reader_of(logs, hosts=120).new_lines()
    assert [line.text for line in lines] == [f"of {host}" for host in range(1, 121)]


def test_the_list_of_streams_is_asked_for_once_when_every_host_has_its_own() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "a")
    reader = reader_of(logs)
    for _ in range(5):
        reader.new_lines()
    assert logs.calls.count("DescribeLogStreams") == 1


def test_a_look_that_brings_nothing_is_a_single_call() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "a", "b")
    reader = reader_of(logs)
    reader.new_lines()
    reader.new_lines()
    logs.calls.clear()
    assert reader.new_lines() == []
    assert logs.calls == ["GetLogEvents"]
    logs.say("algo-1", "c")
    assert texts(reader.new_lines()) == ["c"]


def test_a_stream_that_is_missing_is_looked_for_now_and_then_and_a_new_one_after_a_restart() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "first host", at=1)
    reader = reader_of(logs, hosts=2)
    reader.new_lines()
    logs.say("algo-2", "second host", at=2)
    later = [texts(reader.new_lines()) for _ in range(10)]
    assert [line for lines in later for line in lines] == ["algo-2: second host"]
    assert logs.calls.count("DescribeLogStreams") == 2
    for host in ("algo-1", "algo-2"):
        logs.say(host, "again", at=3, begun=200)
    reader.look_again(starts=2)
    assert texts(reader.new_lines()) == ["algo-1: again", "algo-2: again"]


def test_streams_of_runs_that_were_interrupted_are_left_alone_after_a_while() -> None:
    logs = ScriptedLogs()
    for begun in range(100, 130):
        logs.say("algo-1", f"run {begun}", at=begun, begun=begun)
    reader = reader_of(logs)
    reader.look_again(starts=30)
    for _ in range(10):
        reader.new_lines()
    logs.calls.clear()
    reader.new_lines()
    assert logs.calls == ["GetLogEvents"]


def test_a_read_is_bounded_and_what_is_left_comes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.training.logs.LINES_PER_READ", 20)
    monkeypatch.setattr("trainmaster.training.logs.FEWEST_PER_PAGE", 5)
    logs = ScriptedLogs(page=7)
    for at in range(300):
        logs.say("algo-2" if at % 90 == 10 else "algo-1", str(at), at=at)  # of one there is much more to read
    reader, told, reads = reader_of(logs, hosts=2), list[str](), 0
    while not reads or reader.has_more:
        lines = reader.new_lines()
        assert len(lines) <= 40
        told += [line.text for line in lines]
        reads += 1
    assert told == [str(number) for number in range(300)]
    assert reads > 5


def test_a_millisecond_with_more_lines_than_a_read_takes_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.training.logs.LINES_PER_READ", 20)
    monkeypatch.setattr("trainmaster.training.logs.FEWEST_PER_PAGE", 5)
    logs = ScriptedLogs(page=7)
    logs.say("algo-1", *["same"] * 150, at=5)
    logs.say("algo-1", "last", at=6)
    reader, told = reader_of(logs), list[str]()
    for _ in range(30):
        told += texts(reader.new_lines())
    assert told == ["same"] * 150 + ["last"]


def test_a_read_that_failed_between_two_hosts_is_told_whole_by_the_next() -> None:
    logs = ScriptedLogs()
    logs.say("algo-1", "a")
    logs.say("algo-2", "b")
    refusals = [aws_error("ThrottlingException")]

    def fail(operation: str, stream: str) -> None:
        if refusals and operation == "GetLogEvents" and "algo-2" in stream:
            raise refusals.pop()

    logs.fail = fail
    reader = reader_of(logs, hosts=2)
    with pytest.raises(ClientError):
        reader.new_lines()
    assert texts(reader.new_lines()) == ["algo-1: a", "algo-2: b"]


def test_a_log_that_is_not_there_yet_has_no_lines() -> None:
    logs = ScriptedLogs()

    def fail(_operation: str, _stream: str) -> None:
        raise aws_error("ResourceNotFoundException")

    logs.fail = fail
    assert reader_of(logs).new_lines() == []
    assert last_lines(logs, JOB) == []


def test_after_a_restart_it_goes_on_where_it_was_and_asks_the_sink_for_the_last_millisecond_only() -> None:
    logs, kept = ScriptedLogs(), Kept()
    logs.say("algo-1", "old", at=1)
    logs.say("algo-1", "last", at=2)
    reader_of(logs, kept).new_lines()
    logs.say("algo-1", "new", at=2)
    assert texts(reader_of(logs, kept).new_lines()) == ["new"]
    assert kept.texts("algo-1") == ["old", "last", "new"]


def test_a_sink_that_fails_half_way_is_asked_what_it_has_before_it_is_told_on() -> None:
    logs, kept = ScriptedLogs(), Kept()
    logs.say("algo-1", "a", "b", "c")
    reader = reader_of(logs, kept)
    kept.steps_left, kept.error = 4, StorageUnavailableError  # asked, a, b
    with pytest.raises(StorageUnavailableError):
        reader.new_lines()
    assert kept.texts("algo-1") == ["a", "b"]
    assert texts(reader.new_lines()) == ["c"]
    assert kept.texts("algo-1") == ["a", "b", "c"]


def test_positions_that_cannot_be_kept_hold_up_no_line_and_are_said() -> None:
    logs, kept = ScriptedLogs(), Kept()
    logs.say("algo-1", "a")
    reader = reader_of(logs, kept)
    kept.steps_left, kept.error = 4, StorageUnavailableError  # asked, a, told, save
    assert texts(reader.new_lines()) == ["a"]
    assert (reader.unsaved_because, kept.positions) == ("later", {})
    reader.new_lines()
    assert kept.positions == {f"{JOB}/algo-1-100": "1"}
    assert reader.unsaved_because == ""


def test_what_a_dead_reader_told_but_did_not_note_is_heard_again_for_the_progress() -> None:
    logs, kept = ScriptedLogs(), Kept()
    logs.say("algo-1", "step=1; loss=2;", at=1)
    logs.say("algo-1", "step=2; loss=1;", at=2)
    dead = reader_of(logs, kept)
    kept.steps_left = 5  # before it saves
    with pytest.raises(KeyboardInterrupt):
        dead.new_lines()
    reader = reader_of(logs, kept)
    assert reader.new_lines() == []
    assert texts(reader.heard) == ["step=1; loss=2;", "step=2; loss=1;"]
    assert reader.new_lines() == []
    assert reader.heard == []


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=60),
    st.lists(st.integers(0, 25), min_size=1, max_size=25),
    st.integers(1, 9),
    st.integers(1, 12),
    st.booleans(),
)
def test_whoever_dies_wherever_every_line_is_told_once_and_each_host_in_order(
    script: list[tuple[int, int, str]], deaths: list[int], page: int, lines_per_read: int, with_positions: bool
) -> None:
    """`script` is who writes what how many milliseconds later, a few lines between two lives; a death is after so many steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainmaster.training.logs.LINES_PER_READ", lines_per_read)
        patch.setattr("trainmaster.training.logs.FEWEST_PER_PAGE", 1)
        logs, kept, at = ScriptedLogs(page), Kept(), 0
        written: dict[int, list[str]] = {1: [], 2: [], 3: []}
        lines = iter(script)
        for death in [*deaths, -1]:
            for host, later, text in lines if death == -1 else [one for one, _ in zip(lines, range(3), strict=False)]:
                at += later
                logs.say(f"algo-{host}", text, at=at)
                written[host].append(text)
            kept.steps_left = death
            reader = LogReader(logs, JOB, 3, kept, kept if with_positions else None, "me")
            try:
                while not reader.new_lines() or reader.has_more:
                    if not reader.has_more:
                        break
            except KeyboardInterrupt:
                continue
        assert {host: kept.texts(f"algo-{host}") for host in written} == written


def test_the_end_of_a_log_is_read_without_the_rest_of_it() -> None:
    class FromTheEnd(ScriptedLogs):
        def get_log_events(self, *, startFromHead: bool, limit: int = 0, **asked: Any) -> dict[str, Any]:  # noqa: N803 - AWS's
            assert not startFromHead
            page = super().get_log_events(**asked)
            return {**page, "events": page["events"][-limit:]}

    logs = FromTheEnd()
    for at in range(500):
        logs.say(f"algo-{1 + at % 2}", str(at), at=at)
    logs.say("algo-1", "of the last run", at=600, begun=200)
    found = last_lines(logs, JOB, most=3)
    assert texts(found) == ["algo-2: 497", "algo-2: 499", "algo-1: of the last run"]


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ("plain\n", ["plain"]),
        ("windows\r\n", ["windows"]),
        ("a\nb\n", ["a", "b"]),
        ("", [""]),
        ("nul\0 and half \ud800 a character", ["nul\ufffd and half ? a character"]),
        ("\r 10%\r 20%", ["\r 10%\r 20%"]),
    ],
)
def test_an_event_is_as_many_lines_as_it_has_and_of_characters_that_can_be_kept(message: str, lines: list[str]) -> None:
    assert list(lines_of(message)) == lines


class TestFileSink:
    STREAM = f"{JOB}/algo-1-100"

    def line(self, text: str, at: int = 1, stream: str = STREAM) -> Line:
        return Line(stream, at, text)

    def test_a_line_is_known_again_by_stream_time_and_text(self, tmp_path: Path) -> None:
        lines = [self.line("old", 1), self.line("  spaced  ", 1_700_000_000_123), self.line("", 1_700_000_000_124)]
        with FileSink(tmp_path / "log") as sink:
            sink.tell(lines)
            assert list(sink.told_since({self.STREAM: 2})) == [lines[2], lines[1]]
            assert sink.load(JOB, "") == {self.STREAM: "1700000000124"}
        assert (tmp_path / "log").read_text().splitlines()[1] == "2023-11-14T22:13:20.123+00:00 algo-1-100   spaced  "

    def test_half_a_line_left_by_a_writer_that_was_killed_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with FileSink(path) as sink:
            sink.tell([self.line("whole")])
        with path.open("ab") as file:
            file.write(b"1970-01-01T00:00:00.001+00:00 algo-1-100 hal" + b"\xc3" + b"x" * 200_000)
        with FileSink(path) as sink:
            assert [line.text for line in sink.told_since({self.STREAM: 0})] == ["whole"]
            sink.tell([self.line("next")])
        assert [line.split(" ", 2)[2] for line in path.read_text().splitlines()] == ["whole", "next"]

    def test_a_file_with_nothing_but_half_a_line_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(b"1970-01")
        with FileSink(tmp_path / "log") as sink:
            assert list(sink.told_since({self.STREAM: 0})) == []
            assert sink.load(JOB, "") == {}

    def test_two_may_not_write_one_file(self, tmp_path: Path) -> None:
        with FileSink(tmp_path / "log"), pytest.raises(Exception, match="being written by another process"):
            FileSink(tmp_path / "log")
        FileSink(tmp_path / "log").close()

    @given(
        st.lists(
            st.tuples(st.integers(1, 3), st.text(max_size=300).map(lambda text: "".join(lines_of(text)))), max_size=40
        )
    )
    def test_any_text_is_read_back_as_it_was_told(self, tmp_path_factory: Any, told: list[tuple[int, str]]) -> None:
        lines = [self.line(text * 50, at, f"{JOB}/algo-{at}-1") for at, text in told]
        since = {f"{JOB}/algo-{number}-1": 0 for number in (1, 2, 3)}
        with FileSink(tmp_path_factory.mktemp("sink") / "log") as sink:
            sink.tell(lines)
            assert list(sink.told_since(since)) == lines[::-1]

    def test_a_line_longer_than_a_sink_must_keep_is_known_by_its_beginning(self) -> None:
        logs, kept = ScriptedLogs(), Kept()
        logs.say("algo-1", "y" * (SURE_CHARACTERS + 50))
        kept.steps_left = 3
        with pytest.raises(KeyboardInterrupt):
            reader_of(logs, kept).new_lines()
        kept.lines = [Line(line.stream, line.at, line.text[:SURE_CHARACTERS]) for line in kept.lines]
        assert reader_of(logs, kept).new_lines() == []
        assert Counter(len(text) for text in kept.texts("algo-1")) == {SURE_CHARACTERS: 1}
