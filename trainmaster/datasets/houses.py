"""The table the house-price model is trained on: somebody's own file, or the example that ships with the model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import IO

from trainmaster.datasets.tables import HOUSE_PRICES, CheckedTable, check_table
from trainmaster.errors import DatasetRefusedError

EXAMPLE = "The shipped example"


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


def require_sound_houses(path: str) -> CheckedTable:
    """Read the whole table; raises DatasetRefusedError, with line and column of every problem, unless it can be trained on."""
    with open_houses(path) as file:
        checked = check_table(file, HOUSE_PRICES, name=Path(path).name if path else EXAMPLE)
    if not checked.ok:
        raise DatasetRefusedError(checked.summary())
    return checked
