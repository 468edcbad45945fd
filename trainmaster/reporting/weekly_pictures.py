"""Pictures of a week's report: what each day cost by kind, and the month so far with what is to be expected of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING

from trainmaster.budget.entries import NOTHING
from trainmaster.budget.spending import KINDS, Kind
from trainmaster.reporting.forecast import month_end
from trainmaster.reporting.weekly import WeeklyReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Mapping[Kind, str] = {
    "training": "#2f6f9f",
    "endpoints": "#d9822b",
    "workspaces": "#3a8f5c",
    "storage": "#8d6cab",
    "images": "#b8475b",
    "other": "#777777",
}


def weekly_pictures(report: WeeklyReport) -> dict[str, bytes]:
    """PNGs by name, `spend` and `month`; one with nothing to show is left out."""
    found = {"spend": _spend(report), "month": _month(report)}
    return {name: png for name, png in found.items() if png}


def _spend(report: WeeklyReport) -> bytes | None:
    if not report.spent and not report.before:
        return None
    figure, axes = _figure()
    days = list(report.by_day)
    bottoms = [NOTHING] * len(days)
    for kind in KINDS:
        amounts = [report.by_day[day].get(kind, NOTHING) for day in days]
        if any(amounts):
            axes.bar(range(len(days)), _floats(amounts), bottom=_floats(bottoms), color=COLOURS[kind], width=0.62, label=kind)  # fmt: skip
            bottoms = [below + amount for below, amount in zip(bottoms, amounts, strict=True)]
    axes.plot(
        range(len(days)), _floats(report.before_by_day.values()),
        color="#333333", linewidth=1.2, linestyle="--", marker="o", markersize=3.5, label="the week before",
    )  # fmt: skip
    axes.set_xticks(range(len(days)), [f"{day:%a} {day.day}" for day in days])
    axes.set(ylabel="US dollars billed", title=f"What each day of {report.week} cost")
    return _png(figure, axes)


def _month(report: WeeklyReport) -> bytes | None:
    """What is billed by the end of each day known here, and a line from there to what is expected."""
    expected = report.forecast
    if not expected or not expected.total:
        return None
    figure, axes = _figure()
    ends = month_end(report.made_at)
    first = (ends - timedelta(days=1)).replace(day=1)
    passed, days = (report.made_at - first) / timedelta(days=1), (ends - first).days
    places = [0.0, *(min(number, passed) for number in range(1, len(report.month_by_day) + 1))]
    amounts = list(accumulate(report.month_by_day.values(), initial=NOTHING))
    axes.plot(places, _floats(amounts), color="#2f6f9f", linewidth=2, marker="o", markersize=3, label="billed")
    axes.plot(
        [passed, days], _floats([expected.billed, expected.total]),
        color="#d9822b", linewidth=1.8, linestyle="--", marker="o", markersize=3, label="to be expected",
    )  # fmt: skip
    account = next((one for one in report.budgets if one.budget == "the account"), None)
    if account:
        axes.axhline(float(account.limit), color="#b8475b", linewidth=1.2, label="limit of the account")
    axes.set(xlim=(0, days), xlabel=f"day of {first:%B %Y}", ylabel="US dollars", title="The month so far and to come")
    return _png(figure, axes)


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 3.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _png(figure: Figure, axes: Axes) -> bytes:
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=7, fontsize=9, columnspacing=1.2)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _floats(amounts: Iterable[Decimal]) -> list[float]:
    """For drawing alone; no sum is made of them."""
    return [float(amount) for amount in amounts]
