"""Clients that ask for prices over kept connections, each as soon as it was answered: `load.py JOB.json` prints figures as JSON.

The job: `port`, `clients`, `seconds`, `pace` (requests a second of each client at most, 0 for no bound), and `asked`: pairs of a whole
HTTP request as text and the right answers, a price for each model version that may answer ("" where answers name none). Lean, so that the servers are what is measured: plain asyncio, no HTTP library.
Stops early, and well, when the file `until`, if the job names one, is there.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_ANSWER = 30.0
"""Seconds; who waits longer has failed."""
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_PRICE = re.compile(rb"-?\d+(?:\.\d+)?")
_VERSION = re.compile(rb'"model_version": *"([^"]*)"')


@dataclass
class Figures:
    """What all clients saw. Latencies in seconds; `answers` counts by status, or by what went wrong; `versions` by model version."""

    latencies: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def saw(self, answer: str, example: bytes = b"") -> None:
        self.answers[answer] += 1
        if answer != "right":
            self.examples.setdefault(answer, example[:500].decode(errors="replace"))


class Client:
    """One connection at a time, kept while the server keeps it."""

    def __init__(self, port: int, figures: Figures) -> None:
        self._port, self._figures = port, figures
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, prices: Mapping[str, int]) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(LONGEST_ANSWER):
                status, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            self._figures.saw(type(error).__name__, str(error).encode())
            return
        self._figures.latencies.append(time.perf_counter() - began)
        if status != 200:
            self._figures.saw(str(status), body)
            return
        found, named = _PRICE.search(body, max(body.find(b"predict"), 0)), _VERSION.search(body)
        version = named[1].decode() if named else ""
        is_right = found is not None and round(float(found[0])) == prices.get(version)
        self._figures.saw("right" if is_right else "another price", body)
        self._figures.versions[version] += 1

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else await reader.read()
        if length is None or b"connection: close" in head.lower():
            self.close()
        return int(head[9:12]), body


async def load(job: dict[str, Any]) -> Figures:
    """Every client begins with another of the questions."""
    figures, asked = Figures(), [(request.encode(), prices) for request, prices in job["asked"]]
    until = Path(job["until"]) if job.get("until") else None
    end, pause = time.monotonic() + job["seconds"], 1 / job["pace"] if job.get("pace") else 0.0

    async def one(number: int) -> None:
        client, turn = Client(job["port"], figures), number * 7
        due = time.monotonic() + pause * number / job["clients"]
        while time.monotonic() < end and not (until and turn % 20 == 0 and until.exists()):
            if pause:
                await asyncio.sleep(max(due - time.monotonic(), 0))
                due += pause
            await client.ask(*asked[turn % len(asked)])
            turn += 1
        client.close()

    async with asyncio.TaskGroup() as group:
        for number in range(job["clients"]):
            group.create_task(one(number))
    return figures


def summary(figures: Figures, seconds: float) -> dict[str, Any]:
    """Requests a second and latencies in milliseconds, of all that were answered."""
    ordered = sorted(figures.latencies)

    def percentile(share: float) -> float:
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 2) if ordered else float("nan")

    return {
        "requests": figures.answers.total(),
        "failed": figures.answers.total() - figures.answers["right"],
        "per_second": round(figures.answers["right"] / seconds, 1),
        "p50_ms": percentile(0.5),
        "p95_ms": percentile(0.95),
        "p99_ms": percentile(0.99),
        "longest_ms": percentile(1.0),
        "answers": dict(figures.answers),
        "versions": dict(figures.versions),
        "examples": figures.examples,
    }


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    began = time.monotonic()
    figures = asyncio.run(load(job))
    print(json.dumps(summary(figures, time.monotonic() - began)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
