"""How fast one model answers: behind the embedded endpoint, MLflow's scoring server and a bare FastAPI application, in one run.

The house-price model of this project, trained here; one process serves it in each way, with validation as each comes. Clients on kept
connections ask as soon as they are answered, with other houses each time, and hold every price against what the model says. The servers
take turns, each started fresh; medians of the rounds are shown, and ratios are medians of those of each round. The embedded endpoint
checks AWS's signature, counts metrics and goes through two processes, as SageMaker does; its peers are one process and check nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.predicting import servers
from benchmarks.predicting.models import Question, houses, trained
from benchmarks.predicting.servers import Serving
from trainmaster.embedded import processes

OURS = "trainmaster endpoint"
WARM_UP = 3.0
"""Seconds of load that are not counted."""
_ROOT = Path(__file__).parent.parent

Start = Callable[[Path], AbstractContextManager[Serving]]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as temporary:
        folder = Path(temporary)
        artifact = trained(folder / "trained")
        asked = houses({"v1": artifact})
        engines: Mapping[str, Start] = {
            OURS: lambda place: servers.endpoint(artifact, place),
            "MLflow": partial(servers.mlflow, artifact, python=options.peers),
            "FastAPI": partial(servers.fastapi, artifact, python=options.peers),
        }
        runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
        for round_ in range(options.rounds):
            for engine, start in engines.items():
                place = folder / f"{engine.split()[0]}-{round_}"
                place.mkdir()
                with start(place) as serving:
                    for seconds in (WARM_UP, options.seconds):
                        figures = load(serving, asked, place, clients=options.clients, seconds=seconds)
                if figures["failed"]:
                    sys.exit(f"{engine} failed {figures['failed']} requests: {figures['examples']}")
                runs[engine].append(figures)
                print(".", end="", flush=True)
    print(f"\n\n{table(runs, options)}\n")
    print(
        json.dumps({"clients": options.clients, "seconds": options.seconds, "cores": os.cpu_count(), **summary(runs)})
    )
    return 0


def load(serving: Serving, asked: Sequence[Question], place: Path, *, clients: int, seconds: float) -> dict[str, Any]:
    """What clients saw, by a process of their own."""
    job = place / "job.json"
    questions = [(serving.request(one.house), one.prices) for one in asked]
    job.write_text(json.dumps({"port": serving.port, "clients": clients, "seconds": seconds, "asked": questions}))
    said = place / "figures.json"
    with said.open("wb") as output:
        child = processes.start(
            [sys.executable, "-m", "benchmarks.predicting.load", str(job)], cwd=_ROOT, stdout=output
        )
        if child.wait(seconds + 120):
            sys.exit("The clients failed; they say why above.")
    figures: dict[str, Any] = json.loads(said.read_text())
    return figures


def table(runs: Mapping[str, Sequence[Mapping[str, Any]]], options: argparse.Namespace) -> str:
    """For people."""
    lines = [
        f"{options.clients} clients, {options.seconds:g} s, {options.rounds} rounds, {os.cpu_count()} cores, medians",
        f"{'':<22} {'answers/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}",
    ]
    for engine, each in runs.items():
        figures = {name: median(run[name] for run in each) for name in ("per_second", "p50_ms", "p95_ms", "p99_ms")}
        lines.append(
            f"{engine:<22} {figures['per_second']:>10,.0f} {figures['p50_ms']:>8.1f} {figures['p95_ms']:>8.1f} {figures['p99_ms']:>8.1f}"
        )
    return "\n".join(lines)


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Ratios of ours to each peer: of answers a second more is better, of latency less."""
    found: dict[str, Any] = {"p95_ms": median(run["p95_ms"] for run in runs[OURS])}
    for peer in runs.keys() - {OURS}:
        for name, figure in (("throughput", "per_second"), ("p50", "p50_ms"), ("p95", "p95_ms")):
            ratios = [ours[figure] / theirs[figure] for ours, theirs in zip(runs[OURS], runs[peer], strict=True)]
            found[f"{name}_to_{peer.lower()}"] = round(median(ratios), 3)
    return dict(sorted(found.items()))


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--peers", type=Path, required=True, help="the Python of an environment with MLflow and FastAPI"
    )
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())
