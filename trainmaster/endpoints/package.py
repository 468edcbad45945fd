"""What is inside a model artifact, looked at before anything is deployed."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.archives import tarfile
from trainmaster.aws.failures import is_missing
from trainmaster.errors import ModelRefusedError
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROGRAM = "code/inference.py"
CARD = "model_card.json"
LARGEST_CARD = 1 << 20


@dataclass(frozen=True)
class ModelPackage:
    """A servable artifact: its address, SHA-256 and bytes, and the card the training wrote, with its features."""

    uri: str
    sha256: str
    size: int
    card: dict[str, Any] = field(hash=False)


def inspect_model(s3: S3Client, uri: str) -> ModelPackage:
    """Read the artifact once, streamed. Raises ModelRefusedError when it is missing, corrupt, unsafe or not servable."""
    address = S3Address.parse(uri)
    try:
        body = s3.get_object(Bucket=address.bucket, Key=address.key)["Body"]
    except ClientError as error:
        if is_missing(error):
            raise ModelRefusedError(
                f"{uri} does not exist. Give the model.tar.gz of a completed training job."
            ) from error
        raise
    stream = _Hashed(cast("IO[bytes]", body))
    try:
        names, card = _contents(uri, stream)
        stream.drain()
    except BotoCoreError:  # a connection cut says nothing about the artifact, though some of these are OSErrors
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ModelRefusedError(f"{uri} is not a whole gzipped tar archive: {error}. Train again.") from error
    finally:
        body.close()
    if PROGRAM not in names:
        raise ModelRefusedError(
            f"{uri} has no {PROGRAM}, so nothing in it can answer. It has: {', '.join(sorted(names)[:10])}."
        )
    if not _lists_features(card):
        raise ModelRefusedError(
            f"{uri} has no {CARD} that lists its features with their means, so nothing could be asked of it to prove it. Train again."
        )
    return ModelPackage(uri, stream.digest.hexdigest(), stream.size, card)


def _contents(uri: str, stream: _Hashed) -> tuple[set[str], dict[str, Any]]:
    names: set[str] = set()
    card: dict[str, Any] = {}
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|gz") as tar:
        for member in tar:
            try:
                safe = tarfile.data_filter(member, "/opt/ml/model")
            except tarfile.FilterError as error:
                raise ModelRefusedError(f"{uri} is not safe to unpack: {error}.") from error
            name = safe.name.removeprefix("./")
            names.add(name)
            if name == CARD and member.isfile() and member.size <= LARGEST_CARD:
                card = _card(uri, tar, member)
    return names, card


def _lists_features(card: dict[str, Any]) -> bool:
    features = card.get("features")
    return (
        isinstance(features, dict)
        and bool(features)
        and all(isinstance(one, dict) and isinstance(one.get("mean"), int | float) for one in features.values())
    )


def _card(uri: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    content = tar.extractfile(member)
    try:
        card = json.loads(content.read()) if content else None
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise ModelRefusedError(f"{uri}: its {CARD} is not a JSON object. Train again.")
    return card


class _Hashed:
    """A stream for tarfile that counts and hashes what passes through."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body, self.digest, self.size = body, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        chunk = self._body.read(size)
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk

    def drain(self) -> None:
        """Read what tarfile left: the checksum is over the whole object."""
        while self.read(1 << 20):
            pass
