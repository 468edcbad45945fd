"""House-price models really trained by model/train.py, packed as a training job packs them, in the embedded AWS's S3."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import model

MODEL = Path(model.__file__).parent
HOUSE_DATA = MODEL / "data" / "house_data.csv"


def train_house_model(folder: Path, version: str = "v1", instead: Mapping[str, str] | None = None) -> bytes:
    """A model.tar.gz that answers as `version`, trained in a process of its own; `instead` replaces text of its inference.py."""
    channel = folder / f"channel-{version}"
    channel.mkdir(parents=True)
    shutil.copyfile(HOUSE_DATA, channel / "houses.csv")
    trained, left = folder / f"model-{version}", folder / f"output-{version}"
    subprocess.run(
        [
            sys.executable, str(MODEL / "train.py"), "--training", str(channel), "--model-dir", str(trained),
            "--output-data-dir", str(left), "--model-version", version,
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    program = trained / "code" / "inference.py"
    for before, after in (instead or {}).items():
        assert before in program.read_text()
        program.write_text(program.read_text().replace(before, after))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(trained, arcname=".")
    return packed.getvalue()


def put_house_model(aws: Any, folder: Path, version: str = "v1", instead: Mapping[str, str] | None = None) -> str:
    """Its S3 URI, in the embedded AWS's bucket."""
    bucket, key = aws.environment["TRAINMASTER_BUCKET"], f"models/{uuid4().hex}/model.tar.gz"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=train_house_model(folder, version, instead))
    return f"s3://{bucket}/{key}"
