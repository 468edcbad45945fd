"""Models of the shipped example, trained here, and what they answer."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import joblib
import pandas as pd

from model import train

HOUSES = 200
_DATA = Path(__file__).parent.parent.parent / "model" / "data" / "house_data.csv"
House = Mapping[str, float]


@dataclass(frozen=True)
class Question:
    """A house, and the price each version gives it; "" is that of the first, for servers whose answers name no version."""

    house: House
    prices: Mapping[str, int]


def trained(folder: Path, *, version: str = "v1", seed: int = 7) -> Path:
    """The artifact's folder. Another seed holds other houses out, and so gives other prices."""
    data, artifact = folder / "data", folder / "artifact"
    data.mkdir(parents=True)
    (data / "houses.csv").write_bytes(_DATA.read_bytes())
    folders = ["--training", str(data), "--model-dir", str(artifact), "--output-data-dir", str(folder / "output")]
    with redirect_stdout(sys.stderr):
        train.train(train.arguments(["--model-version", version, "--seed", str(seed), *folders]))
    return artifact


def houses(artifacts: Mapping[str, Path]) -> Sequence[Question]:
    """Some of the houses of the example, and what each version says."""
    table = pd.read_csv(_DATA).head(HOUSES)[list(train.FEATURES)].astype(float)
    prices = {
        version: [round(price) for price in joblib.load(artifact / "model.joblib").predict(table.to_numpy()).tolist()]
        for version, artifact in artifacts.items()
    }
    first = next(iter(prices.values()))
    return [
        Question(house, {"": first[row], **{version: of_it[row] for version, of_it in prices.items()}})
        for row, house in enumerate(table.to_dict("records"))
    ]


def packed(artifact: Path, *, version: str = "", appended: str = "") -> bytes:
    """The artifact's archive; with another version's name in its card, and something at the end of its inference.py, where given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(path for path in artifact.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "model_card.json" and version:
                content = json.dumps({**json.loads(content), "model_version": version}).encode()
            if path.name == "inference.py":
                content += appended.encode()
            member = tarfile.TarInfo(str(path.relative_to(artifact)))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
