"""The verdict on a dataset: what it is, what is wrong with it, what is in it, what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainmaster.datasets.formats import Detection
from trainmaster.datasets.problems import Problem


@dataclass(frozen=True)
class Distribution:
    """Of one figure over all sound examples. Percentiles are exact up to 256 and within 1 % above."""

    count: int
    mean: float
    low: int
    p5: int
    p25: int
    p50: int
    p75: int
    p95: int
    p99: int
    high: int
    histogram: Sequence[tuple[int, int, int]]
    """Bins as (from, up to but excluding, how many); empty ones at both ends left out."""


@dataclass(frozen=True)
class Quality:
    """A score from 0 to 100 and what it is made of: name → (points lost, why)."""

    score: int
    parts: Mapping[str, tuple[float, str]]


@dataclass(frozen=True)
class DatasetStatistics:
    """What the catalogue keeps (the averages, in characters) and what people look at."""

    total_examples: int
    avg_input_length: float
    avg_output_length: float
    input_length: Distribution
    output_length: Distribution
    estimated_tokens: int
    """Characters / 4."""
    exact_tokens: int | None
    """By the tokenizer the user named."""
    tokenizer: str | None
    roles: Mapping[str, int]
    """How many turns of each role."""
    turns: Mapping[str, int]
    """The commonest sequences of roles, such as "system, user, assistant", with how many examples have them."""
    duplicates: int
    """Examples that are, once normalised, the same as an earlier one."""
    duplicate_pairs: Sequence[tuple[int, int]]
    """(number of the duplicate, number of the first of its kind), the first hundred."""
    long_outliers: int
    short_outliers: int
    """Beyond 1.5 interquartile ranges of the total length's quartiles."""
    longest: Sequence[tuple[int, int]]
    shortest: Sequence[tuple[int, int]]
    """(number, characters) of up to ten outliers at either end."""
    quality: Quality


@dataclass(frozen=True)
class Container:
    """How the examples are packed: layout "json lines", "json array", "json object", "csv" or "parquet"; compression
    "none", "gzip" or "zstd"; unit what their numbers count: "line", "element" or "row"."""

    layout: str
    compression: str
    unit: str


@dataclass(frozen=True)
class Written:
    """A file that came out: gzip whose bytes depend on nothing but its content. SHA-256s are hexadecimal."""

    examples: int
    size: int
    """Bytes of the gzip file."""
    text_size: int
    """Bytes of the JSON Lines in it."""
    sha256: str
    """Of the gzip file."""


@dataclass(frozen=True)
class DatasetReport:
    """Everything a check found. `problems` and `notes` hold the first ones (the cap), the counts all.

    Problems make examples bad; notes (duplicates, outliers, a byte order mark, CRLF, empty lines) are accepted. `fatal` is
    what ended the reading early, if anything did: nothing after it was seen. It is among the problems too.
    """

    name: str
    container: Container
    detection: Detection
    examples: int
    """Sound ones."""
    bad_examples: int
    max_bad_fraction: float
    problems: Sequence[Problem]
    problem_counts: Mapping[StrEnum, int]
    notes: Sequence[Problem]
    note_counts: Mapping[StrEnum, int]
    fatal: Problem | None
    statistics: DatasetStatistics
    source_size: int
    """Bytes of the file as given."""
    text_size: int
    """Bytes of it unpacked."""
    source_sha256: str
    normalised: Written | None
    """None when the dataset was refused, or nowhere to write it was given."""
    dropped: Written | None
    """The bad examples as they stood, with their numbers and problems, when some were dropped knowingly."""

    @property
    def ok(self) -> bool:
        """Whether the dataset is accepted: something sound in it, read to its end, no more bad ones than allowed."""
        total = self.examples + self.bad_examples
        # Divided, not multiplied: 0.29 * 100 is less than 29, but 29 / 100 is the very number that 0.29 is read as.
        return not self.fatal and self.examples > 0 and self.bad_examples / total <= self.max_bad_fraction
