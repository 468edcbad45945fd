"""How a step talks to AWS: its client, and which of its failures are worth another try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from botocore.config import Config
from botocore.loaders import create_loader
from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.tasks import exponential_backoff
from prefect_aws import AwsCredentials

from trainmaster.aws.clients import client_config
from trainmaster.aws.failures import is_passing
from trainmaster.errors import (
    CatalogueUnavailableError,
    CorruptedUploadError,
    LeaseLostError,
    StorageUnavailableError,
    UploadUnderWayError,
)
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk

_MAY_PASS = (
    StorageUnavailableError,
    CatalogueUnavailableError,
    CorruptedUploadError,
    UploadUnderWayError,
    LeaseLostError,
)
_DESCRIPTIONS = create_loader()
"""What botocore knows of AWS's services, read once: each session of its own takes a tenth of a second for that, and a flow makes dozens."""
P = ParamSpec("P")
R = TypeVar("R")


def client(settings: Settings, service: str) -> Any:
    """A boto3 client with our timeouts, of the configured credentials block or else of AWS's default chain.

    Made anew for each step, so that a step tried again after its assumed role has expired assumes it again.
    """
    if settings.aws_credentials_block:
        credentials = AwsCredentials.load(settings.aws_credentials_block)
        assert isinstance(credentials, AwsCredentials)  # noqa: S101 - `load` is async for async callers only
    else:
        credentials = AwsCredentials(region_name=settings.region)
    parameters = credentials.aws_client_parameters.get_params_override()
    config = client_config().merge(parameters.pop("config", None) or Config())
    region = {"region_name": settings.region}  # which ARNs are made of and looked for in, whatever the block says
    session = credentials.get_boto3_session()
    session._session.register_component("data_loader", _DESCRIPTIONS)
    return session.client(service, config=config, **region, **parameters)  # type: ignore[call-overload]


@contextmanager
def desk_of(settings: Settings) -> Iterator[Desk]:
    """What training is arranged with, by the configured credentials."""
    with open_desk(settings, partial(client, settings)) as desk:
        yield desk


def may_pass(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Try again after throttling, network cuts, a lost lease, and once others are done; never after a refusal."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, _MAY_PASS) or (isinstance(error, BaseException) and is_passing(error))


def step(*, task_run_name: str, retries: int = 4) -> Callable[[Callable[P, R]], Task[P, R]]:
    """The decorator of every step. Each is safe to repeat, so what it did is never taken from a cache instead."""
    return task(
        task_run_name=task_run_name,
        retries=retries,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.5,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,
    )
