"""The base model of a fine-tuning, looked at before an instance is paid for: whether it is there, whole, safe to load, and has room."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_denied, is_missing
from trainmaster.storage.address import S3Address
from trainmaster.storage.s3 import prefix_checksum
from trainmaster.training.grounds import Grounds
from trainmaster.training.plan import Channel
from trainmaster.training.problems import Problem
from trainmaster.training.shapes import Shape, parameters_of, shape_of_config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHANNEL = "model"
CONFIG, ADAPTER = "config.json", "adapter_config.json"
TOKENIZERS = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"})
LARGEST_CONFIG = 1 << 20
_SAFE, _PICKLED = ".safetensors", (".bin", ".pt", ".pth", ".ckpt")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})\.safetensors")
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1}
_SAVE = "Upload it as `save_pretrained` leaves it, and give the prefix it is directly below."


@dataclass(frozen=True)
class BaseModel:
    """What is known of one. `size` are its bytes and `parameters` their number, 0 where nobody knows; `channel` is how a model in
    S3 comes to the job, None of one that the program fetches itself; `shape` is what its config.json tells."""

    named: str = ""
    channel: Channel | None = None
    size: int = 0
    parameters: int = 0
    problems: tuple[Problem, ...] = ()
    shape: Shape | None = None

    @property
    def is_of_the_hub(self) -> bool:
        return bool(self.named) and not self.named.startswith(("s3://", "/", "."))

    def sentence(self) -> str:
        """For people; empty where nothing is known."""
        if not self.channel or self.problems:
            return ""
        said = f", about {_counted(self.parameters)} parameters" if self.parameters else ""
        return f"The base model below {self.named} comes by the channel {CHANNEL!r}: {_bytes(self.size)}{said}."


def find_base_model(s3: S3Client, named: str, grounds: Grounds) -> BaseModel:
    """Never raises for what is wrong with the model: that is in its `problems`. Raises botocore's errors when S3 does not answer."""
    if not named.startswith("s3://"):
        billions = parameters_of(named) or 0
        return BaseModel(named, size=int(2e9 * billions), parameters=int(1e9 * billions))
    uri = f"{named.rstrip('/')}/"
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+/", uri):
        said = f"model_name is {named[:200]}, which is no prefix of S3."
        return BaseModel(uri, problems=(Problem("config", said, "Write s3://bucket/prefix/."),))
    if foreign := grounds.reading(uri, "model_name", "config"):
        return BaseModel(uri, problems=(foreign,))
    address = S3Address.parse(uri)
    try:
        checksum, _objects, _size = prefix_checksum(s3, address)
        files = _files(s3, address)
        config = _config(s3, address, files)
    except ClientError as error:
        if not (is_missing(error) or is_denied(error)):
            raise
        said = f"The base model below {uri} cannot be read: S3 answers {code_of(error)}."
        remedy = (
            "Check the bucket's name, and that the worker's role may list and read it; the job's role has to as well."
        )
        return BaseModel(uri, problems=(Problem("config", said, remedy),))
    size = sum(files.values())
    weights = sum(size for name, size in files.items() if name.endswith(_SAFE))
    dtype = config.get("dtype") or config.get("torch_dtype") if config else None
    problems = tuple(_problems(uri, files, config))
    parameters, shape = weights // _BYTES.get(str(dtype), 2), shape_of_config(config) if config else None
    return BaseModel(uri, Channel(CHANNEL, uri, checksum), size, parameters, problems, shape)


def isolation_problem(model: BaseModel) -> Problem | None:
    """What is wrong with training it where the container has no network."""
    if not model.is_of_the_hub:
        return None
    said = f"network_isolation gives the job no network, and its base model {model.named} is on the Hugging Face Hub."
    return Problem("network", said, "Put the model in S3 and give its s3:// prefix as model_name, or leave it out.")


def _files(s3: S3Client, prefix: S3Address) -> dict[str, int]:
    """Sizes by name below the prefix."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
    listed = {one["Key"].removeprefix(prefix.key): one["Size"] for page in pages for one in page.get("Contents", [])}
    return {name: size for name, size in listed.items() if name and not name.endswith("/")}


def _config(s3: S3Client, prefix: S3Address, files: Mapping[str, int]) -> Mapping[str, Any] | None:
    """What `config.json` says; None when it is none."""
    if not 0 < files.get(CONFIG, 0) <= LARGEST_CONFIG:
        return None
    body = s3.get_object(Bucket=prefix.bucket, Key=f"{prefix.key}{CONFIG}")["Body"].read()
    try:
        config = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _problems(uri: str, files: Mapping[str, int], config: Mapping[str, Any] | None) -> Iterator[Problem]:
    if not files:
        yield Problem("config", f"There is no base model below {uri}: nothing is there.", _SAVE)
        return
    if CONFIG not in files:
        yield _no_config(uri, files)
        return
    if config is None or not config.get("model_type"):
        said = f"{uri}{CONFIG} is not the JSON object of a Transformers model: it names no model_type."
        yield Problem("config", said, _SAVE)
    yield from _of_weights(uri, files)
    if not TOKENIZERS & files.keys():
        said = f"The base model below {uri} has no tokenizer: none of {', '.join(sorted(TOKENIZERS))} is there."
        yield Problem("config", said, "Upload what `tokenizer.save_pretrained` leaves beside it.")


def _no_config(uri: str, files: Collection[str]) -> Problem:
    below = sorted(name for name in files if name.endswith(f"/{CONFIG}"))
    packed = sorted(name for name in files if name.endswith((".tar.gz", ".zip")))
    said = f"There is no base model below {uri}: it has no {CONFIG}"
    if ADAPTER in files:
        remedy = "Merge it with its base model first: a fine-tuning with merge_weights leaves the whole model."
        return Problem("config", f"{said}, but {ADAPTER}: it is an adapter, not a model.", remedy)
    if below:
        remedy = f"Give {uri}{below[0].removesuffix(CONFIG)} as model_name."
        return Problem("config", f"{said}, but one is at {below[0]}.", remedy)
    if packed:
        remedy = "Unpack it, and upload the files: a job reads them as they are."
        return Problem("config", f"{said}; {packed[0]} is packed.", remedy)
    return Problem("config", f"{said}. It has {', '.join(sorted(files)[:5])}.", _SAVE)


def _of_weights(uri: str, files: Collection[str]) -> Iterator[Problem]:
    safe = {name for name in files if name.endswith(_SAFE) and "/" not in name}
    pickled = sorted(name for name in files if name.endswith(_PICKLED) and "/" not in name)
    if not safe:
        has = (
            f"pickled weights only ({', '.join(pickled[:3])}), and unpickling runs whatever is in them"
            if pickled
            else "no weights"
        )
        said = f"The base model below {uri} has {has}."
        remedy = "Load it where you trust it, `save_pretrained(folder, safe_serialization=True)`, and upload that."
        yield Problem("config", said, remedy if pickled else _SAVE)
        return
    shards = [found for name in sorted(safe) if (found := _SHARD.fullmatch(name))]
    sets = {(one["stem"], one["of"]) for one in shards}
    missing = [
        name
        for stem, of in sorted(sets)
        for number in range(1, int(of) + 1)
        if (name := f"{stem}-{number:05}-of-{of}{_SAFE}") not in safe
    ]
    if missing:
        said = f"The base model below {uri} is not whole: {len(missing)} of its files of weights are missing, such as {missing[0]}."
        yield Problem("config", said, "Upload them too.")


def _counted(parameters: int) -> str:
    return (
        f"{parameters / 1e9:.1f} billion"
        if parameters >= 1e9
        else f"{parameters / 1e6:.1f} million"
        if parameters >= 1e6
        else f"{parameters:,}"
    )


def _bytes(size: int) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
