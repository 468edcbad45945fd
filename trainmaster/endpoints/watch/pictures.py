"""What an endpoint was asked for beside what its model was trained on, as a picture."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING

from trainmaster.endpoints.watch.drift import DriftReport, FeatureDrift, TrainedFeature

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRAINED, _ASKED, _DRIFTED = "#9aa5b1", "#2f6f9f", "#d1495b"
_COLUMNS = 2
_WIDTH = 0.4


def picture(report: DriftReport) -> bytes | None:
    """A PNG with bars for each feature: the share of the training rows and of what was asked, bin by bin; None where nothing
    can be compared."""
    drawn = [one for one in report.features if one.psi is not None]
    if not drawn:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    lines = -(-len(drawn) // _COLUMNS)
    figure = Figure(figsize=(10, 0.8 + 2.6 * lines), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{report.endpoint}: {report.rows:,} rows from {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}"
    figure.suptitle(title, fontsize=11, parse_math=False)
    places = figure.subplots(lines, _COLUMNS, squeeze=False).flat
    for axes, one in zip(places, drawn, strict=False):
        _draw(axes, one)
    for axes in list(figure.axes)[len(drawn) :]:
        axes.set_axis_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _draw(axes: Axes, one: FeatureDrift) -> None:
    places = range(len(one.shares))
    axes.bar([at - _WIDTH / 2 for at in places], one.trained.shares, _WIDTH, color=_TRAINED, label="trained on")
    color = _DRIFTED if one.verdict == "drifted" else _ASKED
    axes.bar([at + _WIDTH / 2 for at in places], one.shares, _WIDTH, color=color, label="asked for")
    axes.set_xticks(list(places), bin_labels(one.trained), fontsize=7, rotation=35, ha="right")
    axes.set_title(f"{one.trained.name}: PSI {one.psi:.3f}, {one.verdict}", fontsize=9, parse_math=False)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def bin_labels(trained: TrainedFeature) -> list[str]:
    """Of each bin, what lies in it; the last one begins above everything the model was trained on."""
    edges = [*trained.edges[:-1], trained.high]
    between = [f"{low:g}–{high:g}" if low < high else f"{low:g}" for low, high in pairwise(edges)]
    return [f"< {edges[0]:g}", *between, f"> {edges[-1]:g}"]
