"""Where the lines of a job's log are told: a sink keeps them for good, and knows which it has when nobody else does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, Self

from trainmaster.errors import NameConflictError

SURE_CHARACTERS = 2000
"""Of a line a sink keeps at least so many, from its beginning: they are what a line told before is known by."""
_BLOCK = 1 << 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    """What a host wrote into its stream, `at` epoch milliseconds by CloudWatch. Its text has no newline and no NUL in it.

    As a string it begins with its host, where there are several.
    """

    stream: str
    at: int
    text: str
    host: str = ""

    def __str__(self) -> str:
        return f"{self.host}: {self.text}" if self.host else self.text

    @property
    def moment(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.at)


class LogSink(Protocol):
    """What shows or keeps a job's log. Raises TrainmasterError or OSError when it cannot: it is asked again later."""

    def tell(self, lines: Sequence[Line]) -> None:
        """Take lines; they are kept, whoever dies, once this returns. Where it raises or dies, any of them may be kept or not."""

    def told_since(self, since: Mapping[str, int]) -> Iterable[Line]:
        """Of each of these streams every line that was told and has this time or a later one, in any order; `host` may be left out.

        Asked when a follower begins and after a `tell` that failed. A text may be cut after SURE_CHARACTERS.
        """


class LogPositions(Protocol):
    """How far readers have come; `positions` are by stream, and only they know what they mean."""

    def load(self, job: str, reader: str, /) -> Mapping[str, str | None]:
        """Where this reader of the job's log stopped; nothing for one that never read."""

    def save(self, job: str, reader: str, positions: Mapping[str, str | None], /) -> None:
        """Keep where the reader is in these streams; what is kept of others stays."""


class FileSink:
    """One job's log in a file: lines of `<time> <stream> <text>`, each there once. Closed by its `with` block.

    It keeps the positions of its only reader too: they are the times of its last lines. Nobody else may write the file
    meanwhile: raises NameConflictError when somebody does.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise NameConflictError(f"{path} is being written by another process; give each its own file.") from None
        self._cut_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    def tell(self, lines: Sequence[Line]) -> None:
        left = memoryview("".join(f"{_time(line.at)} {_short(line.stream)} {line.text}\n" for line in lines).encode())
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)

    def told_since(self, since: Mapping[str, int]) -> Iterator[Line]:
        """Reads backwards, no further than these streams' times."""
        self._cut_torn_line()
        streams = {_short(stream): stream for stream in since}
        open_ended = set(streams)
        for raw in self._backwards():
            if not open_ended:
                return
            time, short, text = raw.decode().split(" ", 2)
            if short in streams:
                at = _at(time)
                if at >= since[streams[short]]:
                    yield Line(streams[short], at, text)
                else:
                    open_ended.discard(short)

    def load(self, job: str, _reader: str, /) -> dict[str, str | None]:
        """The times of its last lines."""
        self._cut_torn_line()
        found: dict[str, str | None] = {}
        with open(self._file, "rb", closefd=False) as lines:
            lines.seek(0)
            for raw in lines:
                time, short, _ = raw.decode().split(" ", 2)
                found[f"{job}/{short}"] = time
        return {stream: str(_at(time or "")) for stream, time in found.items()}

    def save(self, _job: str, _reader: str, _positions: Mapping[str, str | None], /) -> None:
        """They are where the file ends."""

    def _cut_torn_line(self) -> None:
        """A writer that was killed, or had no space, may have left half a line; it is told again."""
        size, end = os.fstat(self._file).st_size, 0
        for start in range((size - 1) // _BLOCK * _BLOCK, -1, -_BLOCK):
            found = os.pread(self._file, _BLOCK, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
        if end < size:
            os.ftruncate(self._file, end)

    def _backwards(self) -> Iterator[bytes]:
        """Its lines, the last one first, in the memory of a block and a line."""
        rest, place = b"", os.fstat(self._file).st_size
        while place > 0:
            start = max(place - _BLOCK, 0)
            first, *whole = (os.pread(self._file, place - start, start) + rest).split(b"\n")
            yield from filter(None, reversed(whole))
            rest, place = first, start
        if rest:
            yield rest


def _time(at: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")


def _at(time: str) -> int:
    return round((datetime.fromisoformat(time) - _EPOCH) / timedelta(milliseconds=1))


def _short(stream: str) -> str:
    """Without the job's name, which is that of the file's only job."""
    return stream.rpartition("/")[2]
