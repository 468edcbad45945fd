"""One figure for how good a dataset is, made of parts that can each be said in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.datasets.report import Quality

MALFORMED, DUPLICATES, OUTLIERS, SHORT_OUTPUTS = 4.0, 1.0, 0.5, 0.1
"""Points that each 1% of such examples costs. No part is capped: else of two defects the second would be free."""
ENOUGH = 100
"""Sound, distinct examples; each one short of them costs a tenth of a point."""


@dataclass(frozen=True)
class Defects:
    """What is counted against a dataset, of `total` examples, malformed ones among them."""

    total: int
    malformed: int = 0
    duplicates: int = 0
    outliers: int = 0
    short_outputs: int = 0


def assess(defects: Defects) -> Quality:
    """100 less the points lost, rounded down, and not below 0: among files of equal length more defects never score higher."""
    parts = {
        "malformed": _share(defects.malformed, defects.total, "malformed", MALFORMED),
        "duplicates": _share(defects.duplicates, defects.total, "the same as an earlier one", DUPLICATES),
        "outliers": _share(defects.outliers, defects.total, "far longer or shorter than most", OUTLIERS),
        "short outputs": _share(
            defects.short_outputs, defects.total, "answered in under ten characters", SHORT_OUTPUTS
        ),
        "size": _size(defects.total - defects.malformed - defects.duplicates),
    }
    return Quality(score=int(max(100 - sum(lost for lost, _ in parts.values()), 0)), parts=parts)


def _share(count: int, total: int, what: str, each: float) -> tuple[float, str]:
    share = 100 * count / total if total else 0.0
    verb = "is" if count == 1 else "are"
    return each * share, f"{count:,} of {total:,} ({share:.3g}%) {verb} {what}; each 1% costs {each:g}"


def _size(distinct: int) -> tuple[float, str]:
    if distinct <= 0:
        return 100.0, "nothing sound is in it"
    lost = max(ENOUGH - distinct, 0) / 10
    return lost, f"{distinct:,} sound, distinct examples; each one short of {ENOUGH} costs 0.1"
