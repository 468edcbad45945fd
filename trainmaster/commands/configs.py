"""`trainmaster configs add|list|show`: training configs, for whoever trains without the application that usually keeps them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.configs import MOST_LISTED, TrainingConfig
from trainmaster.catalog.datasets import Dataset
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.objects import read_object
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.errors import TrainingRefusedError, UnknownChoiceError
from trainmaster.plain_words import printable
from trainmaster.settings import Settings
from trainmaster.training.channels import is_in_s3, named_channels
from trainmaster.training.configs import CHOOSING, read_recipe
from trainmaster.training.fine_tuning import misfits, wrong_hyperparameters
from trainmaster.training.hyperparameters import encoded
from trainmaster.training.problems import Problem
from trainmaster.training.secrets import secrets_in

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLE = '{"trainer": "house-prices"}'
_LONGEST_NAME = 200


def add_parser(commands: Subparsers) -> None:
    """`trainmaster configs` and its subcommands."""
    about = "Training configs: which program trains, with which hyperparameters, on which datasets."
    configs = commands.add_parser("configs", help="add, list and show training configs", description=about)
    subcommands = configs.add_subparsers(required=True, metavar="COMMAND")
    add = add_command(subcommands, "add", "add a training config; the same one again is found, not added twice", _add)
    add.add_argument("name", metavar="NAME", help="jobs are named after it")
    add.add_argument("file", metavar="FILE", help="the config, a JSON object; - reads standard input")
    add.add_argument(
        "--dataset", dest="datasets", action="append", default=[], type=_uuid, metavar="ID",
        help="trained on; may be given several times. `trainmaster datasets list` shows yours",
    )  # fmt: skip
    list_ = add_command(subcommands, "list", "your training configs, by name", _list)
    show = add_command(subcommands, "show", "everything that is known of a training config", _show)
    show.add_argument("config", metavar="ID|NAME")
    for parser in (add, list_, show):
        parser.add_argument("--user", type=_uuid, metavar="UUID", help="whose; TRAINMASTER_USER_ID without it")


def _add(args: argparse.Namespace, settings: Settings) -> int:
    if not (args.name.strip() and args.name.isprintable() and len(args.name) <= _LONGEST_NAME):
        raise BadRequestError(f"A config's name has 1 to {_LONGEST_NAME} characters that can be printed.")
    owner = _owner(args, settings)
    config = read_object(args.file, "The config", _EXAMPLE)
    with _catalogue(settings) as catalogue:
        found = {one: catalogue.datasets.get(one, owner) for one in args.datasets}
        problems = [*_problems(config, list(filter(None, found.values()))), *_missing(owner, found)]
        if problems:
            raise TrainingRefusedError(f"Training config {args.name}", problems, "added")
        kept, is_new = catalogue.configs.add(owner, args.name, config, args.datasets)
        same_name = [one.id for one in catalogue.configs.named(owner, args.name) if one.id != kept.id]
    if args.json:
        say_json({"added": is_new, **_facts(kept)})
        return DONE
    say(f"Training config {kept.name} {'is added' if is_new else 'was there already, the same'}: {kept.id}")
    if same_name:
        note(f"Others of yours have this name too: {', '.join(map(str, same_name))}.")
    copy = "" if all(map(is_in_s3, kept.datasets)) else " --migrate-missing"
    note(f"What training it would cost: trainmaster train plan --training-config-id {kept.id}{copy}")
    return DONE


def _list(args: argparse.Namespace, settings: Settings) -> int:
    with _catalogue(settings) as catalogue:
        found = catalogue.configs.named(_owner(args, settings), limit=MOST_LISTED + 1)
    named, more = found[:MOST_LISTED], len(found) > MOST_LISTED
    if args.json:
        listed = [{"id": str(one.id), "name": one.name, "datasets": one.datasets} for one in named]
        say_json({"configs": listed, "has_more": more})
    elif named:
        rows = [(str(one.id), str(one.datasets), printable(one.name)) for one in named]
        say(*table([("ID", "DATASETS", "NAME"), *rows], frozenset({1})))
    else:
        note("There are none. `trainmaster configs add NAME FILE --dataset ID` adds one.")
    if more:
        note(f"These are the first {MOST_LISTED}; `show` finds the others by name or id.")
    return DONE


def _show(args: argparse.Namespace, settings: Settings) -> int:
    with _catalogue(settings) as catalogue:
        config = _found(catalogue, args.config, _owner(args, settings))
    if args.json:
        say_json(_facts(config))
        return DONE
    say(f"Training config {printable(config.name)}", *labelled({"id": config.id, "user": config.user_id}))
    say(*_datasets(config))
    say("", json.dumps(config.config, indent=2))
    problems = list(_problems(config.config, config.datasets))
    if problems:
        note("", "It cannot be trained as it is:", *(f"  {printable(one.sentence())}" for one in problems))
    return DONE


def _missing(owner: UUID, found: Mapping[UUID, Dataset | None]) -> Iterator[Problem]:
    for missing in (one for one, dataset in found.items() if dataset is None):
        said = f"User {owner} has no dataset {missing}."
        yield Problem("datasets", said, "`trainmaster datasets list` shows which there are.")


def _problems(config: Any, datasets: Sequence[Dataset]) -> Iterator[Problem]:
    """Everything that would keep it from being trained, as far as that can be seen without AWS."""
    recipe = read_recipe(config)
    yield from recipe.problems
    yield from encoded(recipe.hyperparameters)[1]
    yield from wrong_hyperparameters(recipe.trainer, recipe.hyperparameters)
    yield from misfits(recipe.trainer, recipe.hyperparameters, datasets)
    yield from secrets_in(recipe.hyperparameters, "Hyperparameter")
    if isinstance(config, Mapping):
        yield from secrets_in({key: config[key] for key in CHOOSING & config.keys()}, "Setting")
    yield from named_channels(datasets, recipe.roles)[1]


def _datasets(config: TrainingConfig) -> Iterator[str]:
    channels, _ = named_channels(config.datasets, read_recipe(config.config).roles)
    for one in channels:
        where = "" if is_in_s3(one.dataset) else ", not in S3 yet"
        yield from labelled({one.channel: f"{one.dataset.id}  {one.dataset.name}{where}"})
    if config.others:
        yield from labelled({"others": f"{config.others} of other users, with which it cannot be trained"})
    if not config.datasets:
        yield from labelled({"datasets": "none"})


def _found(catalogue: Catalogue, wanted: str, owner: UUID) -> TrainingConfig:
    """By id, else by name. Raises UnknownChoiceError when there is none, or several have the name."""
    try:
        ids = [UUID(wanted)]
    except ValueError:
        ids = [one.id for one in catalogue.configs.named(owner, wanted)]
    found = catalogue.configs.get(ids[0], owner) if len(ids) == 1 else None
    if found:
        return found
    if len(ids) > 1:
        raise UnknownChoiceError(f"{len(ids)} configs have the name {wanted!r}. Say which: {', '.join(map(str, ids))}.")
    raise UnknownChoiceError(
        f"User {owner} has no training config {wanted!r}. `trainmaster configs list` shows which there are."
    )


def _facts(config: TrainingConfig) -> dict[str, Any]:
    return {
        "id": str(config.id),
        "user_id": str(config.user_id),
        "name": config.name,
        "config": config.config,
        "datasets": [str(one.id) for one in config.datasets],
        "datasets_of_others": config.others,
    }


def _catalogue(settings: Settings) -> closing[Catalogue]:
    return closing(open_catalogue(settings.catalogue_url, settings.state_dir))


def _owner(args: argparse.Namespace, settings: Settings) -> UUID:
    return args.user or UUID(settings.required("user_id"))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no id (a UUID)") from None
