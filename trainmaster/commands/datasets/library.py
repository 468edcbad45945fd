"""`trainmaster datasets upload|list|show|url|delete|sweep`: datasets in storage and catalogue, without a Prefect server."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

from pydantic_core import to_jsonable_python

from trainmaster.aws.clients import default_s3_client
from trainmaster.catalog.candidates import Selection
from trainmaster.catalog.datasets import TRAINING_PROVIDERS, Dataset
from trainmaster.catalog.hindrances import Hindrance
from trainmaster.catalog.moves import Move
from trainmaster.commands.datasets.reporting import add_command, dataset_id, user_id
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.ending import DONE, FAILED
from trainmaster.commands.terminal.progress import Progress
from trainmaster.commands.terminal.reporting import Run, note, say, say_json
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.datasets.request import FormatChoice, StorageChoice, UploadDatasetRequest
from trainmaster.datasets.showing.wording import verdict
from trainmaster.errors import (
    DatasetMissingError,
    DatasetRefusedError,
)
from trainmaster.plain_words import counted, printable, size
from trainmaster.settings import Settings
from trainmaster.storage import intake
from trainmaster.storage.library import Library, open_library
from trainmaster.storage.links import LIFETIME, download_link
from trainmaster.storage.removing import delete_dataset, sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import upload
from trainmaster.storage.working_folder import working_folder

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_parsers(datasets: Subparsers) -> None:
    """The subcommands, below `trainmaster datasets`."""
    _add_upload(datasets)
    _add_list(datasets)
    for name, help_line, run in (
        ("show", "everything that is known of a dataset", _show),
        ("url", "a link to download a dataset; anybody can use it until it expires", _url),
        ("delete", "take a dataset out of the catalogue and remove its copies; only says so without --yes", _delete),
    ):
        parser = _parser(datasets, name, help_line, run)
        parser.add_argument(
            "id", type=dataset_id, metavar="ID", help="of the dataset; `trainmaster datasets list` shows them"
        )
        if name == "url":
            parser.add_argument(
                "--expires",
                type=_duration,
                default=LIFETIME,
                metavar="TIME",
                help="90s, 30m, 2h (the default) up to 7d",
            )
        elif name == "delete":
            parser.add_argument("--yes", action="store_true", help="really do it")
    sweep_help = "remove what died half-way, of all users; what a migration will go on with is left for two days"
    add_command(datasets, "sweep", sweep_help, _sweep)


def _add_upload(datasets: Subparsers) -> None:
    parser = _parser(datasets, "upload", "check a dataset, store it and catalogue it", _upload)
    parser.add_argument("file", metavar="FILE", help="a path, s3://bucket/key or https://…")
    parser.add_argument("--name", required=True, help="what people will know it by")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument(
        "--storage", choices=get_args(StorageChoice), default="supabase",
        help="s3 for SageMaker, supabase (the default) for all other training",
    )  # fmt: skip
    parser.add_argument("--format", choices=get_args(FormatChoice), default="auto", help="detected without it")
    parser.add_argument(
        "--max-bad-fraction", type=float, default=0.0, metavar="SHARE", help="drop so many malformed examples knowingly"
    )
    parser.add_argument(
        "--tokenizer",
        default="",
        metavar="NAME",
        help="counts tokens exactly: a tokenizer.json, or a Hugging Face Hub id",
    )


def _add_list(datasets: Subparsers) -> None:
    parser = _parser(datasets, "list", "your datasets, newest first", _list)
    parser.add_argument("--provider", choices=list(StorageProvider), help="those with a copy there")
    parser.add_argument(
        "--for", dest="training", choices=sorted(TRAINING_PROVIDERS), help="those that training there sees"
    )
    parser.add_argument("--format", choices=get_args(FormatChoice)[1:])
    parser.add_argument("--name", metavar="PART", help="those with this somewhere in their names")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="so many at most (default %(default)s)")
    parser.add_argument("--after", metavar="CURSOR", help="go on where the last page ended")


def _parser(datasets: Subparsers, name: str, help_line: str, run: Run) -> argparse.ArgumentParser:
    parser = add_command(datasets, name, help_line, run)
    parser.add_argument(
        "--user", default="", type=user_id, metavar="UUID", help="whose; TRAINMASTER_USER_ID without it"
    )
    return parser


def _upload(args: argparse.Namespace, settings: Settings) -> int:
    request = UploadDatasetRequest(
        file=args.file,
        name=args.name,
        description=args.description,
        format=args.format,
        storage=args.storage,
        max_bad_fraction=args.max_bad_fraction,
        tokenizer=args.tokenizer,
        user_id=args.user,
    )
    with open_library(settings) as library, working_folder(settings.state_dir / "uploads") as folder:
        intake.require_stores(library, request, settings)
        try:
            source = intake.fetch_source(request, folder, settings, lambda: default_s3_client(settings.region))
        except DatasetRefusedError as error:
            raise BadRequestError(str(error)) from error
        with Progress(source.path.stat().st_size, sys.stderr) as progress:
            report = intake.check_source(request, source, folder, progress.show)
        new = intake.accepted(request, source, report, folder, settings)
        note(verdict(report), f"Storing {size(new.written.size)} …")
        sweep(library, sparing=new.id)
        uploaded = upload(library, new, intake.providers_of(request))
    note(*(f"Warning: {warning}" for warning in uploaded.warnings))
    if args.json:
        say_json(uploaded.model_dump(mode="json"))
    else:
        say(uploaded.sentence(), f"Download it: trainmaster datasets url {uploaded.dataset_id}")
    return DONE


def _list(args: argparse.Namespace, settings: Settings) -> int:
    with open_library(settings) as library:
        page = library.catalogue.datasets.page(
            intake.owner_of(args.user, settings),
            provider=args.provider,
            training_provider=args.training,
            format=args.format,
            name=args.name,
            limit=args.limit,
            cursor=args.after,
        )
    if args.json:
        say_json({"datasets": [_facts(dataset) for dataset in page.datasets], "cursor": page.cursor})
        return DONE
    if not page.datasets:
        note("There are none. `trainmaster datasets upload FILE --name NAME` adds one.")
        return DONE
    head = ("ID", "CREATED", "FORMAT", "EXAMPLES", "SIZE", "STORED", "NAME")
    say(*table([head, *map(_row, page.datasets)], frozenset({3, 4})))
    if page.cursor:
        note(f"There are more: the same command with --after {page.cursor}")
    return DONE


def _row(dataset: Dataset) -> tuple[str, ...]:
    return (
        str(dataset.id),
        f"{dataset.created_at:%Y-%m-%d %H:%M}",
        dataset.format,
        "?" if dataset.total_examples is None else f"{dataset.total_examples:,}",
        "?" if dataset.file_size_bytes is None else size(dataset.file_size_bytes),
        "+".join(_providers(dataset)),
        printable(dataset.name),
    )


def _providers(dataset: Dataset) -> Sequence[str]:
    others = [copy.provider for copy in dataset.copies if copy.provider != dataset.storage_provider]
    return [dataset.storage_provider, *others]


def _facts(dataset: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = to_jsonable_python(dataset)
    return facts


def _show(args: argparse.Namespace, settings: Settings) -> int:
    with open_library(settings) as library:
        dataset = _found(library, args.id, intake.owner_of(args.user, settings))
        hindrance, moves = _migration(library, dataset)
    if args.json:
        facts = {"hindrance": to_jsonable_python(hindrance), "moves": to_jsonable_python(moves)}
        say_json({**_facts(dataset), **facts})
        return DONE
    about = dataset.metadata or {}
    statistics, dropped = about.get("statistics") or {}, about.get("dropped") or {}
    tokens = statistics.get("exact_tokens") or statistics.get("estimated_tokens")
    lines = {
        "name": dataset.name,
        "description": dataset.description,
        "id": dataset.id,
        "created": f"{dataset.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "format": dataset.format,
        "examples": dataset.total_examples and f"{dataset.total_examples:,}",
        "dropped": dropped and f"{counted(dropped['examples'], 'example')}, kept beside the dataset",
        "input": dataset.avg_input_length and f"{dataset.avg_input_length:,.1f} characters on average",
        "output": dataset.avg_output_length and f"{dataset.avg_output_length:,.1f} characters on average",
        "tokens": tokens and f"{tokens:,}{'' if statistics.get('exact_tokens') else ' (characters / 4)'}",
        "quality": statistics and f"{statistics['quality']['score']} of 100",
        "size": dataset.file_size_bytes and size(dataset.file_size_bytes),
        "SHA-256": (about.get("normalised") or {}).get("sha256"),
        "source": (about.get("source") or {}).get("uri"),
        "read from": dataset.storage_provider,
    }
    say(*labelled(lines, width=12))
    for copy in dataset.copies:
        proven = f"verified {copy.verified_at:%Y-%m-%d %H:%M} UTC by {copy.verified_by}"
        say(*labelled({"copy": f"{copy.uri}, {proven}, SHA-256 {copy.sha256}"}, width=12))
    for move in moves:
        detail = f": {move.detail}" if move.detail else ""
        say(*labelled({move.phase: f"{move.at:%Y-%m-%d %H:%M} UTC by {move.by}{detail}"}, width=12))
    if hindrance:
        say(*labelled({"hindered": f"{hindrance.reason} {hindrance.advice}"}, width=12))
    return DONE


def _migration(library: Library, dataset: Dataset) -> tuple[Hindrance | None, Sequence[Move]]:
    """What keeps it from being migrated, if anything does, and what was done with it so far."""
    migrations = library.catalogue.migrations
    found = migrations.candidates(Selection(dataset_ids=[dataset.id]), limit=1)
    return (found[0].hindrance if found else None), migrations.moves(dataset.id)


def _url(args: argparse.Namespace, settings: Settings) -> int:
    with open_library(settings) as library:
        link = download_link(library, args.id, intake.owner_of(args.user, settings), args.expires)
    if args.json:
        told = {"url": link.url, "file_name": link.file_name, "provider": link.provider}
        say_json({"id": str(args.id), **told, "expires_at": link.expires_at.isoformat()})
        return DONE
    note(f"{link.file_name} from {link.provider}, until {link.expires_at:%Y-%m-%d %H:%M:%S} UTC:")
    say(link.url)
    return DONE


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    user_id = intake.owner_of(args.user, settings)
    with open_library(settings) as library:
        dataset = _found(library, args.id, user_id)
        removed = delete_dataset(library, args.id, user_id) if args.yes else None
    uris = [copy.uri for copy in dataset.copies]
    if args.json:
        left = removed.left if removed else []
        told = {"deleted": bool(removed), "objects": list(removed.objects) if removed else uris, "left": list(left)}
        say_json({"id": str(dataset.id), "name": dataset.name, **told})
    elif removed:
        say(f"Deleted {printable(dataset.name)} ({dataset.id}) and {counted(len(removed.objects), 'object')}.")
    else:
        say(f"Would delete {printable(dataset.name)} ({dataset.id}) with its copies:", *(f"  {uri}" for uri in uris))
        say(f"Nothing was changed. Do it: trainmaster datasets delete {dataset.id} --yes")
    return _noted_of_left(removed.left if removed else ())


def _sweep(args: argparse.Namespace, settings: Settings) -> int:
    with open_library(settings) as library:
        removed = sweep(library)
    if args.json:
        say_json({"removed": list(removed.objects), "left": list(removed.left)})
    else:
        say(*(f"Removed {where}" for where in removed.objects))
        if not removed.objects and not removed.left:
            say("There is nothing to be removed.")
    return _noted_of_left(removed.left)


def _noted_of_left(left: Sequence[str]) -> int:
    note(*(f"Not removed yet; `trainmaster datasets sweep` tries again: {what}" for what in left))
    return FAILED if left else DONE


def _found(library: Library, dataset_id: UUID, user_id: UUID) -> Dataset:
    dataset = library.catalogue.datasets.get(dataset_id, user_id)
    if dataset is None:
        raise DatasetMissingError(f"There is no dataset {dataset_id} of user {user_id}.")
    return dataset


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 30m, 2h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
