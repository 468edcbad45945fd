"""Steps of publishing: what an API is to be, bringing its stack there, withdrawing it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.aws import client, step
from tasks.progress import Teller
from trainmaster.endpoints.api import publishing
from trainmaster.endpoints.api.plan import ApiStep, stack_name
from trainmaster.endpoints.api.publishing import Publication
from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.api.stack import PlannedApi, PublishedApi, Withdrawal
from trainmaster.settings import Settings


@step(task_run_name="desire API of {request.endpoint_name}")
def desire_api(request: PublishRequest, settings: Settings) -> Publication:
    """The API as it should be, checking what the model served now accepts; refused where that cannot be."""
    return publishing.desired_publication(partial(client, settings), request, settings)


@step(task_run_name="plan {publication.desired.stack_name}")
def plan_publishing(publication: Publication, settings: Settings) -> list[ApiStep]:
    """What has to be done, once the stack has settled; refused when it is not ours or only a person can help it."""
    steps = publishing.planned(partial(client, settings), publication.desired, settings)
    get_run_logger().info("Plan: %s.", "; ".join(map(str, steps)) or "nothing to do, it is published already")
    return steps


@step(task_run_name="report on the plan of {publication.desired.stack_name}", retries=0)
def report_plan(publication: Publication, steps: list[ApiStep]) -> PlannedApi:
    """What a dry run leaves: the steps, none of them taken."""
    planned = PlannedApi(stack_name=publication.desired.stack_name, steps=[str(each) for each in steps])
    get_run_logger().info("%s", planned.sentence())
    return planned


@step(task_run_name="publish {publication.desired.stack_name}")
def publish_stack(publication: Publication, steps: list[ApiStep], settings: Settings) -> PublishedApi:
    """Carry out the plan and wait until the stack is just that."""
    say = _teller(publication.desired.stack_name)
    return publishing.published(partial(client, settings), publication, steps, settings, say)


@step(task_run_name="have API of {endpoint_name} follow")
def follow_with_api(endpoint_name: str, settings: Settings) -> None:
    """Where the endpoint is published, its API comes to check what the model served by now accepts."""
    say = _teller(stack_name(endpoint_name))
    if published := publishing.republished(partial(client, settings), endpoint_name, settings, say):
        get_run_logger().info("%s", published.sentence())


@step(task_run_name="report on {published.stack_name}")
def report_api(published: PublishedApi) -> None:
    """Where it is and how it is asked; the key itself is only shown to whoever runs the command."""
    get_run_logger().info("%s Ask it:\n%s", published.sentence(), published.ask_command)
    create_markdown_artifact(published.markdown(), key="public-api", description=published.sentence())


@step(task_run_name="find API of {endpoint_name}")
def find_api(endpoint_name: str, settings: Settings) -> Withdrawal:
    """The stack, and the code that was uploaded for it."""
    found = publishing.found_api(partial(client, settings), endpoint_name, settings)
    get_run_logger().info("%s", found.sentence())
    return found


@step(task_run_name="withdraw API of {found.endpoint_name}")
def withdraw_stack(found: Withdrawal, settings: Settings) -> Withdrawal:
    """Delete them; the endpoint goes on serving those who may invoke it."""
    return publishing.withdrawn(partial(client, settings), found, settings, _teller(str(found.stack)))


def _teller(stack_name: str) -> Callable[[str], None]:
    teller = Teller(get_run_logger().info)
    return lambda status: teller.tell(status, f"Stack {stack_name} is {status}.")
