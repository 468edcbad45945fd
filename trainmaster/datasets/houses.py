"""The table the house-price model is trained on: somebody's own file, or the example that ships with the model."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import IO

from trainmaster.datasets.tables import HOUSE_PRICES, CheckedTable, check_table
from trainmaster.errors import DatasetRefusedError

EXAMPLE = "The shipped example"
FEWEST_TRAINED_ON, FEWEST_HELD_OUT = 5, 2
"""As `model/train.py` has them: a linear model of four features has five unknowns, R² of one house is not defined."""


def open_houses(path: str) -> IO[bytes]:
    """The file, or the shipped example for an empty path. Raises DatasetRefusedError when it cannot be read."""
    try:
        if path:
            return Path(path).expanduser().open("rb")
        return files("model").joinpath("data", "house_data.csv").open("rb")
    except OSError as error:
        raise DatasetRefusedError(
            f"{path or EXAMPLE} cannot be read: {error.strerror}. Give the path of a CSV file."
        ) from error


def require_sound_houses(path: str, validation_fraction: float) -> CheckedTable:
    """Read the whole table; raises DatasetRefusedError, with line and column of every problem, unless it can be trained on."""
    with open_houses(path) as file:
        checked = check_table(file, HOUSE_PRICES, name=Path(path).name if path else EXAMPLE)
    if not checked.ok:
        raise DatasetRefusedError(checked.summary())
    held_out = math.ceil(checked.rows * validation_fraction)
    if held_out < FEWEST_HELD_OUT or checked.rows - held_out < FEWEST_TRAINED_ON:
        raise DatasetRefusedError(
            f"{checked.name} has {checked.rows} rows; a validation fraction of {validation_fraction:g} leaves"
            f" {checked.rows - held_out} to train on and {held_out} to validate with, and at least {FEWEST_TRAINED_ON} and"
            f" {FEWEST_HELD_OUT} are needed. Choose another fraction or give more rows."
        )
    return checked
