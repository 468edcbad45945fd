"""A dataset in a file checked, as `trainmaster datasets check` was told to."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import IO

from trainmaster.commands.terminal.progress import Progress
from trainmaster.commands.terminal.reading import StoppedError, stoppable
from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.report import DatasetReport
from trainmaster.datasets.showing.machine import as_json
from trainmaster.datasets.showing.terminal import Page, as_text
from trainmaster.datasets.tokens import named_tokenizer
from trainmaster.errors import RefusedError
from trainmaster.plain_words import printable

ACCEPTED, REFUSED, UNREADABLE = 0, 1, 2
STDIN = "-"
PIPED_WIDTH = 100


class CannotCheckError(Exception):
    """Raised when no check can be made; the message is all there is to say."""


def run(args: argparse.Namespace) -> int:
    """0 when the dataset is accepted, 1 when it is refused, 2 with a sentence on stderr when it cannot be read, for machines on stdout too."""
    try:
        report = _checked(args)
    except StoppedError as stopped:
        print("Stopped before the end of the file: nothing was written.", file=sys.stderr)
        return stopped.exit_code
    except CannotCheckError as error:
        print(f"trainmaster datasets check: {error}", file=sys.stderr)
        if args.json:
            kind = type(error.__cause__ or error).__name__
            _print(json.dumps({"error": kind, "message": str(error), "problems": []}))
        return UNREADABLE
    _print(json.dumps(as_json(report)) if args.json else _text(report, args.output))
    return ACCEPTED if report.ok else REFUSED


def dropped_beside(output: Path) -> Path:
    """Where the examples go that were dropped from a dataset written to `output`."""
    name = output.name.removesuffix(".gz").removesuffix(".jsonl")
    return output.with_name(f"{name}.dropped.jsonl.gz")


def _checked(args: argparse.Namespace) -> DatasetReport:
    name = "standard input" if args.file == STDIN else args.file
    try:
        with stoppable(_opened(args.file)) as source, Progress(_size(source), sys.stderr) as progress:
            _require_writable(args.output, source)
            tokenizer = named_tokenizer(args.tokenizer) if args.tokenizer else None
            return check_dataset(
                source,
                name=name if args.file == STDIN else Path(args.file).name,
                demanded=Format(args.format) if args.format else None,
                max_bad_fraction=args.max_bad_fraction,
                cap=args.cap,
                normalised=args.output,
                dropped=dropped_beside(args.output) if args.output else None,
                tokenizer=tokenizer,
                progress=progress.show,
            )
    except RefusedError as error:
        raise CannotCheckError(str(error)) from error
    except OSError as error:
        where = printable(os.fsdecode(error.filename or name))
        raise CannotCheckError(f"{where}: {error.strerror or error}") from error


def _opened(file: str) -> int:
    """A descriptor of its own, whatever becomes of the standard input."""
    if file == STDIN:
        return os.dup(0)
    path = Path(file).expanduser()
    if path.is_dir():
        raise CannotCheckError(f"{printable(file)} is a folder: give a file.")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _size(source: IO[bytes]) -> int:
    """Bytes; 0 when only the end will tell."""
    return os.fstat(source.fileno()).st_size


def _require_writable(output: Path | None, source: IO[bytes]) -> None:
    """Told before an hour of reading, not after."""
    if not output:
        return
    if not output.parent.is_dir():
        raise CannotCheckError(f"There is no folder {printable(str(output.parent))} to write {output.name} to.")
    if output.is_dir():
        raise CannotCheckError(f"{printable(str(output))} is a folder: give the name of a file to write.")
    for written in (output, dropped_beside(output)):
        if written.exists() and os.path.samestat(written.stat(), os.fstat(source.fileno())):
            raise CannotCheckError(f"{printable(str(written))} is the file to be checked: choose another --output.")


def _text(report: DatasetReport, output: Path | None) -> str:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns
    return "\n\n".join([as_text(report, Page(width, colour)), *_whereabouts(report, output)])


def _whereabouts(report: DatasetReport, output: Path | None) -> list[str]:
    if not output:
        return []
    if not report.normalised:
        return ["Nothing was written."]
    dropped = f", what was dropped to {printable(str(dropped_beside(output)))}" if report.dropped else ""
    return [f"Written to {printable(str(output))}{dropped}."]


def _print(text: str) -> None:
    """Whoever reads may leave early, as `head` does, or know fewer characters than Unicode has."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it ends
