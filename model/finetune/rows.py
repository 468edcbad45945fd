"""Rows of canonical datasets, one after the other from the files of a job's channels, each with where it is. Imports no PyTorch."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.finetune.problems import BadInputError

ENDINGS = (".jsonl", ".jsonl.gz")
KEPT = 1000
"""Bad rows that are said one by one; the rest are counted."""
NAMED = 8
"""Bad rows that the job's failure names: it takes 1,024 characters."""


@dataclass(frozen=True)
class Row:
    """A line of a file; `number` is from 1."""

    channel: str
    file: str
    number: int
    value: Any

    @property
    def where(self) -> str:
        return f"{self.channel}/{self.file} line {self.number}"


class RowError(Exception):
    """Raised of a row that cannot be trained on; the text says what is wrong with it, not where it is."""


@dataclass
class BadRows:
    """What cannot be trained on: of each row what is wrong, of each format that does not fit how many there are, and where."""

    rows: list[str] = field(default_factory=list)
    count: int = 0
    misfits: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if self.count <= KEPT:
            self.rows.append(f"{where}: {what}")

    def add_misfit(self, row: Row, format_: str, what: str) -> None:
        """A row of a format that the method cannot use; told once for its channel."""
        count, first, _ = self.misfits.get((row.channel, format_), (0, row.where, what))
        self.misfits[row.channel, format_] = count + 1, first, what

    def refuse(self) -> None:
        """Prints every bad row that was kept. Raises BadInputError where there is any."""
        said = [
            f"Channel {channel} has {count:,} examples of format {format_} (the first: {first}). {what}"
            for (channel, format_), (count, first, what) in self.misfits.items()
        ]
        if self.count:
            for line in self.rows:
                print(f"Cannot be trained on: {line}", flush=True)
            unsaid = f" and {self.count - NAMED:,} more, which the log lists" if self.count > NAMED else ""
            if self.count > KEPT:
                print(f"Cannot be trained on: {self.count - KEPT:,} more rows.", flush=True)
                unsaid += f" as far as the {KEPT:,}th"
            rows = f"{self.count:,} {'row' if self.count == 1 else 'rows'}"
            said.append(f"{rows} cannot be trained on: {'; '.join(self.rows[:NAMED])}{unsaid}.")
        if said:
            raise BadInputError(" ".join(said))


def channels_of(role: str, channels: Mapping[str, Path]) -> list[str]:
    """`training`, `training-2` and so on, as Trainmaster names them, in the order of their numbers."""
    return sorted(
        (name for name in channels if name == role or name.startswith(f"{role}-")),
        key=lambda name: (len(name), name),
    )


def files_in(folder: Path) -> list[Path]:
    """Its datasets, in the same order everywhere. Raises BadInputError of files that are none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    others = [path.name for path in files if not path.name.endswith(ENDINGS)]
    if others:
        raise BadInputError(
            f"Channel {folder.name} has {others[0]}{f' and {len(others) - 1} more' * (len(others) > 1)}, which is no dataset:"
            f" the names of datasets end in {' or '.join(ENDINGS)}. `trainmaster datasets upload` makes such files."
        )
    return files


def rows_of(channel: str, folder: Path, bad: BadRows) -> Iterator[Row]:
    """Every row that is JSON; blank lines are none. Raises BadInputError of a file that cannot be read to its end."""
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        try:
            with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    try:
                        value = json.loads(line)
                    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                        bad.add(f"{channel}/{name} line {number}", f"is no JSON ({error})")
                        continue
                    yield Row(channel, name, number, value)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInputError(
                f"{channel}/{name} cannot be read to its end: {error}. Upload it again; `trainmaster datasets check` reads it whole."
            ) from error
