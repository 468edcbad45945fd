"""Memory is bounded whatever the size of the file, the line or the bomb: children check files of their own making under a limit."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import io, itertools, json, resource, sys, zlib
import numpy, orjson, pyarrow.parquet, xxhash, zstandard  # their address space is not what is measured
from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.limits import Limits

class Made(io.RawIOBase):
    '''A file that is made as it is read.'''
    def __init__(self, parts):
        self.parts, self.left = iter(parts), b""
    def read(self, size=-1):
        while len(self.left) < size and (part := next(self.parts, None)) is not None:
            self.left += part
        out, self.left = self.left[:size], self.left[size:]
        return out

def chat(n):
    turns = [{"role": "user", "content": f"Question {n}? " * 20}, {"role": "assistant", "content": f"Answer {n}. " * 40}]
    return json.dumps({"messages": turns}).encode()

def zipped(parts):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()

def address_space(above):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + above, size + above))

def peak():
    # getrusage would count what the parent held when it started this child
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def show(report):
    print(json.dumps({
        "ok": report.ok, "examples": report.examples, "text": report.text_size, "layout": report.container.layout,
        "problems": [(p.number, p.kind) for p in report.problems], "fatal": report.fatal and report.fatal.kind,
        "peak": peak(),
    }))
"""


def child(script: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


ARRAY = """
COUNT = 60_000
def elements():
    yield b"[\\n  "
    for n in range(1, COUNT + 1):
        yield chat(n) if n not in (7, 30_000, 59_999) else b'{"messages": [{"role": "user", "content": "5" wide"}'
        yield b",\\n  " if n < COUNT else b"\\n]"
"""


def test_a_large_array_is_read_in_little_memory_with_exact_numbers() -> None:
    report = child(ARRAY + "address_space(160 << 20)\nshow(check_dataset(Made(elements())))")
    assert (report["layout"], report["examples"]) == ("json array", 59_997)
    assert report["problems"] == [[number, "invalid JSON"] for number in (7, 30_000, 59_999)]
    assert int(str(report["text"])) > 50_000_000


def test_lines_of_any_length_are_passed_over_in_little_memory_with_exact_numbers() -> None:
    report = child("""
        def lines():
            for n in range(1, 2001):
                if n in (3, 1000, 2000):
                    yield b'{"text": "'
                    yield from itertools.repeat(b"x" * 1_000_000, 150)
                    yield b'"}\\n'
                else:
                    yield chat(n) + b"\\n"
        address_space(256 << 20)
        show(check_dataset(Made(lines())))
    """)
    assert report["problems"] == [[number, "line too long"] for number in (3, 1000, 2000)]
    assert report["examples"] == 1997
    assert int(str(report["text"])) > 450_000_000


@pytest.mark.parametrize(
    "bomb",
    [
        'zipped(itertools.repeat(bytes(1 << 20), 600))',
        'zipped(itertools.chain([b\'{"text": "\'], itertools.repeat(b"x" * (1 << 20), 500)))',
        '[zstandard.compress(bytes(1 << 28))] * 8',
        'zipped(zipped(itertools.repeat(bytes(1 << 20), 600)))',
    ],
    ids=["zeros", "one line", "zstd", "within another"],
)  # fmt: skip
def test_bombs_are_refused_in_little_memory(bomb: str) -> None:
    report = child(f"parts = [b''.join({bomb})]\naddress_space(220 << 20)\nshow(check_dataset(Made(parts)))")
    assert report["fatal"] in ("suspicious compression", "unreadable file")
    assert int(str(report["text"])) < 220_000_000  # 200 times what is read at a time


@pytest.mark.parametrize("value", ["0", "[[[]]]", '{"a":{}}'])
def test_a_line_of_millions_of_values_is_refused_without_making_them(value: str) -> None:
    """Each of its bytes would take forty in memory."""
    report = child(f"""
        values = b",".join([b'{value}'] * (60_000_000 // {len(value) + 1}))
        parts = [chat(1) + b"\\n", b'{{"messages": [', values, b"]}}\\n", chat(3) + b"\\n"]
        address_space(600 << 20)
        show(check_dataset(Made(parts)))
    """)
    assert report["problems"] == [[2, "too many values in one example"]]
    assert report["examples"] == 2


def test_a_file_four_times_as_large_takes_no_more_memory() -> None:
    script = """
        import tempfile
        from pathlib import Path
        lines = (chat(n) + b"\\n" for n in range({count}))
        with tempfile.TemporaryDirectory() as folder:
            show(check_dataset(Made(zipped(lines)), normalised=Path(folder) / "out.gz"))
    """
    small, large = (child(script.replace("{count}", str(count))) for count in (15_000, 60_000))
    assert (small["examples"], large["examples"]) == (15_000, 60_000)
    assert int(str(large["peak"])) < int(str(small["peak"])) + 25_000_000  # how far ahead the threads are differs
    assert int(str(large["peak"])) < 150_000_000
