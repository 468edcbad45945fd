"""What is inside a model artifact, looked at before anything is deployed."""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.archives import tarfile
from trainmaster.aws.failures import code_of, is_missing
from trainmaster.endpoints.models.code import CODE, PROGRAM, REQUIREMENTS, problems_of
from trainmaster.endpoints.models.kinds.choosing import kind_of
from trainmaster.endpoints.models.kinds.kind import Example, Kind
from trainmaster.errors import ModelRefusedError
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CARD, SMOKE_TEST = "model_card.json", "smoke_test.json"
LARGEST_FILE = 1 << 20
"""Bytes of a file that is looked into: a card, a list of examples, a script."""
LARGEST_LOOK = 16 << 20
"""Bytes of all of them together; what comes after is deployed unread."""
MOST_FILES = 10_000
LARGEST_UNPACKED = 30 << 30
"""Bytes: what a hosting instance's volume holds when no other size is asked for."""
_GIVE = "Give the model.tar.gz of a completed training job."
_GZIPPED = b"\x1f\x8b"


@dataclass(frozen=True)
class ModelPackage:
    """A servable artifact: its address, SHA-256 and bytes, the card the training wrote, and the examples that prove what serves it.

    Artifacts of trainings before they wrote examples have none.
    """

    uri: str
    sha256: str
    size: int
    card: dict[str, Any] = field(hash=False)
    smoke: tuple[Example, ...] = ()

    @property
    def kind(self) -> Kind:
        return kind_of(self.card)


def inspect_model(s3: S3Client, uri: str, *, sha256: str = "") -> ModelPackage:
    """Read the artifact once, streamed. Raises ModelRefusedError when it is missing, corrupt, unsafe, not servable, needs a package
    that nothing installs, or is another than the one with the given SHA-256."""
    address = S3Address.parse(uri)
    try:
        body = s3.get_object(Bucket=address.bucket, Key=address.key)["Body"]
    except ClientError as error:
        if is_missing(error):
            missing = f"there is no bucket {address.bucket}" if code_of(error) == "NoSuchBucket" else ""
            raise ModelRefusedError(f"{uri} does not exist{missing and f': {missing}'}. {_GIVE}") from error
        raise
    stream = _Hashed(cast("IO[bytes]", body))
    try:
        contents = _contents(uri, stream)
        stream.drain()
    except BotoCoreError:  # a connection cut says nothing about the artifact, though some of these are OSErrors
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if not stream.first.startswith(_GZIPPED):
            raise _no_archive(uri) from error
        raise ModelRefusedError(f"{uri} is not a whole gzipped tar archive: {error}. Train again.") from error
    finally:
        body.close()
    found = stream.digest.hexdigest()
    if sha256 and found != sha256:
        raise ModelRefusedError(
            f"{uri} is not what was registered: its SHA-256 is {found[:12]}…, that of the registered one {sha256[:12]}…."
            " Somebody wrote over it: deploy another version, or train again."
        )
    return _package(uri, found, stream.size, contents)


@dataclass(frozen=True)
class _Contents:
    """The names of all files, the text of those that are looked into, and what links point to."""

    names: set[str] = field(default_factory=set)
    texts: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def _package(uri: str, sha256: str, size: int, contents: _Contents) -> ModelPackage:
    if PROGRAM not in contents.names:
        raise ModelRefusedError(
            f"{uri} has no {PROGRAM}, so nothing in it can answer. It has: {', '.join(sorted(contents.names)[:10])}."
        )
    card = _card(uri, contents.texts.get(CARD))
    kind = kind_of(card)
    if problem := kind.card_problem(card, contents.names):
        there = f"its {CARD} {problem}" if CARD in contents.names else f"it has no {CARD}"
        raise ModelRefusedError(f"{uri}: {there}, so nothing could be asked of it to prove it. Train again.")
    if problems := problems_of(contents.names, contents.texts, kind.container):
        raise ModelRefusedError(f"{uri} would not start: {' '.join(problems)}")
    return ModelPackage(uri, sha256, size, card, _examples(uri, card, contents.texts.get(SMOKE_TEST)))


def _contents(uri: str, stream: _Hashed) -> _Contents:
    contents, unpacked, looked = _Contents(), 0, 0
    # tarfile's own gzip streams look at no checksum, so that spoilt bytes may pass for a model
    unzipped = gzip.GzipFile(fileobj=cast("IO[bytes]", stream))
    try:
        opened = tarfile.open(fileobj=unzipped, mode="r|")
    except tarfile.ReadError as error:
        if isinstance(error.__context__, zlib.error):
            raise
        raise _no_archive(uri) from error
    with opened as tar:
        for member in tar:
            try:
                safe = tarfile.data_filter(member, "/opt/ml/model")
            except tarfile.FilterError as error:
                raise ModelRefusedError(f"{uri} is not safe to unpack: {error}.") from error
            unpacked += max(member.size, 0)
            if len(contents.names) >= MOST_FILES or unpacked > LARGEST_UNPACKED:
                raise _too_large(uri)
            name = posixpath.normpath(safe.name)
            if member.issym() or member.islnk():
                folder = posixpath.dirname(name) if member.issym() else ""
                contents.links[name] = posixpath.normpath(posixpath.join(folder, safe.linkname))
            if not member.isfile():
                continue
            contents.names.add(name)
            looked += member.size if _is_looked_into(name) else 0
            if _is_looked_into(name) and member.size <= LARGEST_FILE and looked <= LARGEST_LOOK:
                content = tar.extractfile(member)
                contents.texts[name] = content.read() if content else b""
    while padding := len(unzipped.read(1 << 20)):  # the checksum comes last
        unpacked += padding
        if unpacked > LARGEST_UNPACKED:
            raise _too_large(uri)
    for link, target in contents.links.items():
        if target in contents.names:
            contents.names.add(link)
            contents.texts.update({link: contents.texts[target]} if target in contents.texts else {})
    return contents


def _is_looked_into(name: str) -> bool:
    return name in (CARD, SMOKE_TEST, REQUIREMENTS) or (name.startswith(CODE) and name.endswith((".py", ".txt")))


def _no_archive(uri: str) -> ModelRefusedError:
    return ModelRefusedError(f"{uri} is not a gzipped tar archive. {_GIVE}")


def _too_large(uri: str) -> ModelRefusedError:
    return ModelRefusedError(
        f"{uri} would unpack to more than an instance takes: {MOST_FILES:,} files or {LARGEST_UNPACKED >> 30} GB."
    )


def _card(uri: str, text: bytes | None) -> dict[str, Any]:
    if text is None:
        return {}
    card = _json(text)
    if not isinstance(card, dict):
        raise ModelRefusedError(f"{uri}: its {CARD} is not a JSON object. Train again.")
    return card


def _examples(uri: str, card: Mapping[str, Any], text: bytes | None) -> tuple[Example, ...]:
    """Those of the artifact; raises ModelRefusedError where there are any that cannot be asked for."""
    if text is None:
        return ()
    kind = kind_of(card)
    examples = kind.examples(card, _json(text))
    if examples is None:
        raise ModelRefusedError(
            f"{uri}: its {SMOKE_TEST} does not list {kind.wanted_examples}, so what serves it could not be held against that."
            " Train again."
        )
    return examples


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class _Hashed:
    """A stream for tarfile that counts and hashes what passes through."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body, self.digest, self.size, self.first = body, hashlib.sha256(), 0, b""

    def read(self, size: int) -> bytes:
        chunk = self._body.read(size)
        self.first += chunk[: len(_GZIPPED) - len(self.first)]
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk

    def drain(self) -> None:
        """Read what tarfile left: the checksum is over the whole object."""
        while self.read(1 << 20):
            pass
