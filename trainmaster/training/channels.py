"""From the datasets of a training config to a job's channels: each dataset one, named, exact, and known to be there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.errors import NotConfiguredError
from trainmaster.storage.library import dataset_path
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.training.configs import channel_of_role
from trainmaster.training.plan import Channel
from trainmaster.training.problems import Problem

MOST = 20
"""AWS's (CreateTrainingJob, InputDataConfig)."""

_REPLACED = (
    "Somebody replaced it. Upload the same file again, which puts it back; or what is there now under another name, if that is"
    " meant."
)


@dataclass(frozen=True)
class Named:
    """A dataset and the channel it comes by."""

    channel: str
    dataset: Dataset


@dataclass(frozen=True)
class Found:
    """Where the bytes of a dataset are in S3; `sha256` is the catalogue's, or says of what it is not the hash."""

    bucket: str
    path: str
    sha256: str
    size: int | None


def named_channels(datasets: Sequence[Dataset], roles: Mapping[UUID, str]) -> tuple[list[Named], list[Problem]]:
    """A channel for every dataset, in the order they are given: training, training-2, validation, validation-2 and so on.

    `roles` are the config's; where it says nothing the dataset's own metadata does (`role`), and else it is for training.
    """
    named, problems, numbers = list[Named](), list[Problem](), dict[str, int]()
    for dataset in datasets:
        said = (dataset.metadata or {}).get("role")
        role, wrong = roles.get(dataset.id), None
        if role is None:
            role, wrong = channel_of_role(said, _said(dataset)) if said is not None else ("training", None)
        problems += [wrong] if wrong else []
        numbers[role] = number = numbers.get(role, 0) + 1
        named.append(Named(role if number == 1 else f"{role}-{number}", dataset))
    strangers = roles.keys() - {dataset.id for dataset in datasets}
    for stranger in sorted(strangers, key=str):
        message = f"`dataset_roles` of the training config names dataset {stranger}, which is not one of its datasets."
        problems.append(Problem("config", message, "Add it to the config's datasets, or take its role out."))
    return named, problems + list(_problems_of(named))


def is_in_s3(dataset: Dataset) -> bool:
    """Whether the catalogue says that SageMaker can read it: by a copy, or because the application put it there itself."""
    return dataset.copy_at(StorageProvider.S3) is not None or (
        dataset.storage_provider == StorageProvider.S3 and dataset.names_its_own
    )


def missing_problem(missing: Sequence[Dataset], *, dry_run: bool) -> Problem:
    """One for all datasets SageMaker cannot read, saying which they are."""
    several = len(missing) > 1
    listed = "; ".join(f"{_said(dataset)} is in {dataset.storage_provider}" for dataset in missing)
    remedy = "Copy them there first: set migrate_missing." if several else "Copy it there first: set migrate_missing."
    if dry_run:
        remedy += " A dry run itself copies nothing."
    count = f"{len(missing)} datasets are" if several else "A dataset is"
    return Problem("datasets", f"{count} not in S3, where SageMaker reads: {listed}.", remedy)


def damaged_problem(dataset: Dataset) -> Problem:
    """Of one whose copy in S3 is known not to be what was catalogued, and was not taken out of the catalogue for that."""
    said = f"The copy in S3 of {_said(dataset)} is damaged, as a run found that read it."
    mended = (
        "Where Supabase has it: `trainmaster datasets migrate rollback --dataset {id}`, then `trainmaster datasets migrate copy"
        " --dataset {id}`. Else upload the same file again under the same name, which puts the copy again."
    )
    return Problem("datasets", said, mended.format(id=dataset.id))


def located(stores: Stores, dataset: Dataset) -> tuple[Found | None, Problem | None]:
    """Where a dataset is in S3, looked up there; a problem when the object is gone, has another size or cannot be reached."""
    copy = dataset.copy_at(StorageProvider.S3)
    try:
        place = _place(stores, dataset, copy)
        there = stores.at(StorageProvider.S3, place.bucket).stat(place.path)
    except NotConfiguredError as error:
        return None, Problem("datasets", f"{_said(dataset)} cannot be read.", str(error))
    where = f"s3://{place.bucket}/{place.path}"
    if there is None:
        again = "Upload it again; the same upload puts back what was lost."
        return None, Problem("datasets", f"{_said(dataset)} is catalogued at {where}, but nothing is there.", again)
    if place.size is not None and there.size != place.size:
        said = f"{_said(dataset)} has {there.size:,} bytes at {where}; {place.size:,} were catalogued."
        return None, Problem("datasets", said, _REPLACED)
    # Of what the application stored itself nobody recorded a hash: the ETag tells its versions apart as well.
    return (
        place if place.sha256 else Found(place.bucket, place.path, f"etag:{there.sha256 or there.etag}", None)
    ), None


def to_be_copied(stores: Stores, dataset: Dataset) -> tuple[Found | None, Problem | None]:
    """Where a dataset will be once it is migrated, and what of its content is known before."""
    try:
        bucket = stores.home(StorageProvider.S3, dataset.user_id).bucket
    except NotConfiguredError as error:
        return None, Problem("datasets", f"{_said(dataset)} cannot be copied to S3.", str(error))
    known = next(iter(dataset.copies), None)
    content = known.sha256 if known else f"not copied yet: {dataset.updated_at.isoformat()}"
    return Found(bucket, dataset_path(StorageProvider.S3, dataset.user_id, dataset.id), content, None), None


def channel_of(name: str, found: Found, manifests: str) -> tuple[Channel, bytes]:
    """The channel, and the manifest that is to lie at its `manifest_uri`, below the S3 prefix `manifests`.

    A prefix would do if nothing else began like it: of `a.jsonl.gz` SageMaker also reads `a.jsonl.gz.old`. A manifest names
    one object, whatever is put beside it until the job's last restart.
    """
    folder, _, file = found.path.rpartition("/")
    manifest = json.dumps([{"prefix": f"s3://{found.bucket}/{folder}/"}, file]).encode()
    uri = f"s3://{found.bucket}/{found.path}"
    named = hashlib.sha256(manifest).hexdigest()[:16]
    return Channel(name, uri, found.sha256, f"{manifests}/{named}.manifest"), manifest


def _place(stores: Stores, dataset: Dataset, copy: Copy | None) -> Found:
    if copy:
        return Found(copy.bucket, copy.path, copy.sha256, copy.size_bytes)
    return Found(stores.home(StorageProvider.S3, dataset.user_id).bucket, dataset.storage_path, "", None)


def _problems_of(named: Sequence[Named]) -> Iterator[Problem]:
    if not named:
        yield Problem(
            "datasets",
            "The training config has no datasets.",
            "Add at least one to it: `trainmaster configs add` takes --dataset ID.",
        )
    elif "training" not in {each.channel for each in named}:
        said = f"None of the {len(named)} datasets of the training config is for training."
        yield Problem("datasets", said, "Give one the role `train`, in `dataset_roles` or in its metadata.")
    if len(named) > MOST:
        said = f"The training config has {len(named)} datasets; SageMaker takes {MOST} channels."
        yield Problem("datasets", said, "Put some of them together in one dataset.")


def _said(dataset: Dataset) -> str:
    return f"Dataset {dataset.id} ({dataset.name!r})"
