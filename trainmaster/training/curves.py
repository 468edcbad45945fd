"""Loss by step as training goes on: a bounded list of points that keeps the peaks, and a picture of it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

MOST_POINTS = 2000
"""Of each series."""
TITLE_CHARACTERS = 80

Point = tuple[float, float]
"""Where training was, and the value there."""

_NAMES = {"loss": "training loss", "eval_loss": "evaluation loss"}
_AXES = {"step": "step", "epoch": "epoch", "report": "report"}


@dataclass(frozen=True)
class Curve:
    """Series of points by name, `loss` and `eval_loss`, each in the order of `axis`: step, epoch, or number of the report."""

    axis: str = "step"
    series: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)

    def with_points(self, points: Iterable[tuple[str, float, float]]) -> Self:
        """With further points of (series, place, value); a point at a known place replaces it, one that is no number is left out.

        A place before the last one is where training resumed after an interruption: what came after it was lost, and goes.
        """
        series = {name: list(known) for name, known in self.series.items()}
        for name, place, value in points:
            if not (math.isfinite(place) and math.isfinite(value)):
                continue
            known = series.setdefault(name, [])
            while known and known[-1][0] >= place:
                known.pop()
            known.append((place, value))
            if len(known) > MOST_POINTS:
                series[name] = thinned(known, MOST_POINTS // 2)
        return type(self)(self.axis, {name: tuple(known) for name, known in series.items()})

    def as_json(self) -> dict[str, Any]:
        return {
            "axis": self.axis,
            "series": {name: [list(one) for one in known] for name, known in self.series.items()},
        }

    @classmethod
    def of_json(cls, kept: Any) -> Self:
        """What `as_json` said; an empty curve of anything else."""
        if (
            not isinstance(kept, Mapping)
            or kept.get("axis") not in _AXES
            or not isinstance(kept.get("series"), Mapping)
        ):
            return cls()
        points = [
            (str(name), float(one[0]), float(one[1]))
            for name, known in kept["series"].items()
            if name in _NAMES and isinstance(known, list)
            for one in known
            if isinstance(one, list) and len(one) == 2 and all(type(number) in (int, float) for number in one)
        ]
        return cls(kept["axis"]).with_points(points)


def thinned(points: list[Point], most: int) -> list[Point]:
    """At most so many of them, and those the first, the last, and of each stretch between the lowest and the highest."""
    if len(points) <= most:
        return points
    inner, stretches = points[1:-1], max((most - 2) // 2, 1)
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        if stretch:
            extremes = {min(stretch, key=lambda one: one[1]), max(stretch, key=lambda one: one[1])}
            kept += sorted(extremes)
    return [*kept, points[-1]]


def picture(curve: Curve, title: str) -> bytes | None:
    """A PNG of loss by step, on a logarithmic scale where it falls over more than two decades; None of fewer than two points."""
    drawn = {name: known for name, known in curve.series.items() if name in _NAMES and known}
    if not any(len(known) > 1 for known in drawn.values()):
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, colour in (("loss", "#2f6f9f"), ("eval_loss", "#d9822b")):
        if known := drawn.get(name):
            places, values = zip(*known, strict=True)
            label = f"{_NAMES[name]}, {values[-1]:.4g} at last"
            marker = "o" if name == "eval_loss" or len(known) < 30 else None
            axes.plot(places, values, color=colour, linewidth=1.4, marker=marker, markersize=4, label=label)
    least, most = _range(drawn)
    if least > 0 and most / least > 100:
        axes.set_yscale("log")
    axes.set_title(_plain(title), fontsize=11, parse_math=False)
    axes.set(xlabel=_AXES.get(curve.axis, "step"), ylabel="loss")
    if curve.axis == "step":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _range(drawn: Mapping[str, tuple[Point, ...]]) -> tuple[float, float]:
    values = [value for known in drawn.values() for _, value in known]
    return min(values), max(values)


def _plain(title: str) -> str:
    """In one line, with nothing in it that cannot be drawn."""
    shown = "".join(character if character.isprintable() else " " for character in title)
    return shown if len(shown) <= TITLE_CHARACTERS else shown[: TITLE_CHARACTERS - 1] + "…"
