"""`trainmaster datasets check FILE`: whether a fine-tuning dataset is sound, and what is in it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trainmaster.commands.terminal.progress import Progress
from trainmaster.commands.terminal.reading import StoppedError, stoppable
from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.report import DatasetReport
from trainmaster.datasets.showing.machine import as_json
from trainmaster.datasets.showing.terminal import Page, as_text
from trainmaster.datasets.showing.wording import printable
from trainmaster.datasets.tokens import named_tokenizer
from trainmaster.errors import RefusedError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

ACCEPTED, REFUSED, UNREADABLE = 0, 1, 2
STDIN = "-"
PIPED_WIDTH = 100

_ABOUT = """Whether a fine-tuning dataset is sound: every problem with its line, what is in it, and what to do next.
Formats: chatml, sharegpt, alpaca, openorca, unnatural, dpo, rlhf, kto, raw_text, jsonl. Files: JSON Lines, a JSON array
or object, CSV, Parquet; plain, gzip or zstd. Exit code 0: accepted; 1: refused; 2: it cannot be read."""


class _CannotCheckError(Exception):
    """Raised when no check can be made; the message is all there is to say."""


def add_parser(subcommands: Subparsers) -> None:
    parser = subcommands.add_parser("check", help="whether a file is sound, and what is in it", description=_ABOUT)
    parser.add_argument("file", metavar="FILE", help="the dataset; - reads standard input")
    parser.add_argument("--format", choices=[str(each) for each in Format], help="demanded, rather than detected")
    parser.add_argument(
        "--max-bad-fraction", type=_fraction, default=0.0, metavar="SHARE",
        help="of malformed examples to drop rather than refuse the file: 0.01 is one in a hundred (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--cap", type=_count, default=100, metavar="N", help="problems shown; all are counted (default %(default)s)"
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="counts tokens exactly: path of a tokenizer.json, or a Hugging Face Hub id"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.jsonl.gz",
        help="write the normalised dataset there, dropped examples to FILE.dropped.jsonl.gz",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when the dataset is accepted, 1 when it is refused, 2 with a sentence on stderr when it cannot be read."""
    try:
        report = _checked(args)
    except StoppedError as stopped:
        print("Stopped before the end of the file: nothing was written.", file=sys.stderr)
        return stopped.exit_code
    except _CannotCheckError as error:
        print(f"trainmaster datasets check: {error}", file=sys.stderr)
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
        raise _CannotCheckError(str(error)) from error
    except OSError as error:
        where = printable(os.fsdecode(error.filename or name))
        raise _CannotCheckError(f"{where}: {error.strerror or error}") from error


def _opened(file: str) -> int:
    """A descriptor of its own, whatever becomes of the standard input."""
    if file == STDIN:
        return os.dup(0)
    path = Path(file).expanduser()
    if path.is_dir():
        raise _CannotCheckError(f"{printable(file)} is a folder: give a file.")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _size(source: IO[bytes]) -> int:
    """Bytes; 0 when only the end will tell."""
    return os.fstat(source.fileno()).st_size


def _require_writable(output: Path | None, source: IO[bytes]) -> None:
    """Told before an hour of reading, not after."""
    if not output:
        return
    if not output.parent.is_dir():
        raise _CannotCheckError(f"There is no folder {printable(str(output.parent))} to write {output.name} to.")
    if output.is_dir():
        raise _CannotCheckError(f"{printable(str(output))} is a folder: give the name of a file to write.")
    for written in (output, dropped_beside(output)):
        if written.exists() and os.path.samestat(written.stat(), os.fstat(source.fileno())):
            raise _CannotCheckError(f"{printable(str(written))} is the file to be checked: choose another --output.")


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


def _fraction(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"a share is a number from 0 to below 1, such as 0.01, not {text!r}")
    return share


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"a count is a whole number, not {text!r}")
    return int(text)
