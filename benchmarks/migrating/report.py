"""What the runs say: medians, and ratios of runs of the same round, as on a machine that others use only those mean anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.migrating.engines import BOUND, OURS, PEERS


@dataclass(frozen=True)
class Run:
    """One engine over one workload, once: seconds of wall, seconds of processor and most memory, in MB, of the client."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Trial:
    """A workload over a pair of servers: runs of each engine, by rounds. `size` is in bytes."""

    servers: str
    workload: str
    objects: int
    size: int
    runs: Mapping[str, Sequence[Run]]

    def median(self, engine: str) -> Run:
        runs = self.runs[engine]
        return Run(*(median(getattr(run, figure) for run in runs) for figure in ("wall", "cpu", "peak")))

    def times_as_fast(self, engine: str, other: str) -> float:
        """Over 1 where `engine` took less time than `other` did in the same round."""
        pairs = zip(self.runs[engine], self.runs[other], strict=True)
        return median(theirs.wall / ours.wall for ours, theirs in pairs)

    def times_the_cpu(self, engine: str, other: str) -> float:
        pairs = zip(self.runs[engine], self.runs[other], strict=True)
        return median(ours.cpu / theirs.cpu for ours, theirs in pairs)

    @property
    def peers(self) -> Sequence[str]:
        return [peer for peer in PEERS if peer in self.runs]

    def ratios(self) -> dict[str, float]:
        """What the last line says of it. `to_best_peer` is that of the peer we come out worst against."""
        speed = {peer: self.times_as_fast(OURS, peer) for peer in self.peers}
        cpu = {peer: self.times_the_cpu(OURS, peer) for peer in self.peers}
        found = {
            "throughput_to_best_peer": min(speed.values()),
            **{f"throughput_to_{peer}": ratio for peer, ratio in speed.items()},
            **{f"cpu_to_{peer}": ratio for peer, ratio in cpu.items()},
            "throughput_to_loopback": self.times_as_fast(OURS, BOUND),
            "peak_mb": self.median(OURS).peak,
        }
        return {name: round(value, 3) for name, value in found.items()}


def table(trials: Sequence[Trial]) -> str:
    """For people. The last columns: how many times as fast as each peer, and as the loopback bound."""
    head = [
        "servers",
        "",
        "engine",
        "seconds",
        "MB/s",
        "objects/s",
        "CPU s/GB",
        "peak MB",
        "× rclone",
        "× s5cmd",
        "× bound",
    ]
    rows = [head]
    for trial in trials:
        for engine in trial.runs:
            run = trial.median(engine)
            against = [
                f"{trial.times_as_fast(engine, other):.2f}" if other in trial.runs else "—" for other in (*PEERS, BOUND)
            ]
            rows.append(
                [
                    trial.servers, trial.workload, engine, f"{run.wall:.2f}", f"{trial.size / 1e6 / run.wall:,.0f}",
                    f"{trial.objects / run.wall:,.1f}", f"{run.cpu / trial.size * 1e9:.2f}", f"{run.peak:.0f}", *against,
                ]
            )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def summary(trials: Sequence[Trial]) -> dict[str, dict[str, dict[str, float]]]:
    """Ratios by pair of servers and workload."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for trial in trials:
        found.setdefault(trial.servers, {})[trial.workload] = trial.ratios()
    return found


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.ljust(width) if column < 3 else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
