"""`trainmaster datasets check FILE`: whether a fine-tuning dataset is sound, and what is in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainmaster.datasets.formats import Format

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Whether a fine-tuning dataset is sound: every problem with its line, what is in it, and what to do next.
Formats: chatml, sharegpt, alpaca, openorca, unnatural, dpo, rlhf, kto, raw_text, jsonl. Files: JSON Lines, a JSON array
or object, CSV, Parquet; plain, gzip or zstd. Exit code 0: accepted; 1: refused; 2: it cannot be read."""


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
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from trainmaster.commands.datasets.checking import run  # noqa: PLC0415 - what checks takes longer than --help may

    return run(args)


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
