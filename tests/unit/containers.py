"""The same examples in every container a dataset may come in, and a check of bytes that leaves nothing on the disk."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.report import DatasetReport

Example = dict[str, Any]


def chat(asked: str = "What is it?", answered: str = "It is this.", **others: Any) -> Example:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": turns, **others}


def chats(count: int) -> list[Example]:
    return [chat(f"Question {n}?", f"Answer {n}. " * (n % 5 + 1)) for n in range(1, count + 1)]


def json_lines(examples: Sequence[Any], end: str = "\n") -> bytes:
    return "".join(json.dumps(example, ensure_ascii=False) + end for example in examples).encode()


def canonical(examples: Sequence[Any]) -> bytes:
    return "".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) + "\n" for e in examples).encode()


def parquet(examples: Sequence[Example]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(examples)), content, row_group_size=100)
    return content.getvalue()


def csv_table(examples: Sequence[Example]) -> bytes:
    content = io.StringIO(newline="")
    rows = csv.writer(content)
    names = list(examples[0])
    rows.writerow(names)
    for example in examples:
        cells = (example[name] for name in names)
        rows.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    return content.getvalue().encode()


LAYOUTS: dict[str, Callable[[Sequence[Example]], bytes]] = {
    "json lines": json_lines,
    "json lines without a last line end": lambda examples: json_lines(examples)[:-1],
    "json lines, all escaped": lambda examples: "".join(json.dumps(e) + "\n" for e in examples).encode(),
    "json lines, CRLF": lambda examples: json_lines(examples, "\r\n"),
    "json lines, byte order mark": lambda examples: b"\xef\xbb\xbf" + json_lines(examples),
    "json lines, empty ones between": lambda examples: json_lines(examples, "\n\n \n"),
    "array": lambda examples: json.dumps(list(examples), ensure_ascii=False).encode(),
    "array, indented": lambda examples: json.dumps(list(examples), indent=2).encode(),
    "array, indented by nothing": lambda examples: json.dumps(list(examples), indent=0).encode(),
    "array, one to a line": lambda examples: b"[\n" + json_lines(examples, ",\n")[:-2] + b"\n]\n",
    "wrapped": lambda examples: json.dumps({"examples": list(examples)}).encode(),
    "wrapped, indented": lambda examples: json.dumps(
        {"version": 1, "data": list(examples), "é": {}}, indent=4
    ).encode(),
    "objects, indented": lambda examples: "\n".join(json.dumps(e, indent=2) for e in examples).encode(),
    "csv": csv_table,
    "parquet": parquet,
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda content: content,
    "gzip": gzip.compress,
    "gzip, members": lambda content: b"".join(
        gzip.compress(content[at : at + 50_000]) for at in range(0, len(content) or 1, 50_000)
    ),
    "gzip, padded": lambda content: gzip.compress(content) + bytes(512),
    "zstd": zstandard.compress,
    "zstd, frames": lambda content: b"".join(
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(content[at : at + 50_000])
        for at in range(0, len(content) or 1, 50_000)
    ),
}


def check(content: bytes, **options: Any) -> DatasetReport:
    return check_dataset(io.BytesIO(content), name="chats", **options)


def normalised(content: bytes, **options: Any) -> tuple[DatasetReport, bytes]:
    """The report, and the text of what was written ("" for nothing)."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "normalised.jsonl.gz"
        report = check(content, normalised=target, **options)
        assert {path.name for path in Path(folder).iterdir()} == ({target.name} if report.ok else set())
        return report, gzip.decompress(target.read_bytes()) if report.ok else b""


def told(report: DatasetReport) -> list[str]:
    return [str(problem) for problem in report.problems]
