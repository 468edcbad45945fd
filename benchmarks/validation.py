"""How long it takes to check, count, normalise and compress a dataset, beside what else there is, in one run.

A million conversations as JSON Lines, gzip: 1 GB of text that packs as well as English chats do. Each engine has a process of its own;
they take turns, three times; medians are shown.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.validation_engines import ENGINES

ROUNDS = 3
PEERS = {"datasets", "together"}
"""Engines with an environment of their own: their pins are not ours."""
LACKS = {
    "stdlib": "duplicate keys, NaN, depth, bombs, percentiles, outliers; memory grows with the examples",
    "trainmaster": "—",
    "trainmaster, check only": "writing the normalised file",
    "datasets": "any check of the examples, line numbers, statistics, duplicates, normalising (writes Arrow instead)",
    "together": "gzip (was given the file unpacked), more than the first problem, statistics, duplicates, normalising",
}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-validation-") as folder:
        source = options.folder / f"chats-{options.examples}.jsonl.gz"
        if not source.exists():
            print(f"Making {source} …", flush=True)
            make(source, options.examples)
        plain = Path(folder) / "chats.jsonl"
        with gzip.open(source) as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        engines = [engine for engine in ENGINES if engine not in PEERS or options.peers]
        runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                python = options.peers if engine in PEERS else sys.executable
                runs[engine].append(measure(engine, python, plain if engine == "together" else source, Path(folder)))
                print(".", end="", flush=True)
        size = plain.stat().st_size
    print_table(runs, size, options.examples)
    return 0


def measure(engine: str, python: str, source: Path, folder: Path) -> dict[str, float]:
    """Seconds of wall and processor, and peak memory in MB, of one engine over the file."""
    output = folder / "output"
    done = subprocess.run(
        [python, str(Path(__file__).with_name("validation_engines.py")), engine, str(source), str(output)],
        env={**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "TMPDIR": str(folder)},
        capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr}")
    shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def print_table(runs: dict[str, list[dict[str, float]]], size: int, examples: int) -> None:
    medians = {
        engine: {figure: median(run[figure] for run in each) for figure in ("wall", "cpu", "peak")}
        for engine, each in runs.items()
    }
    base = medians["stdlib"]
    print(
        f"\n{examples:,} examples, {size / 1e6:,.0f} MB of JSON, {os.cpu_count()} cores, medians of {len(runs['stdlib'])}"
    )
    print(f"{'engine':<24} {'seconds':>8} {'CPU s':>7} {'× stdlib':>9} {'MB/s':>6} {'peak MB':>8}  does not do")
    for engine, figures in medians.items():
        times = base["wall"] / figures["wall"]
        print(
            f"{engine:<24} {figures['wall']:>8.1f} {figures['cpu']:>7.1f} {times:>9.2f} {size / 1e6 / figures['wall']:>6.0f}"
            f" {figures['peak']:>8.0f}  {LACKS[engine]}"
        )
    ratios = {engine: round(base["wall"] / figures["wall"], 2) for engine, figures in medians.items()}
    peaks = {engine: round(figures["peak"]) for engine, figures in medians.items()}
    print(json.dumps({"examples": examples, "cores": os.cpu_count(), "times_stdlib": ratios, "peak_mb": peaks}))


def make(target: Path, examples: int) -> None:
    """The same conversations every time, written whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".partial")
    with gzip.GzipFile(unfinished, "wb", compresslevel=6, mtime=0) as packed:
        for line in conversations(examples):
            packed.write(line.encode())
    unfinished.rename(target)


def conversations(count: int) -> Iterator[str]:
    """Lines as `json.dumps` writes them, of words and phrases as unequally common as those of a language."""
    chance = random.Random(3)  # noqa: S311 - nothing secret
    words = [
        "".join(chance.choices("etaoinshrdlucmfwygpbvk", range(22, 0, -1), k=chance.randint(2, 9)))
        for _ in range(14_000)
    ]
    words.sort(key=lambda word: len(word) + 6 * chance.random())
    common = _unequal(len(words), 1.0)
    ends = [" "] * 7 + [", ", ", ", ". ", ".\n", "; ", ' "']
    phrases = [
        " ".join(chance.choices(words, cum_weights=common, k=chance.randint(1, 5))) + chance.choice(ends)
        for _ in range(60_000)
    ]
    weights = _unequal(len(phrases), 0.9)

    def text(length: int) -> str:
        return "".join(chance.choices(phrases, cum_weights=weights, k=length)).strip()

    for _ in range(count):
        messages = [{"role": "system", "content": text(6)}] if chance.random() < 0.3 else []
        for _ in range(chance.choice((1, 1, 2))):
            messages.append({"role": "user", "content": text(chance.randint(5, 25))})
            messages.append({"role": "assistant", "content": text(chance.randint(15, 60))})
        yield json.dumps({"messages": messages}) + "\n"


def _unequal(count: int, exponent: float) -> list[float]:
    return list(itertools.accumulate(1 / (rank + 3) ** exponent for rank in range(count)))


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--examples", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the dataset is made, once"
    )
    options.add_argument("--peers", help="the Python of an environment with `datasets` and `together`")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())
