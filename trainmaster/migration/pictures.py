"""How fast bytes moved: a picture of the throughput of a migration, all of it and batch by batch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

MB = 1e6
LEAST_STRETCHES, MOST_STRETCHES = 3, 200
"""Of fewer batches a picture says no more than their mean; of more only the sum is drawn, and not each."""
_UNITS = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "hours"), (2 * 60, 60, "minutes"), (0, 1, "seconds"))


@dataclass(frozen=True)
class Stretch:
    """Bytes that moved from one moment to another, both in seconds of the same clock."""

    began: float
    ended: float
    size: int

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / max(self.ended - self.began, 1e-3)


def throughput(stretches: Sequence[Stretch]) -> list[tuple[float, float]]:
    """(moment, bytes a second from then on) of all stretches together, each taken as even; the last rate is 0."""
    changes: dict[float, float] = {}
    for one in stretches:
        ended = max(one.ended, one.began + 1e-3)
        changes[one.began] = changes.get(one.began, 0.0) + one.rate
        changes[ended] = changes.get(ended, 0.0) - one.rate
    steps, rate = [], 0.0
    for moment in sorted(changes):
        rate += changes[moment]
        steps.append((moment, max(rate, 0.0)))
    return [*steps[:-1], (steps[-1][0], 0.0)] if steps else []


def picture(stretches: Sequence[Stretch], title: str) -> bytes | None:
    """A PNG of MB/s over time: the sum, its mean, and a line for each batch; None where fewer than three moved any byte."""
    moved = [one for one in stretches if one.size > 0]
    if len(moved) < LEAST_STRETCHES:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    began, ended = min(one.began for one in moved), max(one.ended for one in moved)
    scale, unit = next((size, name) for least, size, name in _UNITS if ended - began >= least)
    figure = Figure(figsize=(8, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    moments, rates = zip(*throughput(moved), strict=True)
    places = [(moment - began) / scale for moment in moments]
    sums = [rate / MB for rate in rates]
    axes.fill_between(places, sums, step="post", color="#2f6f9f", alpha=0.18, linewidth=0)
    axes.step(places, sums, where="post", color="#2f6f9f", linewidth=1.6, label="all batches")
    if len(moved) <= MOST_STRETCHES:
        for number, one in enumerate(moved):
            span = [(one.began - began) / scale, (one.ended - began) / scale]
            label = "one batch" if number == 0 else None
            axes.plot(span, [one.rate / MB] * 2, color="#d9822b", linewidth=1.2, alpha=0.8, label=label)
    mean = sum(one.size for one in moved) / max(ended - began, 1e-3) / MB
    axes.axhline(mean, color="#555555", linewidth=1, linestyle="--", label=f"{mean:,.1f} MB/s on average")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.set(xlabel=f"{unit} since the first batch began", ylabel="MB/s", ylim=(0, max(*sums, mean) * 1.1))
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
