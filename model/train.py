"""Trains the house-price model inside a SageMaker training job: CSV files of the `training` channel in, a servable model out.

Leaves in the model folder `model.joblib`, `model_card.json`, `smoke_test.json` with held-out houses and what they were priced at
here, and `code/` with inference.py; in the output folder `predictions.csv` with all held-out houses. Runs as it is in AWS's scikit-learn container 1.9-0 (Python 3.12).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import joblib
import numpy as np
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

FEATURES = ("bedrooms", "bathrooms", "sqft", "year_built")
TARGET = "price"
COLUMNS = (*FEATURES, TARGET)

MINIMUM_TRAINING_ROWS = len(FEATURES) + 1  # as many unknowns as the linear model has
MINIMUM_VALIDATION_ROWS = 2  # R² of a single house is not defined
BINS = 10  # of a feature in the card: as many as are usual for a population stability index
YEARS_AHEAD = 5  # houses are sold before they are built
SHOWN_PROBLEMS = 8  # AWS keeps 1,024 characters of the failure
SMOKE_HOUSES = 20  # an endpoint is asked for each of them before it is trusted


class BadInputError(Exception):
    """Raised when data or hyperparameters cannot be trained on; its text becomes the job's FailureReason."""


class Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"Hyperparameters: {message}.")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Hyperparameters as `--name value`, folders from the environment that AWS's training toolkit sets."""
    parser = Arguments(description=__doc__, allow_abbrev=False)
    parser.add_argument("--validation-fraction", type=float, default=0.2, help="share of the houses held out, 0 to 1")
    parser.add_argument("--seed", type=int, default=7, help="which houses are held out")
    parser.add_argument("--model-version", default="v1", help="name of this model in every answer it gives")
    parser.add_argument("--training", type=Path, default=os.environ.get("SM_CHANNEL_TRAINING"))
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument(
        "--output-data-dir", type=Path, default=os.environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data")
    )
    chosen = parser.parse_args(argv)
    if not 0 < chosen.validation_fraction < 1:
        parser.error(f"validation-fraction is {chosen.validation_fraction:g}; it must lie between 0 and 1")
    if not 0 <= chosen.seed < 2**32:
        parser.error(f"seed is {chosen.seed}; it must lie between 0 and {2**32 - 1}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", chosen.model_version):
        parser.error(f"model-version is {chosen.model_version!r}; 1 to 64 letters, digits, '.', '_' or '-' are wanted")
    if chosen.training is None:
        raise BadInputError("There is no data: the job has no channel named 'training'.")
    return chosen


def read_channel(folder: Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """All houses of the folder's CSV files, shape (rows, 5) in the order of COLUMNS, and what was read from which file.

    Raises BadInputError with file, line and column of what is wrong.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() == ".csv")
    if not paths:
        found = ", ".join(sorted(path.name for path in folder.rglob("*"))[:5]) or "nothing"
        raise BadInputError(f"There is no CSV file in the training channel; it holds: {found}.")
    cells, sources = array("d"), []
    problems: list[str] = []  # the first ones only: there may be as many as there are rows
    count = 0
    for path in paths:
        before = len(cells)
        try:
            for problem in read_file(path, cells):
                count += 1
                if count <= SHOWN_PROBLEMS:
                    problems.append(f"{path.name} {problem}")
        except (UnicodeDecodeError, csv.Error) as error:
            count += 1
            problems.append(f"{path.name} is not CSV in UTF-8: {error}")
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        sources.append({"file": path.name, "rows": (len(cells) - before) // len(COLUMNS), "sha256": digest})
    if count:
        more = count - SHOWN_PROBLEMS
        shown = "; ".join(problems[:SHOWN_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")
        raise BadInputError(f"The training data has {count:,} problem{'s'[: count > 1]}: {shown}.")
    return np.frombuffer(cells, dtype=float).reshape(-1, len(COLUMNS)), sources


def read_file(path: Path, cells: array[float]) -> Iterator[str]:
    """Append the file's houses to `cells` and yield what is wrong with the others."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        header = [name.strip().lower() for name in next(reader, [])]
        for name in COLUMNS:
            if header.count(name) != 1:
                had = "has no column" if name not in header else f"has {header.count(name)} columns named"
                yield f"{had} {name}; its header is: {', '.join(header)[:200] or 'empty'}"
        if not all(header.count(name) == 1 for name in COLUMNS):
            return
        positions = [header.index(name) for name in COLUMNS]
        start = reader.line_num + 1
        for row in reader:
            line, start = start, reader.line_num + 1
            if not row:
                continue
            if len(row) != len(header):
                yield f"line {line}: {len(row)} cells where the header has {len(header)}"
                continue
            house = [number(row[position]) for position in positions]
            if all(value is not None and value >= 0 for value in house) and house[-1]:
                cells.extend(house)
                continue
            for name, position, value in zip(COLUMNS, positions, house, strict=True):
                if value is None:
                    yield f"line {line}, column {name}: {row[position][:40]!r} is not a number"
                elif value < 0 or (name == TARGET and not value):
                    wanted = "must be above 0" if name == TARGET else "must not be negative"
                    yield f"line {line}, column {name}: {row[position][:40]} {wanted}"


def number(cell: str) -> float | None:
    """The cell as a finite number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


def accepted_ranges(houses: np.ndarray, year: int) -> dict[str, tuple[float, float]]:
    """What a request may ask for: sane bounds for a house, widened to whatever the model was trained on.

    A feature outside is refused by inference.py rather than priced by a line drawn far beyond the data.
    """
    sane = {
        "bedrooms": (0, 20),
        "bathrooms": (0, 20),
        "sqft": (100, 20_000),
        "year_built": (1800, year + YEARS_AHEAD),
    }
    return {
        name: (min(sane[name][0], float(column.min())), max(sane[name][1], float(column.max())))
        for name, column in zip(FEATURES, houses.T, strict=True)
    }


def train(options: argparse.Namespace) -> dict[str, float]:
    """Fit, validate, write everything the job leaves behind; returns the metrics of the held-out houses."""
    created = datetime.now(UTC)
    table, sources = read_channel(options.training)
    held_out = math.ceil(len(table) * options.validation_fraction)
    if held_out < MINIMUM_VALIDATION_ROWS or len(table) - held_out < MINIMUM_TRAINING_ROWS:
        raise BadInputError(
            f"{len(table)} rows with validation-fraction {options.validation_fraction:g} leave {len(table) - held_out} to "
            f"train and {held_out} to validate; at least {MINIMUM_TRAINING_ROWS} and {MINIMUM_VALIDATION_ROWS} are needed."
        )
    houses, prices, held_out_houses, actual = split(table, held_out, options.seed)
    model = LinearRegression().fit(houses, prices)
    predicted = model.predict(held_out_houses)
    metrics = {
        "r2": float(r2_score(actual, predicted)),
        "mae": float(mean_absolute_error(actual, predicted)),
        "rmse": float(root_mean_squared_error(actual, predicted)),
    }
    print(  # read from the log by the job's MetricDefinitions
        f"r2={metrics['r2']:.4f}; mae={metrics['mae']:.2f}; rmse={metrics['rmse']:.2f}; "
        f"train_rows={len(houses)}; validation_rows={held_out};",
        flush=True,
    )

    accepted = accepted_ranges(houses, created.year)
    card = {
        "model_version": options.model_version,
        "created": created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "algorithm": "linear regression (scikit-learn LinearRegression)",
        "target": {"name": TARGET, "unit": "USD", **spread(prices)},
        "features": {
            name: {**spread(column), **shares(column), "accepted": accepted[name], "coefficient": float(coefficient)}
            for name, column, coefficient in zip(FEATURES, houses.T, model.coef_, strict=True)
        },
        "intercept": float(model.intercept_),
        "rows": {"total": len(table), "training": len(houses), "validation": held_out},
        "metrics": metrics,
        "hyperparameters": {"validation-fraction": options.validation_fraction, "seed": options.seed},
        "data": sources,
        "libraries": {
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "joblib": joblib.__version__,
        },
    }
    write_model(options.model_dir, model, card, smoke_houses(held_out_houses, predicted, accepted))
    write_predictions(options.output_data_dir, np.column_stack((held_out_houses, actual, predicted)))
    return metrics


def split(table: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and prices to train on, features and prices held out; the same seed holds out the same houses."""
    training, validation = train_test_split(table, test_size=held_out, random_state=seed)
    return training[:, :-1], training[:, -1], validation[:, :-1], validation[:, -1]


def spread(column: np.ndarray) -> dict[str, float]:
    return {"min": float(column.min()), "max": float(column.max()), "mean": float(column.mean())}


def shares(column: np.ndarray) -> dict[str, list[float]]:
    """How the values lie: edges at the deciles, and the share of the rows below the first, from each to the next, from the last on.

    What arrives at the endpoint is held against it: what lies below or above anything seen here has a place of its own, of share 0.
    """
    deciles = np.quantile(column, np.linspace(0, 1, BINS + 1), method="inverted_cdf")  # values there are
    edges = np.unique([*deciles[:-1], np.nextafter(column.max(), np.inf)])
    counts = np.bincount(np.searchsorted(edges, column, side="right"), minlength=len(edges) + 1)
    return {"bins": edges.tolist(), "shares": (counts / len(column)).tolist()}


def smoke_houses(
    houses: np.ndarray, predicted: np.ndarray, accepted: dict[str, tuple[float, float]]
) -> list[dict[str, Any]]:
    """Held-out houses from the cheapest to the dearest with the price the model gives them here; what serves it must agree.

    Only those that inference.py takes: inside the accepted ranges, and worth at least a dollar.
    """
    low, high = np.array([accepted[name] for name in FEATURES]).T
    askable = ((houses >= low) & (houses <= high)).all(axis=1) & (np.round(predicted) > 0)
    by_price = np.flatnonzero(askable)[np.argsort(predicted[askable], kind="stable")]
    spread_out = np.linspace(0, len(by_price) - 1, min(SMOKE_HOUSES, len(by_price))).astype(int)
    return [
        {"inputs": dict(zip(FEATURES, houses[row].tolist(), strict=True)), "predicted_price": float(predicted[row])}
        for row in by_price[spread_out]
    ]


def write_model(folder: Path, model: LinearRegression, card: dict[str, Any], smoke: list[dict[str, Any]]) -> None:
    """The model, its card, what proves it, and in `code/` what a SageMaker endpoint needs to serve it."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    for name in ("inference.py", "requirements.txt"):
        source = Path(__file__).with_name(name)
        if not source.exists():
            raise BadInputError(f"{name} is not beside train.py in the job's source: the model could not be served.")
        shutil.copyfile(source, code / name)
    joblib.dump(model, folder / "model.joblib")
    (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (folder / "smoke_test.json").write_text(json.dumps({"predictions": smoke}, indent=2) + "\n", encoding="utf-8")


def write_predictions(folder: Path, houses: np.ndarray) -> None:
    """`predictions.csv`: features, actual and predicted price of every held-out house; shape (rows, 6)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*FEATURES, "actual", "predicted"])
        writer.writerows(houses.tolist())


def report_failure(message: str) -> None:
    """Say why where SageMaker looks for it. AWS's toolkit leaves a failure that is already there alone."""
    folder = Path(os.environ.get("SM_OUTPUT_DIR", "/opt/ml/output"))
    if folder.is_dir():
        (folder / "failure").write_text(message, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    try:
        train(arguments(argv))
    except BadInputError as error:
        report_failure(str(error))
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # a mistake of ours: its traceback goes to the log
        report_failure(f"{type(error).__name__}: {error}")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
