"""What endpoints are asked for held against what their models were trained on: PSI per feature, and what lies outside."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.endpoints.request import EndpointName
from trainmaster.form import as_form

Verdict = Literal["drifted", "steady", "too few"]
CERTAINTY = 3.09
"""Of a normal distribution: chance alone goes beyond it once in a thousand."""
PSEUDO_COUNT = 0.5
"""Added to each bin of both sides, so that an empty one divides by nothing; Jeffreys' prior."""


class CheckDriftRequest(BaseModel):
    """Which endpoints to check, over which time, and from when on inputs have drifted."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    endpoint_name: Annotated[
        EndpointName | Literal[""],
        Field(title="Endpoint", description="Only this one; every one that captures what it is asked when empty."),
    ] = ""
    days: Annotated[
        int, Field(title="Days", description="Until now; what was asked before is left out.", ge=1, le=90)
    ] = 7
    psi_threshold: Annotated[
        float,
        Field(
            title="PSI threshold",
            description="A feature has drifted from here on, where chance alone does not explain it. By custom 0.1 is little, 0.25 much.",
            gt=0,
            le=10,
        ),
    ] = 0.25
    outside_percent: Annotated[
        float,
        Field(
            title="Outside (%)",
            description="A feature has drifted when more of its values lie outside all the model was trained on.",
            gt=0,
            le=100,
        ),
    ] = 5.0
    least_rows: Annotated[
        int, Field(title="Least rows", description="Of fewer nothing is concluded.", ge=10, le=1_000_000)
    ] = 100


@dataclass(frozen=True)
class TrainedFeature:
    """A feature as the model card has it: over `rows` training rows its range, mean, and the shares between the edges of bins.

    `edges` has one fewer than `shares`; both are empty in the cards of models trained before cards had them.
    """

    name: str
    rows: int
    low: float
    high: float
    mean: float
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


def trained_features(card: Mapping[str, Any]) -> list[TrainedFeature]:
    """Those of a model card that have a range; the others cannot be held against anything."""
    rows = int(card.get("rows", {}).get("training", 0))
    return [
        TrainedFeature(
            name,
            rows,
            float(one["min"]),
            float(one["max"]),
            float(one["mean"]),
            *((tuple(one["bins"]), tuple(one["shares"])) if _has_bins(one) else ()),
        )
        for name, one in card.get("features", {}).items()
        if {"min", "max", "mean"} <= one.keys()
    ]


def _has_bins(one: Mapping[str, Any]) -> bool:
    return bool(one.get("bins")) and len(one.get("shares", [])) == len(one["bins"]) + 1


@dataclass
class Arrivals:
    """What arrived of one feature, counted as it comes: memory does not grow with it."""

    trained: TrainedFeature
    counts: list[int] = field(init=False)
    rows: int = 0
    unusable: int = 0
    below: int = 0
    above: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.trained.shares)

    def add(self, value: Any) -> None:
        """A value that is missing or no number is counted as unusable."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.unusable += 1
            return
        self.rows += 1
        self.total += value
        self.below += value < self.trained.low
        self.above += value > self.trained.high
        if self.counts:
            self.counts[bisect_right(self.trained.edges, value)] += 1


@dataclass(frozen=True)
class FeatureDrift:
    """One feature's drift. `psi` is None where the card says nothing of how its values lay; `by_chance` is what PSI reaches
    without any drift once in a thousand checks."""

    trained: TrainedFeature
    rows: int
    unusable: int
    mean: float
    outside: float
    shares: tuple[float, ...]
    psi: float | None
    by_chance: float
    verdict: Verdict


@dataclass(frozen=True)
class DriftReport:
    """What an endpoint was asked for in a time, held against what its model was trained on. `unreadable` are requests that
    could not be understood; `cut_short` says that there were more than were read."""

    endpoint: str
    model_uri: str
    since: datetime
    until: datetime
    requests: int
    unreadable: int
    rows: int
    cut_short: bool
    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> list[FeatureDrift]:
        return [one for one in self.features if one.verdict == "drifted"]

    @property
    def verdict(self) -> Verdict:
        if self.drifted:
            return "drifted"
        return "too few" if all(one.verdict == "too few" for one in self.features) else "steady"

    def sentence(self) -> str:
        """The one to read."""
        asked = (
            f"{self.rows:,} row{'s'[: self.rows != 1]} asked of {self.endpoint} since {self.since:%Y-%m-%d %H:%M} UTC"
        )
        if self.verdict == "too few":
            return f"{asked}: too few to say whether they drift."
        if self.verdict == "steady":
            return f"{asked} lie as those its model was trained on."
        named = ", ".join(f"{one.trained.name} ({_why(one)})" for one in self.drifted)
        return f"{asked} have drifted: {named}. Train again on data like it, or find out where it comes from."

    def table(self) -> list[dict[str, str]]:
        """A row for each feature, for people."""
        return [
            {
                "feature": one.trained.name,
                "verdict": one.verdict,
                "PSI": "" if one.psi is None else f"{one.psi:.3f}",
                "by chance": "" if one.psi is None else f"{one.by_chance:.3f}",
                "outside": f"{one.outside:.1%}",
                "trained on": f"{one.trained.low:g} to {one.trained.high:g}, mean {one.trained.mean:.4g}",
                "mean now": f"{one.mean:.4g}" if one.rows else "",
                "unusable": f"{one.unusable:,}",
            }
            for one in self.features
        ]


@dataclass(frozen=True)
class DriftCheck:
    """All endpoints that were checked, and why others could not be."""

    reports: list[DriftReport] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def drift_of(arrived: Iterable[Arrivals], request: CheckDriftRequest) -> tuple[FeatureDrift, ...]:
    """The drift of each feature."""
    return tuple(_drift(one, request) for one in arrived)


def psi(expected: Sequence[float], expected_rows: int, counts: Sequence[int]) -> float:
    """Population stability index of counts against shares of so many rows; 0 when they are alike."""
    rows, bins = sum(counts), len(counts)
    index = 0.0
    for share, count in zip(expected, counts, strict=True):
        then = (share * expected_rows + PSEUDO_COUNT) / (expected_rows + PSEUDO_COUNT * bins)
        now = (count + PSEUDO_COUNT) / (rows + PSEUDO_COUNT * bins)
        index += (now - then) * math.log(now / then)
    return index


def chance(bins: int, expected_rows: int, rows: int) -> float:
    """What PSI reaches once in a thousand times where nothing has drifted.

    It is then distributed as (1/n + 1/m) χ² of bins - 1 degrees (Yurdakul and Naranjo, 2020); χ² by Wilson and Hilferty.
    """
    degrees = max(bins - 1, 1)
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + CERTAINTY * math.sqrt(part)) ** 3 * (1 / rows + 1 / expected_rows))


def _drift(arrived: Arrivals, request: CheckDriftRequest) -> FeatureDrift:
    trained, rows = arrived.trained, arrived.rows
    outside = (arrived.below + arrived.above) / rows if rows else 0.0
    known = bool(trained.shares) and trained.rows > 0 and rows > 0
    index = psi(trained.shares, trained.rows, arrived.counts) if known else None
    by_chance = chance(sum(share > 0 for share in trained.shares), trained.rows, rows) if known else 0.0
    has_drifted = outside * 100 > request.outside_percent or (
        index is not None and index >= request.psi_threshold and index > by_chance
    )
    verdict: Verdict = "too few" if rows < request.least_rows else "drifted" if has_drifted else "steady"
    return FeatureDrift(
        trained,
        rows,
        arrived.unusable,
        arrived.total / rows if rows else 0.0,
        outside,
        tuple(count / rows for count in arrived.counts) if rows else (),
        index,
        by_chance,
        verdict,
    )


def _why(one: FeatureDrift) -> str:
    outside = f"{one.outside:.0%} outside {one.trained.low:g} to {one.trained.high:g}" if one.outside >= 0.005 else ""
    return ", ".join(filter(None, [f"PSI {one.psi:.2f}" if one.psi is not None else "", outside]))
