"""A report as one JSON object. Its keys are documented in docs/datasets.md and stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from trainmaster.datasets.problems import Problem
from trainmaster.datasets.report import DatasetReport, DatasetStatistics, Distribution
from trainmaster.datasets.showing.wording import outcome


def as_json(report: DatasetReport) -> dict[str, Any]:
    """Numbers are numbers, what is not there is null; `verdict` is for people, the rest for programs."""
    return {
        "name": report.name,
        "ok": report.ok,
        "verdict": outcome(report),
        "format": str(report.detection.format),
        "detection": {
            "reason": report.detection.reason,
            "confidence": report.detection.confidence,
            "demanded": report.detection.demanded,
        },
        "container": asdict(report.container),
        "examples": report.examples,
        "bad_examples": report.bad_examples,
        "max_bad_fraction": report.max_bad_fraction,
        "problem_counts": _counts(report.problem_counts),
        "problems": _problems(report.problems),
        "note_counts": _counts(report.note_counts),
        "notes": _problems(report.notes),
        "fatal": _problem(report.fatal) if report.fatal else None,
        "statistics": _statistics(report.statistics),
        "source": {
            "file_size_bytes": report.source_size,
            "text_size_bytes": report.text_size,
            "sha256": report.source_sha256,
        },
        "normalised": asdict(report.normalised) if report.normalised else None,
        "dropped": asdict(report.dropped) if report.dropped else None,
    }


def _counts(counts: Mapping[StrEnum, int]) -> dict[str, int]:
    return {str(kind): count for kind, count in counts.items()}


def _problems(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [_problem(problem) for problem in problems]


def _problem(problem: Problem) -> dict[str, Any]:
    return {**asdict(problem), "kind": str(problem.kind)}


def _statistics(statistics: DatasetStatistics) -> dict[str, Any]:
    parts = {name: {"lost": lost, "why": why} for name, (lost, why) in statistics.quality.parts.items()}
    return {
        "total_examples": statistics.total_examples,
        "avg_input_length": statistics.avg_input_length,
        "avg_output_length": statistics.avg_output_length,
        "input_length": _distribution(statistics.input_length),
        "output_length": _distribution(statistics.output_length),
        "estimated_tokens": statistics.estimated_tokens,
        "exact_tokens": statistics.exact_tokens,
        "tokenizer": statistics.tokenizer,
        "roles": dict(statistics.roles),
        "turns": dict(statistics.turns),
        "duplicates": statistics.duplicates,
        "duplicate_pairs": _named(statistics.duplicate_pairs, "number", "first"),
        "long_outliers": statistics.long_outliers,
        "short_outliers": statistics.short_outliers,
        "longest": _named(statistics.longest, "number", "characters"),
        "shortest": _named(statistics.shortest, "number", "characters"),
        "quality": {"score": statistics.quality.score, "parts": parts},
    }


def _distribution(distribution: Distribution) -> dict[str, Any]:
    return {**asdict(distribution), "histogram": _named(distribution.histogram, "from", "to", "count")}


def _named(rows: Sequence[Sequence[int]], *names: str) -> list[dict[str, int]]:
    return [dict(zip(names, row, strict=True)) for row in rows]
