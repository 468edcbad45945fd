"""Loss by step as training goes on: a bounded list of points that keeps the peaks, and a picture of it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

MOST_POINTS = 2000
"""Of each series."""
TITLE_CHARACTERS = 80
NOISY = 200
"""A series of more points is drawn faintly, and its running mean over it."""

_MOST = 1e30

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
        """With further points of (series, place, value); a point at a known place replaces it, one that is no number that
        can be drawn is left out.

        A place before the last one is where training resumed after an interruption: what came after it was lost, and goes.
        """
        series = {name: list(known) for name, known in self.series.items()}
        for name, place, value in points:
            if not (abs(place) < _MOST and abs(value) < _MOST):
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
            or kept.get("axis") not in list(_AXES)  # which may be of what no mapping can be asked for
            or not isinstance(kept.get("series"), Mapping)
        ):
            return cls()
        points = [
            (str(name), float(one[0]), float(one[1]))
            for name, known in kept["series"].items()
            if name in _NAMES and isinstance(known, list)
            for one in known
            if isinstance(one, list)
            and len(one) == 2
            and all(type(number) in (int, float) and abs(number) < _MOST for number in one)
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
            marker = "o" if len(known) < 30 else None
            if len(known) > NOISY:
                axes.plot(places, values, color=colour, linewidth=0.7, alpha=0.35)
                values, label = _smoothed(values), f"{label}, smoothed"
            axes.plot(places, values, color=colour, linewidth=1.6, marker=marker, markersize=4, label=label)
    least, most = _range(drawn)
    if least > 0 and most / least > 100:
        axes.set_yscale("log")
    axes.set_title(_plain(title), fontsize=11, parse_math=False)
    axes.set(xlabel=_AXES.get(curve.axis, "step"), ylabel="loss")
    if curve.axis == "step":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper right")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """The mean of each value and its neighbours, a fortieth of all on either side where there are so many."""
    last = len(values) - 1
    reach = [min(len(values) // 40, place, last - place) for place in range(len(values))]
    return tuple(
        math.fsum(values[place - near : place + near + 1]) / (2 * near + 1) for place, near in enumerate(reach)
    )


def _range(drawn: Mapping[str, tuple[Point, ...]]) -> tuple[float, float]:
    values = [value for known in drawn.values() for _, value in known]
    return min(values), max(values)


def _plain(title: str) -> str:
    """In one line, with nothing in it that cannot be drawn."""
    shown = "".join(character if character.isprintable() else " " for character in title)
    return shown if len(shown) <= TITLE_CHARACTERS else shown[: TITLE_CHARACTERS - 1] + "…"
