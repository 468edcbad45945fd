"""A picture of how long the examples of a dataset are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from trainmaster.datasets.report import DatasetStatistics, Distribution
from trainmaster.datasets.showing.wording import measured
from trainmaster.datasets.statistics import LOGARITHMIC_FROM
from trainmaster.plain_words import counted, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_TITLE = 60
FEW_DECADES, LONG_LABELS = 1000, 100_000
_BAR, _MARK = "#4c78a8", "#d1495b"


def picture(statistics: DatasetStatistics, name: str) -> bytes:
    """A PNG: one histogram of the inputs' lengths, one of the outputs', the median and the 5th and 95th percentile marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 3.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_drawable(f"{_short(name)}: {counted(statistics.total_examples, 'example')}"), parse_math=False)
    shown = measured(statistics)
    for axes, (what, distribution) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        _draw(axes, distribution, what)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _short(name: str) -> str:
    return printable(name if len(name) <= LONGEST_TITLE else f"{name[:LONGEST_TITLE]}…")


def _drawable(text: str) -> str:
    """Text in which what the font lacks, such as Chinese, is a question mark: matplotlib would draw a box and warn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font  # noqa: PLC0415 - as above

    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text)


def _draw(axes: Axes, distribution: Distribution, what: str) -> None:
    bins = distribution.histogram
    starts, widths = [start for start, _, _ in bins], [end - start for start, end, _ in bins]
    counts = [count for *_, count in bins]
    axes.bar(starts, counts, width=widths, align="edge", color=_BAR, edgecolor="white", linewidth=0.4)
    _scale(axes, distribution)
    axes.margins(x=0.08, y=0.12)
    axes.set(title=f"{what}: {_spread(distribution)}", xlabel="characters", ylabel="examples")
    _mark(axes, distribution.p5, "5%", side=-1)
    _mark(axes, distribution.p95, "95%", side=1)
    _mark(axes, distribution.p50, "median", side=1)
    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)


def _mark(axes: Axes, value: int, label: str, *, side: int) -> None:
    """A line and its name, on the left (-1) or right (1) of it."""
    style, aligned = ("-" if label == "median" else ":"), ("left" if side > 0 else "right")
    axes.axvline(value, color=_MARK, linewidth=1, linestyle=style)
    axes.annotate(
        label, (value, 1), xycoords=("data", "axes fraction"), xytext=(3 * side, -4), textcoords="offset points",
        fontsize=8, color=_MARK, va="top", ha=aligned,
    )  # fmt: skip


def _scale(axes: Axes, distribution: Distribution) -> None:
    """Readable ticks at whole numbers, on a logarithmic axis where lengths lie far apart; 0 has its place on it."""
    from matplotlib.ticker import (  # noqa: PLC0415 - as above
        EngFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        SymmetricalLogLocator,
    )

    lowest = max(distribution.low, 1)
    if distribution.high > LOGARITHMIC_FROM * lowest:
        subs = [1, 2, 5] if distribution.high < FEW_DECADES * lowest else [1]
        if distribution.low:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=subs))
        else:
            axes.set_xscale("symlog", linthresh=1)
            axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=subs))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter("{x:,.0f}" if distribution.high < LONG_LABELS else EngFormatter(sep=""))


def _spread(distribution: Distribution) -> str:
    if distribution.low == distribution.high:
        return f"all {distribution.low:,}"
    return f"median {distribution.p50:,}, most {distribution.p5:,} to {distribution.p95:,}"
