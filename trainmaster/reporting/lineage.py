"""From data to what serves: which datasets a job read, what it made of them, as which version, and where that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.endpoints.models.lineage import version_of_job
from trainmaster.endpoints.models.registry import Registered, describe_arn
from trainmaster.endpoints.seen import SeenEndpoint
from trainmaster.errors import UnknownChoiceError
from trainmaster.reporting.page import table
from trainmaster.storage.address import S3Address
from trainmaster.training.desk import Desk
from trainmaster.training.looking import describe
from trainmaster.training.plan import CODE_CHANNEL

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_MOST_MANIFEST = 1 << 20
_PART = 16
_CANNOT_READ = (ClientError, BotoCoreError, ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Origin:
    """What a channel read: an S3 object or prefix, and the dataset it is, where the catalogue knows."""

    channel: str
    uri: str
    dataset: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Lineage:
    """`job` is the name of a training job; `endpoints` are those known to serve its model."""

    job: str
    origins: tuple[Origin, ...] = ()
    version: Registered | None = None
    model_uri: str = ""
    endpoints: tuple[str, ...] = ()
    sha256: str = ""
    """Of the model, where no version of the registry says it."""

    def markdown(self) -> str:
        """A row for each step of the way, with what fixes its content."""
        return table(("", "what", "where", "SHA-256"), self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for origin in self.origins:
            sha256 = origin.sha256 or (self._dataset_sha256 if len(self.origins) == 1 else "")
            yield f"data ({origin.channel})", origin.dataset or "not in the catalogue", origin.uri, _in_parts(sha256)
        yield "job", self.job, "", ""
        version = self.version
        if version or self.model_uri:
            said = f"{version}, {version.status}" if version else "not registered"
            yield (
                "model",
                said,
                version.model_uri if version else self.model_uri,
                _in_parts(version.sha256 if version else self.sha256),
            )
        for name in self.endpoints:
            yield "endpoint", name, "", ""

    @property
    def _dataset_sha256(self) -> str:
        return self.version.dataset_sha256 if self.version else ""


def _in_parts(sha256: str) -> str:
    """All of it, so that a table breaks it where it has no room for a line of 64."""
    return " ".join(sha256[at : at + _PART] for at in range(0, len(sha256), _PART))


def origins_of(desk: Desk, description: Mapping[str, Any]) -> tuple[Origin, ...]:
    """Of a job's description; a manifest is read for what it names, and where that cannot be, it stands for itself."""
    found = []
    for channel in description.get("InputDataConfig") or ():
        source = channel.get("DataSource", {}).get("S3DataSource")
        if source and channel["ChannelName"] != CODE_CHANNEL:
            uri = _named_by(desk, source["S3Uri"]) if source["S3DataType"] == "ManifestFile" else source["S3Uri"]
            found.append(_origin(desk.catalogue, channel["ChannelName"], uri))
    return tuple(found)


def _origin(catalogue: Catalogue, channel: str, uri: str) -> Origin:
    address = S3Address.parse(uri)
    dataset = catalogue.datasets.at("s3", address.bucket, address.key)
    copy = dataset.copy_at("s3") if dataset else None
    if dataset is None or copy is None:
        return Origin(channel, uri)
    return Origin(channel, uri, f"{dataset.name} ({dataset.id})", copy.sha256)


def _named_by(desk: Desk, manifest_uri: str) -> str:
    """The one object that a manifest of ours names."""
    address = S3Address.parse(manifest_uri)
    try:
        body = desk.client("s3").get_object(Bucket=address.bucket, Key=address.key)["Body"]
        prefix, file = json.loads(body.read(_MOST_MANIFEST))
        return f"{prefix['prefix']}{file}"
    except _CANNOT_READ:  # it is shown for what it is: a page is no reason to fail
        return manifest_uri


def lineage_of_endpoint(desk: Desk, seen: SeenEndpoint) -> Lineage:
    """Back from what an endpoint serves, as far as the registry and the job that made it are known."""
    sagemaker, serving = desk.client("sagemaker"), seen.version
    version = describe_arn(sagemaker, serving.package) if serving.package else None
    folders = serving.model_uri.split("/")
    job = version.job_name if version else folders[-3] if folders[-2:] == ["output", "model.tar.gz"] else ""
    if version is None and job:
        found = _registered(sagemaker, job)
        version = found if found and found.sha256 == serving.sha256 else None
    description = describe(sagemaker, job) if job else None
    origins = origins_of(desk, description) if description else ()
    return Lineage(job or "not known", origins, version, serving.model_uri, (seen.name,), serving.sha256)


def _registered(sagemaker: SageMakerClient, job: str) -> Registered | None:
    try:
        return version_of_job(sagemaker, job)
    except UnknownChoiceError:  # a folder that is laid out like a job's
        return None
