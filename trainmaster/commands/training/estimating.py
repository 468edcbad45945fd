"""`trainmaster train estimate`: which instance types a fine-tuning fits, how long it takes on each, and what it costs."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import ClientError

from trainmaster.aws.clients import default_clients
from trainmaster.aws.failures import code_of, is_denied, is_missing
from trainmaster.budget.hardware import hardware_of, known_types
from trainmaster.budget.money import rounded_up, shown
from trainmaster.budget.prices import known_prices
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.datasets import Dataset
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.options import read_pair
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import table
from trainmaster.errors import UnknownChoiceError
from trainmaster.plain_words import printable
from trainmaster.settings import Settings
from trainmaster.storage.address import S3Address
from trainmaster.training.channels import named_channels
from trainmaster.training.configs import read_recipe
from trainmaster.training.estimate import (
    Choice,
    Estimate,
    Market,
    data_of,
    estimate,
    instances_needed,
    together,
)
from trainmaster.training.memory import Setup, setup_of
from trainmaster.training.shapes import Shape, parameters_of, shape_of_config, shape_of_size
from trainmaster.training.showing import SPOT_SHARE
from trainmaster.training.speed import Data

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

LARGEST_CONFIG = 1 << 20
MOST_BILLIONS = 10_000.0
_HOW: Mapping[str, Mapping[str, str]] = {
    "full": {"finetuning_type": "full", "quantization": "none"},
    "lora": {"finetuning_type": "lora", "quantization": "none"},
    "qlora": {"finetuning_type": "lora", "quantization": "4bit"},
}
_METHODS = ("sft", "dpo", "orpo", "kto", "cpt")
_ERROR = (
    "Memory is estimated within a fifth of what others measured, time within 15 % on A100s and by allowance elsewhere:"
    " docs/fine-tuning.md."
)


def add_commands(subcommands: Subparsers) -> None:
    """What a training would take, of anybody's model and data; it needs neither a config nor an account."""
    line = "memory, time and cost of a fine-tuning on each instance type that it fits"
    parser = add_command(subcommands, "estimate", line, _estimate)
    of_model = parser.add_argument_group("the model")
    of_model.add_argument(
        "--model", metavar="NAME", help="such as meta-llama/Llama-3.1-8B, a folder, or s3://bucket/prefix/ of one"
    )
    of_model.add_argument("--parameters", type=_billions, metavar="7B", help="where the name does not tell")
    of_data = parser.add_argument_group("the data; without it no time is estimated, only what fits")
    of_data.add_argument(
        "--training-config-id", type=_uuid, metavar="ID", help="its model, datasets and hyperparameters"
    )
    of_data.add_argument("--dataset", action="append", default=[], type=_uuid, metavar="ID", help="of yours; several")
    of_data.add_argument("--examples", type=_whole, metavar="N", help="with --tokens, in place of datasets")
    of_data.add_argument("--tokens", type=_whole, metavar="N", help="of an example, on average")
    of_data.add_argument("--user", type=_uuid, metavar="UUID", help="whose; TRAINMASTER_USER_ID without it")
    how = parser.add_argument_group("how it is trained")
    how.add_argument("--training-method", choices=_METHODS, help="sft without it")
    how.add_argument("--how", choices=tuple(_HOW), help="all weights, an adapter (the default), or one on 4 bits")
    for name, text in (
        ("max-length", "tokens of an example at most (default 2048)"), ("batch-size", "examples at once on each GPU (default 4)"),
        ("lora-r", "rank of the adapters (default 16)"), ("max-steps", "in place of the epochs"),
    ):  # fmt: skip
        how.add_argument(f"--{name}", type=_whole, metavar="N", help=text)
    how.add_argument("--num-epochs", type=float, metavar="X", help="times through the data (default 3)")
    how.add_argument(
        "--optimizer", metavar="NAME", help="such as adamw_torch (the default), adamw_8bit, adafactor, sgd"
    )
    how.add_argument("--gradient-checkpointing", action=argparse.BooleanOptionalAction, help="(default yes)")
    how.add_argument("--packing", action=argparse.BooleanOptionalAction, help="several examples in one sequence")
    how.add_argument(
        "--hyperparameter", action="append", default=[], type=read_pair, metavar="KEY=VALUE", help="any other; several"
    )
    where = parser.add_argument_group("where")
    where.add_argument("--instance-type", action="append", metavar="TYPE", help="only these; all with GPUs without it")
    where.add_argument("--instance-count", type=_whole, default=1, metavar="N", help="(default 1)")
    where.add_argument("--volume-size-gb", type=_whole, default=30, metavar="N", help="(default 30)")
    where.add_argument("--region", metavar="NAME", help="AWS_REGION without it")
    where.add_argument("--all", action="store_true", help="those that it does not fit as well")


def _estimate(args: argparse.Namespace, settings: Settings) -> int:
    _require_gpus(args.instance_type or [])
    told, datasets = _config(args, settings)
    hyperparameters = {"training_method": "sft", **told, **_options(args)}
    model = args.model or ("" if args.parameters else str(hyperparameters.get("model_name") or ""))
    shape, setup = _shape(model, args.parameters, settings), setup_of(hyperparameters)
    data = _data(args, datasets)
    region = args.region or settings.region
    market = Market(known_prices(settings.refreshed_prices), region, args.instance_count, args.volume_size_gb)
    found = estimate(shape, setup, data, market, args.instance_type)
    if args.json:
        say_json(_facts(found, model, market, with_all=args.all))
    else:
        say(*_lines(found, model, market, with_all=args.all))
        note(_ERROR)
    return DONE if found.choices else REFUSED


def _require_gpus(types: Sequence[str]) -> None:
    """Of each type that is named: one nobody knows is not one it does not fit."""
    known = [f"ml.{one}" for one in known_types() if (hardware := hardware_of(one)) and hardware.gpus]
    for one in types:
        if one not in known:
            near = get_close_matches(one, known, 1)
            raise BadRequestError(
                f"{one!r} is no instance type with GPUs that is known here.{f' Is {near[0]} meant?' if near else ''}"
            )


def _config(args: argparse.Namespace, settings: Settings) -> tuple[Mapping[str, Any], list[Dataset]]:
    """Hyperparameters and training datasets of the config that is named, and the datasets that are."""
    if not (args.training_config_id or args.dataset):
        return {}, []
    owner = args.user or UUID(settings.required("user_id"))
    with closing(open_catalogue(settings.catalogue_url, settings.state_dir)) as catalogue:
        named = [_dataset(catalogue, one, owner) for one in args.dataset]
        if not args.training_config_id:
            return {}, named
        config = catalogue.configs.get(args.training_config_id, owner)
        if config is None:
            raise UnknownChoiceError(
                f"There is no training config {args.training_config_id} of user {owner}. `trainmaster configs list` shows yours."
            )
        recipe = read_recipe(config.config)
        channels, _ = named_channels(config.datasets, recipe.roles)
        trained_on = [one.dataset for one in channels if one.channel.partition("-")[0] == "training"]
        return recipe.hyperparameters, named or trained_on


def _dataset(catalogue: Catalogue, dataset_id: UUID, owner: UUID) -> Dataset:
    found = catalogue.datasets.get(dataset_id, owner)
    if found is None:
        raise UnknownChoiceError(
            f"There is no dataset {dataset_id} of user {owner}. `trainmaster datasets list` shows yours."
        )
    return found


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = (
        "training_method", "max_length", "batch_size", "lora_r", "max_steps", "num_epochs", "optimizer",
        "gradient_checkpointing", "packing",
    )  # fmt: skip
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {**dict(args.hyperparameter), **_HOW.get(args.how, {}), **given}


def _data(args: argparse.Namespace, datasets: list[Dataset]) -> Data | None:
    if (args.examples is None) != (args.tokens is None):
        raise BadRequestError("--examples and --tokens go together: how many there are, and the tokens of each.")
    if args.examples is not None:
        return Data(args.examples, float(args.tokens))
    counted = [
        data_of(
            one.total_examples,
            None if one.avg_input_length is None else one.avg_input_length + (one.avg_output_length or 0),
            one.metadata,
        )
        for one in datasets
    ]
    for dataset, data in zip(datasets, counted, strict=True):
        if data is None:
            raise BadRequestError(
                f"Nobody has counted dataset {printable(dataset.name)} ({dataset.id}). Upload it by `trainmaster datasets"
                " upload`, or give --examples and --tokens."
            )
    return together(counted)


def _shape(model: str, billions: float | None, settings: Settings) -> Shape:
    if billions:
        return shape_of_size(billions, model)
    if model.startswith("s3://"):
        return _shape_below(model, _config_in_s3(model, settings))
    if (Path(model) / "config.json").is_file():
        return _shape_below(model, (Path(model) / "config.json").read_bytes()[:LARGEST_CONFIG])
    if not model:
        raise BadRequestError("Which model? Give --model (such as meta-llama/Llama-3.1-8B) or --parameters (7B).")
    known = parameters_of(model)
    if known is None:
        raise BadRequestError(
            f"The name {model!r} does not tell how large it is. Give --parameters as well, such as 7B."
        )
    return shape_of_size(known, model)


def _config_in_s3(model: str, settings: Settings) -> bytes:
    address = S3Address.parse(f"{model.rstrip('/')}/config.json")
    s3 = default_clients(settings.region)("s3")
    try:
        answer = s3.get_object(Bucket=address.bucket, Key=address.key, Range=f"bytes=0-{LARGEST_CONFIG - 1}")
    except ClientError as error:
        if not (is_missing(error) or is_denied(error)):
            raise
        raise BadRequestError(
            f"{address} cannot be read: S3 answers {code_of(error)}. Give the prefix `save_pretrained` wrote to, or --parameters."
        ) from error
    content: bytes = answer["Body"].read()
    return content


def _shape_below(model: str, content: bytes) -> Shape:
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"config.json of {model} is no JSON: {error}. Give --parameters instead.") from error
    shape = shape_of_config(config) if isinstance(config, dict) else None
    if shape is None:
        raise BadRequestError(f"config.json of {model} is not that of a language model. Give --parameters instead.")
    return shape


def _lines(found: Estimate, model: str, market: Market, *, with_all: bool) -> Iterator[str]:
    shape, setup, data = found.shape, found.setup, found.data
    yield (
        f"{printable(model) or 'A model'}: {shape.parameters / 1e9:.3g} billion parameters, {setup.method} of {setup.sentence()},"
        f" batches of {setup.batch_size} × {setup.max_length} tokens on each GPU,"
        f" {'with' if setup.checkpointing else 'without'} gradient checkpointing, {setup.optimizer}"
    )
    if data:
        until = f"{setup.max_steps} steps" if setup.max_steps else f"{setup.epochs:g} epochs"
        yield f"{data.examples:,} examples of {data.tokens:.0f} tokens, {until}"
    yield ""
    if found.choices:
        head = ("TYPE", "GPUS", "NEEDS", "TIME", "ON DEMAND", "SPOT, LIKELY", "AN HOUR", "")
        yield from table([head, *(_row(one) for one in found.choices)], frozenset({2, 3, 4, 5, 6}))
    else:
        several = f", {market.instances} of it together" if market.instances > 1 else ""
        yield f"It fits no instance type with GPUs{several}."
    if with_all and found.too_small:
        yield from ("", "Too small:")
        rows = [
            (one.instance_type, one.hardware.gpus_said, _gigabytes(one), _more(found, one)) for one in found.too_small
        ]
        yield from table([("TYPE", "GPUS", "NEEDS", ""), *rows], frozenset({2}))
    elif not found.choices:
        yield from _ways_out(found, setup)


def _ways_out(found: Estimate, setup: Setup) -> Iterator[str]:
    several = [(n, one) for one in found.too_small if (n := _fitting(found, one))]
    if several:
        count, one = min(
            several, key=lambda each: (each[0] * (each[1].hourly or Decimal(10**6)), each[1].instance_type)
        )
        yield f"{count} × {one.instance_type} would do: --instance-count {count}."
    if setup.trained == "full":
        yield "An adapter takes a fraction of it: --how lora, or qlora."
    elif setup.bits == "none":
        yield "4 bits take a fourth of the weights: --how qlora."
    if setup.batch_size > 1:
        again = setup.batch_size * setup.accumulation
        yield f"A smaller batch has fewer activations: --batch-size 1 (train with gradient_accumulation_steps {again})."


def _fitting(found: Estimate, one: Choice) -> int | None:
    return instances_needed(
        found.shape, found.setup, one.instance_type, longest=found.data.longest if found.data else 0
    )


def _more(found: Estimate, one: Choice) -> str:
    count = _fitting(found, one)
    return f"fits {count} instances" if count else ""


def _row(one: Choice) -> tuple[str, ...]:
    spot = one.spot_usd(SPOT_SHARE)
    said = [
        word
        for word, holds in (("best", one.is_best), ("tight", one.is_tight), ("unpriced", one.hourly is None))
        if holds
    ]
    count = f"{one.instances} × " if one.instances > 1 else ""
    return (
        f"{count}{one.instance_type}",
        one.hardware.gpus_said,
        _gigabytes(one),
        "" if one.seconds is None else _clock(one.seconds),
        "" if one.usd is None else shown(rounded_up(one.usd)),
        "" if spot is None else shown(rounded_up(spot)),
        "" if one.hourly is None else shown(rounded_up(one.hourly)),
        ", ".join(said),
    )


def _gigabytes(one: Choice) -> str:
    return f"{one.need.gigabytes:.1f} GB"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _facts(found: Estimate, model: str, market: Market, *, with_all: bool) -> dict[str, Any]:
    """Money is a string: a JSON number would be read as a float."""
    setup, data = found.setup, found.data
    facts = {
        "model": model or None,
        "parameters": round(found.shape.parameters),
        "training_method": setup.method,
        "finetuning_type": setup.trained,
        "quantization": setup.bits,
        "max_length": setup.max_length,
        "batch_size": setup.batch_size,
        "gradient_checkpointing": setup.checkpointing,
        "optimizer": setup.optimizer,
        "data": {"examples": data.examples, "tokens_per_example": round(data.tokens, 1)} if data else None,
        "region": market.region,
        "choices": [_choice(one) for one in found.choices],
    }
    if not with_all:
        return facts
    return {**facts, "too_small": [{**_choice(one), "fits_instances": _fitting(found, one)} for one in found.too_small]}


def _choice(one: Choice) -> dict[str, Any]:
    spot = one.spot_usd(SPOT_SHARE)
    need = one.need
    return {
        "instance_type": one.instance_type,
        "instance_count": one.instances,
        "gpus": one.hardware.gpus,
        "gpu": one.hardware.gpu,
        "gpu_memory_gb": one.hardware.gpu_memory_gb,
        "needs_gb": round(need.gigabytes, 1),
        "needs": {
            name: round(getattr(need, name) / 1e9, 2) for name in ("weights", "gradients", "optimizer", "activations")
        },
        "seconds": None if one.seconds is None else round(one.seconds),
        "usd": None if one.usd is None else str(rounded_up(one.usd)),
        "likely_spot_usd": None if spot is None else str(rounded_up(spot)),
        "hourly_usd": None if one.hourly is None else str(rounded_up(one.hourly)),
        "best": one.is_best,
        "tight": one.is_tight,
    }


def _billions(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([MBT]?)", text.strip().upper())
    billions = float(match[1]) * {"M": 1e-3, "B": 1.0, "T": 1e3, "": 1e-9}[match[2]] if match else 0.0
    if not 0 < billions <= MOST_BILLIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of parameters such as 7B or 350M")
    return billions


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10**12):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no id (a UUID)") from None
