"""What the runs say: medians, and ratios of runs of the same round, as on a machine that others use only those mean anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

from benchmarks.migrating.engines import BOUND, OURS, PEERS, RCLONE, S5CMD


@dataclass(frozen=True)
class Run:
    """One engine over one workload, once: seconds of wall, seconds of processor and most memory, in MB, of the client.

    Of both kinds of seconds so many went by until it could begin, where it says so: what a worker has long behind it.
    """

    wall: float
    cpu: float
    peak: float
    start_wall: float = 0.0
    start_cpu: float = 0.0

    @property
    def once_started(self) -> Run:
        return Run(self.wall - self.start_wall, self.cpu - self.start_cpu, self.peak)


@dataclass(frozen=True)
class Trial:
    """A workload over a pair of servers: runs of each engine, by rounds. `size` is in bytes."""

    servers: str
    workload: str
    objects: int
    size: int
    runs: Mapping[str, Sequence[Run]]

    def median(self, engine: str) -> Run:
        return Run(*(median(getattr(run, each.name) for run in self.runs[engine]) for each in fields(Run)))

    def times_as_fast(self, engine: str, other: str) -> float:
        """Over 1 where `engine` took less time than `other` did in the same round."""
        return _ratio(self.runs[other], self.runs[engine], "wall")

    def times_the_cpu(self, engine: str, other: str) -> float:
        return _ratio(self.runs[engine], self.runs[other], "cpu")

    @property
    def once_started(self) -> Trial:
        """The same without what went by before an engine could begin."""
        return replace(self, runs={engine: [run.once_started for run in runs] for engine, runs in self.runs.items()})

    @property
    def peers(self) -> Sequence[str]:
        return [peer for peer in PEERS if peer in self.runs]

    def ratios(self) -> dict[str, float]:
        """Of ours to each peer. `to_best_peer` is to the peer we come out worst against."""
        speed = {peer: self.times_as_fast(OURS, peer) for peer in self.peers}
        cpu = {peer: self.times_the_cpu(OURS, peer) for peer in self.peers}
        found = {
            "throughput_to_best_peer": min(speed.values()),
            **{f"throughput_to_{_key(peer)}": ratio for peer, ratio in speed.items()},
            **{f"cpu_to_{_key(peer)}": ratio for peer, ratio in cpu.items()},
            "throughput_to_loopback": self.times_as_fast(OURS, BOUND),
        }
        return {name: round(value, 3) for name, value in found.items()}

    def summary(self) -> dict[str, Any]:
        """What the last line says of it."""
        return {**self.ratios(), "peak_mb": round(self.median(OURS).peak), "once_started": self.once_started.ratios()}


def table(trial: Trial) -> str:
    """For people. The last columns: how many times as fast as each peer, and as the loopback bound, the start of ours included."""
    head = [
        "servers",
        "",
        "engine",
        "seconds",
        "MB/s",
        "objects/s",
        "CPU s/GB",
        "peak MB",
        "start s",
        "× rclone",
        "× s5cmd",
        "× bound",
    ]
    rows = [head]
    for engine in trial.runs:
        run = trial.median(engine)
        against = [
            f"{trial.times_as_fast(engine, other):.2f}" if other in trial.runs else "—"
            for other in (RCLONE, S5CMD, BOUND)
        ]
        rows.append(
            [
                trial.servers, trial.workload, engine, f"{run.wall:.2f}", f"{trial.size / 1e6 / run.wall:,.0f}",
                f"{trial.objects / run.wall:,.1f}", f"{run.cpu / trial.size * 1e9:.2f}", f"{run.peak:.0f}", f"{run.start_wall:.1f}", *against,
            ]
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def summary(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Ratios by pair of servers and workload."""
    found: dict[str, dict[str, Any]] = {}
    for trial in trials:
        found.setdefault(trial.servers, {})[trial.workload] = trial.summary()
    return found


def _key(peer: str) -> str:
    return peer.replace(", ", "_").replace(" ", "_")


def _ratio(above: Sequence[Run], below: Sequence[Run], figure: str) -> float:
    """The median over the rounds."""
    return median(getattr(one, figure) / getattr(other, figure) for one, other in zip(above, below, strict=True))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.ljust(width) if column < 3 else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
