"""Serves the house-price model: JSON or CSV houses in, `{"predicted_price": 425000, "model_version": "v1", "timestamp": "…Z"}` out.

Runs as it is in AWS's scikit-learn container 1.9-0 (Python 3.12). There every exception becomes a 500 without its message; only a
response *returned* by output_fn can carry a 400. So a refusal travels as a value through the three functions.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from werkzeug.wrappers import Response

FEATURES = ("bedrooms", "bathrooms", "sqft", "year_built")
JSON, CSV = "application/json", "text/csv"
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
SHOWN_PROBLEMS = 100
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Model:
    """A trained model and its card: the version it answers with, the range it accepts for each feature."""

    regression: Any
    version: str
    accepted: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Houses:
    """What was asked: each row is a mapping of features to values of whatever type; `batch` when a list is answered."""

    rows: Sequence[Any]
    batch: bool


@dataclass(frozen=True)
class Prices:
    """Predicted prices in whole US dollars, in the order of the houses."""

    dollars: Sequence[int]
    model_version: str
    batch: bool


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value; `row` counts the houses from 1, and is None when the whole request is meant."""

    problem: str
    row: int | None = None
    field: str | None = None
    value: Any = None
    accepted: Sequence[float] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: every problem at once, and the HTTP status that says whose doing it is."""

    problems: Sequence[Problem]
    status: int = 400


class UnreadableError(Exception):
    """Raised when a body is not what its content type says."""


def model_fn(model_dir: str) -> Model:
    folder = Path(model_dir)
    card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
    accepted = {name: card["features"][name]["accepted"] for name in FEATURES}
    return Model(joblib.load(folder / "model.joblib"), card["model_version"], accepted)


def input_fn(body: str | bytes, content_type: str | None) -> Houses | Refusal:
    """The houses of a JSON object, a JSON list of objects, or CSV with or without a header in the order of FEATURES."""
    kind = media_type(content_type) or JSON
    if kind not in (JSON, CSV):
        return Refusal([Problem(f"content type {shown(kind)} is not supported; send {JSON} or {CSV}")], status=415)
    try:
        text = (body if isinstance(body, str) else bytes(body).decode()).removeprefix("\ufeff")
        if not text.strip():
            raise UnreadableError("the body is empty; a house is wanted")
        return json_houses(text) if kind == JSON else csv_houses(text)
    except UnicodeDecodeError as error:
        return Refusal([Problem(f"the body is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}")])
    except UnreadableError as error:
        return Refusal([Problem(str(error))])


def predict_fn(houses: Houses | Refusal, model: Model) -> Prices | Refusal:
    """Prices of the houses, or every reason why one of them cannot be priced; never a price of zero or less.

    A line through the data drops below zero for some houses whose features are each acceptable. Such a figure is no price,
    and rounding it up to zero would invent one: the request is refused, naming the house.
    """
    if isinstance(houses, Refusal):
        return houses
    problems = [problem for row, house in enumerate(houses.rows, 1) for problem in checked(house, row, model.accepted)]
    if problems:
        return Refusal(problems)
    features = [[float(house[name]) for name in FEATURES] for house in houses.rows]
    dollars = [round(price) for price in model.regression.predict(np.array(features)).tolist()]
    worthless = [
        Problem(f"the model prices this house at {price:,} USD: it is too unlike the houses it was trained on", row)
        for row, price in enumerate(dollars, 1)
        if price <= 0
    ]
    return Refusal(worthless) if worthless else Prices(dollars, model.version, houses.batch)


def output_fn(answer: Prices | Refusal, accept: str | None) -> tuple[str, str] | Response:
    """The answer as JSON, or as CSV (price, model version, timestamp; no header) when the client accepts nothing else."""
    kind = chosen_type(accept)
    if isinstance(answer, Prices) and kind is None:
        answer = Refusal([Problem(f"none of {accept!r} can be answered; accept {JSON} or {CSV}")], status=406)
    if isinstance(answer, Refusal):
        return Response(refusal_body(answer), status=answer.status, mimetype=JSON)
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if kind == CSV:
        return "".join(f"{price},{answer.model_version},{timestamp}\n" for price in answer.dollars), CSV
    answers = [
        {"predicted_price": price, "model_version": answer.model_version, "timestamp": timestamp}
        for price in answer.dollars
    ]
    return json.dumps(answers if answer.batch else answers[0]), JSON


def json_houses(text: str) -> Houses:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {error}") from error
    if isinstance(content, list):
        if not content:
            raise UnreadableError("the list is empty; at least one house is wanted")
        return Houses(content, batch=True)
    return Houses([content], batch=False)


def csv_houses(text: str) -> Houses:
    """One house for each line that is not blank. A first line without a single number is a header, in any order."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise UnreadableError(f"the body is not CSV: {error}") from error
    names: Sequence[str] = FEATURES
    if not any(is_figure(cell) for cell in lines[0]):
        names = [cell.strip() for cell in lines.pop(0)]
        if len(set(names)) < len(names):
            raise UnreadableError(f"the header names a feature twice: {', '.join(names)[:200]}")
        if not lines:
            raise UnreadableError("the CSV has a header and no house; at least one line of numbers is wanted")
    for row, line in enumerate(lines, 1):
        if len(line) != len(names):
            raise UnreadableError(
                f"house {row} has {len(line)} values; {len(names)} are wanted: {', '.join(names)[:200]}"
            )
    rows = [dict(zip(names, map(csv_value, line), strict=True)) for line in lines]
    return Houses(rows, batch=len(rows) > 1)


def is_figure(cell: str) -> bool:
    return not isinstance(csv_value(cell), str)


def csv_value(cell: str) -> float | str:
    """The number a CSV cell spells, NaN and infinities included; its text when it spells none."""
    spelled = cell.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    return float(cell) if spelled or NUMBER.fullmatch(cell) else cell


def checked(house: Any, row: int, accepted: Mapping[str, Sequence[float]]) -> list[Problem]:
    """Every reason why this is not a house the model can price."""
    if not isinstance(house, dict):
        return [Problem(f"a JSON object with {', '.join(FEATURES)} is wanted, not {shown(house)}", row, value=house)]
    problems = []
    for name, limits in accepted.items():
        wanted = f"accepted is a number from {figure(limits[0])} to {figure(limits[1])}"
        if name not in house:
            problems.append(Problem(f"{name} is missing; {wanted}", row, name, accepted=limits))
        elif not is_within(house[name], limits):
            problems.append(Problem(f"{name} is {shown(house[name])}; {wanted}", row, name, house[name], limits))
    for name in house:
        if name not in accepted:
            known = ", ".join(FEATURES)
            problems.append(Problem(f"{shown(name)} is not a feature of this model; it knows {known}", row, name))
    return problems


def is_within(value: Any, limits: Sequence[float]) -> bool:
    """False also for NaN, which compares with nothing, and for true and false, which Python counts as 1 and 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and limits[0] <= value <= limits[1]


def refusal_body(refusal: Refusal) -> str:
    """`{"error": one sentence for people, "problem_count": n, "problems": [row, field, value, accepted, problem]}`."""
    shown_ones = refusal.problems[:SHOWN_PROBLEMS]
    several = len({problem.row for problem in refusal.problems}) > 1
    sentences = [
        f"house {problem.row}: {problem.problem}" if several or (problem.row or 1) > 1 else problem.problem
        for problem in shown_ones
    ]
    left = len(refusal.problems) - len(sentences)
    error = ". ".join(sentences) + (f". And {left:,} more problems." if left else ".")
    return json.dumps(
        {"error": error, "problem_count": len(refusal.problems), "problems": list(map(fields, shown_ones))}
    )


def fields(problem: Problem) -> dict[str, Any]:
    """The problem as strict JSON can carry it: a value that is NaN, infinite, nested or long is written as text."""
    value = problem.value
    is_plain = isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    short = value if is_plain and len(str(value)) <= SHOWN_CHARACTERS else shown(value)
    named = {"row": problem.row, "field": problem.field, "accepted": problem.accepted, "problem": problem.problem}
    return {key: item for key, item in named.items() if item is not None} | ({} if value is None else {"value": short})


def shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def figure(value: float) -> str:
    return f"{value:g}" if value % 1 else f"{value:.0f}"


def media_type(header: str | None) -> str:
    """`text/csv` of `Text/CSV; charset=utf-8`."""
    return (header or "").partition(";")[0].strip().lower()


def chosen_type(accept: str | None) -> str | None:
    """The first type of the Accept header that can be answered; JSON when anything will do; None when nothing fits."""
    kinds = [media_type(part) for part in (accept or "*/*").split(",")]
    answers = {JSON: JSON, CSV: CSV, "*/*": JSON, "application/*": JSON, "text/*": CSV}
    return next((answers[kind] for kind in kinds if kind in answers), None)
