"""From S3 to a folder a model can be loaded from; an archive is unpacked by Python's `data` filter, so nothing lands outside."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.archives import tarfile
from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.serving.plan import VariantPlan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTAINER_FOLDER = "/opt/ml"


class DeploymentError(Exception):
    """Raised when a fleet cannot be brought into service; the text is the endpoint's FailureReason."""


@dataclass(frozen=True)
class Script:
    """The user's script: its file name, and its folder below /opt/ml."""

    folder: Path
    name: str


class ModelFiles:
    """A variant's artifact and script, fetched once into `folder` and laid out anew for each instance."""

    def __init__(self, plan: VariantPlan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._script = plan.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")

    def fetch(self, s3: S3Client) -> None:
        """Raises DeploymentError when there is nothing at the model's addresses."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._plan.artifact and self._plan.artifact_is_prefix:
            download_prefix(s3, self._plan.artifact, self._folder / "model")
        elif self._plan.artifact:
            download(s3, self._plan.artifact, self._folder / "model.tar.gz")
        if self._script.startswith("s3://"):
            download(s3, self._script, self._folder / "sourcedir.tar.gz")

    def lay_out(self, ml: Path) -> Script:
        """The files of one instance, in a folder that is its /opt/ml. Raises DeploymentError for an archive that is none, or unsafe."""
        model = ml / "model"
        if self._plan.artifact and self._plan.artifact_is_prefix:
            shutil.copytree(self._folder / "model", model)
        elif self._plan.artifact:
            unpack(self._folder / "model.tar.gz", model, self._plan.artifact)
        model.mkdir(parents=True, exist_ok=True)
        places = [Path("model/code"), Path("model")]
        if self._script.startswith("s3://"):
            unpack(self._folder / "sourcedir.tar.gz", ml / "code", self._script)
            places.insert(0, Path("code"))
        elif Path(self._script).is_relative_to(CONTAINER_FOLDER):
            places.insert(0, Path(self._script).relative_to(CONTAINER_FOLDER))
        script = Path(self._plan.environment.get("SAGEMAKER_PROGRAM") or "inference.py")
        code = next((place for place in places if (ml / place / script).is_file()), places[0])
        return Script((code / script).parent, script.name)


def download(s3: S3Client, url: str, target: Path) -> None:
    """Stream one object into a file."""
    try:
        place = Location.parse(url)
        s3.download_file(place.bucket, place.key, str(target))
    except (ValueError, BotoCoreError, ClientError, Boto3Error) as error:
        raise _missing(url) from error


def download_prefix(s3: S3Client, url: str, folder: Path) -> None:
    """Stream all objects under a prefix into a folder, as S3DataType S3Prefix without compression asks."""
    place, found = Location.parse(url), False  # CreateModel has checked it
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.key):
            for item in page.get("Contents", []):
                target = (folder / item["Key"].removeprefix(place.key).lstrip("/")).resolve()
                if item["Key"].endswith("/") or not target.is_relative_to(folder.resolve()):
                    continue  # a console's "folder"; a key with `..` would leave the model's
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(place.bucket, item["Key"], str(target))
                found = True
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise _missing(url) from error
    if not found:
        raise _missing(url)


def unpack(archive: Path, folder: Path, url: str) -> None:
    """Unpack a tar.gz; members that would leave the folder, link out of it or are devices make the whole archive refused."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:*") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DeploymentError(
            f'Failed to extract model data archive from URL "{url}". '
            f"Please ensure that the object located at the URL is a valid tar.gz archive. ({error})"
        ) from error


def _missing(url: str) -> DeploymentError:
    return DeploymentError(
        f'Failed to download model data from URL "{url}". Please ensure that there is an object located at the URL '
        "and that the role passed to CreateModel has permissions to download the model."
    )
