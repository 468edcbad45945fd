"""What a request is to train, found out: its trainer and program, its hyperparameters, its channels; and all that is wrong with them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError

from model.finetune.hyperparameters import problems_of, read_hyperparameters
from trainmaster.aws.failures import code_of, is_denied, is_missing
from trainmaster.catalog.configs import TrainingConfig
from trainmaster.catalog.datasets import Dataset
from trainmaster.errors import NotConfiguredError, UnknownChoiceError
from trainmaster.storage.address import S3Address
from trainmaster.storage.s3 import prefix_checksum
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.training.base_model import find_base_model, isolation_problem
from trainmaster.training.channels import (
    MOST,
    Named,
    channel_of,
    damaged_problem,
    is_in_s3,
    located,
    missing_problem,
    named_channels,
    to_be_copied,
)
from trainmaster.training.configs import Recipe, read_recipe
from trainmaster.training.desk import Desk
from trainmaster.training.fine_tuning import fine_tuning_notes, fine_tuning_problems, misfits
from trainmaster.training.grounds import Grounds
from trainmaster.training.hyperparameters import encoded
from trainmaster.training.image import image_uri
from trainmaster.training.limits import environment_problems, tag_problems
from trainmaster.training.memory import setup_of
from trainmaster.training.plan import Channel, TrainingInputs
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.training.room import room_notes, room_problems
from trainmaster.training.secrets import secrets_in
from trainmaster.training.sizing import SMALLEST_SIZED, MemoryNeed, memory_need
from trainmaster.training.source import source_archive, source_name
from trainmaster.training.trainers import FINE_TUNING, HOUSE_PRICES, Trainer

UNNAMED = "training"
_LONGEST_NAME = 40
_ECR_REGION = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass
class Finding:
    """What was found of a request so far. `uploads` are small files the job needs, by the S3 key they are to have."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    trainer: Trainer | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters as they are meant, before they are made strings."""
    need: MemoryNeed | None = None
    """What training takes of GPUs, where that can be told."""
    inputs: TrainingInputs | None = None
    """None when there are problems, or no bucket to put anything in."""

    @property
    def folder(self) -> str:
        """Where what such jobs need and leave is kept in the bucket."""
        return f"trainmaster/{self.name}"


def find_inputs(desk: Desk, request: TrainingRequest) -> Finding:
    """`request` names its user already. Reads from the catalogue and S3, changes nothing. Raises botocore's errors and
    StorageUnavailableError when they do not answer."""
    finding = Finding()
    if bool(request.training_config_id) == bool(request.data_uri):
        said = (
            "Both a training config and training data are"
            if request.data_uri
            else "Neither a training config nor training data is"
        )
        remedy = "Give training_config_id (with the config's datasets) or data_uri (for house prices), not both."
        finding.problems.append(Problem("request", f"{said} given.", remedy))
    config = config_of(desk, request)
    if request.training_config_id and request.user_id and config is None:
        finding.problems.append(_unknown_config(request))
    recipe = read_recipe(config.config) if config else Recipe(None if request.training_config_id else HOUSE_PRICES)
    finding.problems += recipe.problems
    finding.name = request.model_name or (job_prefix(config.name) if config else HOUSE_PRICES.name)
    finding.settings = {**recipe.hyperparameters, **request.hyperparameters}
    finding.trainer = recipe.trainer
    hyperparameters, wrong = encoded(finding.settings)
    finding.problems += wrong
    finding.problems += fine_tuning_problems(finding.trainer, finding.settings)
    finding.notes += fine_tuning_notes(finding.trainer, finding.settings)
    finding.problems += _secrets(request, finding.settings)
    finding.problems += [*environment_problems(request.environment), *tag_problems(request.tags)]
    grounds = grounds_of(desk, request)
    if request.checkpoint_s3_uri and (foreign := grounds.keeping(request.checkpoint_s3_uri)):
        finding.problems.append(foreign)
    channels = _channels_of_config(desk, request, config, recipe, finding) if config else []
    channels += _channel_of_base_model(desk, request, config, grounds, finding)
    if request.data_uri:
        channels += _channel_of_data(desk, request.data_uri, grounds, finding)
    source_uri, checksum, image = _program(desk, request, grounds, finding)
    finding.need = finding.need or memory_need(finding.settings)
    if not finding.problems and finding.trainer and desk.settings.bucket:
        finding.inputs = TrainingInputs(
            finding.name, finding.trainer, tuple(channels), source_uri, image, hyperparameters, checksum
        )
    return finding


def grounds_of(desk: Desk, request: TrainingRequest) -> Grounds:
    """What of S3 is whose, as the request's user sees it."""
    bucket, user_id = desk.settings.bucket or "", request.payer.user_id
    datasets = desk.settings.dataset_bucket or bucket

    def is_own_job(job_name: str) -> bool:
        return user_id is not None and desk.deployments.find(job_name, user_id) is not None

    return Grounds(request.user_id, bucket, datasets, is_own_job)


def config_of(desk: Desk, request: TrainingRequest) -> TrainingConfig | None:
    """The config that is asked for, if its user has one of that id."""
    user_id = request.payer.user_id
    if not request.training_config_id or user_id is None:
        return None
    return desk.catalogue.configs.get(UUID(request.training_config_id), user_id)


def job_prefix(name: str) -> str:
    """A config's name as jobs can be named after it: letters, digits and single hyphens, at most 40 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:_LONGEST_NAME].strip("-") or UNNAMED


def _secrets(request: TrainingRequest, settings: Mapping[str, Any]) -> Iterator[Problem]:
    yield from secrets_in(settings, "Hyperparameter")
    yield from secrets_in(request.environment, "Environment variable")
    yield from secrets_in(request.tags, "Tag")


def _unknown_config(request: TrainingRequest) -> Problem:
    said = f"There is no training config {request.training_config_id} of user {request.user_id}."
    return Problem(
        "config",
        said,
        "Copy its id from the application or from `trainmaster configs list`, and start the run as the user who made it.",
    )


def _channels_of_config(
    desk: Desk, request: TrainingRequest, config: TrainingConfig, recipe: Recipe, finding: Finding
) -> list[Channel]:
    named, problems = named_channels(config.datasets, recipe.roles)
    finding.problems += problems
    finding.problems += misfits(finding.trainer, finding.settings, [each.dataset for each in named])
    if config.others:
        said = f"The training config names {config.others} datasets that are not of user {config.user_id}."
        finding.problems.append(Problem("datasets", said, "Take them out of the config, or upload them as that user."))
    missing = [dataset for dataset in config.datasets if not is_in_s3(dataset)]
    rehearsed = request.dry_run and request.migrate_missing
    if missing and rehearsed:
        finding.notes.append(_to_be_migrated(missing))
    elif missing:
        finding.problems.append(missing_problem(missing, dry_run=request.dry_run))
    if len(named) > MOST:
        return []
    stores = Stores(desk.settings, lambda: desk.client("s3"))
    hindrances = desk.catalogue.migrations.hindrances([dataset.id for dataset in config.datasets])
    damaged = [each for each in config.datasets if each not in missing and hindrances.get(each.id) == "damaged"]
    finding.problems += map(damaged_problem, damaged)
    there = (each for each in named if each.dataset not in damaged and (each.dataset not in missing or rehearsed))
    return list(_located(stores, there, f"s3://{desk.settings.bucket}/{finding.folder}/manifests", finding))


def _located(stores: Stores, named: Iterable[Named], manifests: str, finding: Finding) -> Iterator[Channel]:
    for each in named:
        if is_in_s3(each.dataset):
            found, problem = located(stores, each.dataset)
        else:
            found, problem = to_be_copied(stores, each.dataset)
        finding.problems += [problem] if problem else []
        if found:
            channel, manifest = channel_of(each.channel, found, manifests)
            finding.uploads[channel.manifest_uri] = manifest
            yield channel


def _to_be_migrated(missing: Sequence[Dataset]) -> str:
    said = ", ".join(f"{dataset.name!r}" for dataset in missing)
    return (
        f"Datasets that are copied to S3 first: {said}. The job is named after their content: where that is not known yet, it"
        " will have another name than this plan says."
    )


def _channel_of_data(desk: Desk, data_uri: str, grounds: Grounds, finding: Finding) -> list[Channel]:
    remedy = "Upload the data first, and give the prefix it is below."
    if foreign := grounds.reading(data_uri, "data_uri", "datasets"):
        finding.problems.append(foreign)
        return []
    try:
        checksum, objects, _size = prefix_checksum(desk.client("s3"), S3Address.parse(data_uri))
    except ValueError as error:
        finding.problems.append(Problem("datasets", f"{error}.", remedy))
        return []
    except ClientError as error:
        if not (is_missing(error) or is_denied(error)):
            raise
        said = f"{data_uri} cannot be listed: S3 answers {code_of(error)}."
        finding.problems.append(Problem("datasets", said, "Check the bucket, and that the worker's role may list it."))
        return []
    if not objects:
        finding.problems.append(Problem("datasets", f"There is nothing below {data_uri}.", remedy))
    return [Channel("training", data_uri, checksum)]


def _channel_of_base_model(
    desk: Desk, request: TrainingRequest, config: TrainingConfig | None, grounds: Grounds, finding: Finding
) -> list[Channel]:
    """Of a model that lies in S3; another is named to the program, which fetches it. With it is found whether there is room for it."""
    if finding.trainer is not FINE_TUNING:
        return []
    model = find_base_model(desk.client("s3"), str(finding.settings.get("model_name") or ""), grounds)
    finding.problems += model.problems
    if model.shape and model.shape.parameters >= SMALLEST_SIZED:
        finding.need = MemoryNeed(model.named, model.shape, setup_of(finding.settings))
    finding.notes += [*filter(None, [model.sentence()]), *room_notes(model, request)]
    if request.network_isolation and (unreachable := isolation_problem(model)):
        finding.problems.append(unreachable)
    if not problems_of(finding.settings):
        datasets = sum(dataset.file_size_bytes or 0 for dataset in config.datasets) if config else 0
        finding.problems += room_problems(read_hyperparameters(finding.settings), model, datasets, request)
    return [model.channel] if model.channel and not model.problems else []


def _program(desk: Desk, request: TrainingRequest, grounds: Grounds, finding: Finding) -> tuple[str, str, str]:
    """Where the program is, a checksum of it where its address has none, and the image it runs in."""
    trainer = finding.trainer
    if trainer is None:
        return "", "", ""
    most = trainer.most_instances
    if request.instance_count > most:
        said = f"{trainer.name} trains on at most {most}; {request.instance_count} instances are asked for."
        finding.problems.append(Problem("request", said, f"Set instance_count to {most}."))
    image, no_image = _image(trainer, request.region or desk.settings.region)
    if trainer.source_uri:
        source_uri, checksum = trainer.source_uri, ""
        no_source = grounds.reading(source_uri, "source_uri", "config")
        if not no_source:
            checksum, no_source = _source_checksum(desk, source_uri)
    else:
        archive, checksum, no_source = source_archive(trainer), "", None
        source_uri = f"s3://{desk.settings.bucket}/{finding.folder}/source/{source_name(archive)}"
        finding.uploads[source_uri] = archive
    finding.problems += [problem for problem in (no_image, no_source) if problem]
    return source_uri, checksum, image


def _image(trainer: Trainer, region: str) -> tuple[str, Problem | None]:
    if trainer.image_uri:
        there = _ECR_REGION.match(trainer.image_uri)
        if there is None or there[1] == region:
            return trainer.image_uri, None
        said = f"The image {trainer.image_uri} is in {there[1]}, and the job is to run in {region}."
        remedy = f"SageMaker pulls from its own region: push it to {region}, or train in {there[1]}."
        return "", Problem("config", said, remedy)
    try:
        return image_uri(trainer.framework, region), None
    except UnknownChoiceError as error:
        return "", Problem("request", str(error), "Set region, or leave it out for the configured one.")


def _source_checksum(desk: Desk, source_uri: str) -> tuple[str, Problem | None]:
    address = S3Address.parse(source_uri)
    stores = Stores(desk.settings, lambda: desk.client("s3"))
    try:
        there = stores.at(StorageProvider.S3, address.bucket).stat(address.key)
    except NotConfiguredError as error:
        return "", Problem("config", f"The program {source_uri} cannot be read.", str(error))
    if there is None:
        return "", Problem("config", f"There is no program at {source_uri}.", "Upload its sourcedir.tar.gz there.")
    return there.sha256 or there.etag, None
