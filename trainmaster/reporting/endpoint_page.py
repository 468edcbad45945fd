"""The page of a run that deployed an endpoint: what serves now, what that costs, how it was proven, what now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainmaster.aws.console import bucket_page, endpoint_page, log_page
from trainmaster.budget.budgets import Standing
from trainmaster.budget.metering import Meters
from trainmaster.budget.money import shown
from trainmaster.datasets.showing.markdown import plain
from trainmaster.endpoints.results import ServedModel
from trainmaster.endpoints.seen import SeenEndpoint, see_endpoint
from trainmaster.reporting.lineage import Lineage, lineage_of_endpoint
from trainmaster.reporting.page import bar, facts, links, page, table
from trainmaster.training.desk import Desk

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints/"
HOURS_OF_MONTH = 730


@dataclass(frozen=True)
class EndpointStory:
    """What was deployed, how it stands at AWS, and the budgets that pay for it."""

    served: ServedModel
    seen: SeenEndpoint
    lineage: Lineage
    standings: Sequence[Standing] = ()


def endpoint_story(desk: Desk, served: ServedModel) -> EndpointStory:
    """Of an endpoint that serves. Raises UnknownChoiceError where it is gone again, and botocore's errors."""
    seen = see_endpoint(desk, served.endpoint_name)
    meters = Meters(desk.ledger).running(seen.arn)
    payers = {budget: meter for meter in meters for budget in meter.payer.budgets()}
    standings = [desk.ledger.standing(budget) for budget in payers]
    return EndpointStory(served, seen, lineage_of_endpoint(desk, seen), standings)


def endpoint_markdown(story: EndpointStory) -> str:
    """Markdown. Nothing a user or a model wrote is markup in it."""
    return page(f"Endpoint {story.served.endpoint_name}", story.served.sentence(), _sections(story))


def _sections(story: EndpointStory) -> Iterator[tuple[str, str]]:
    served, told = story.served, {row["what"]: row["value"] for row in story.served.table()}
    yield "What happened", facts((what, told[what]) for what in ("configuration", "model", "artifact", "steps"))
    rows = [(one.variant, one.machines, f"{one.share:.0%}" if one.share else "only listens", one.model) for one in story.seen.variants]  # fmt: skip
    yield "What serves", table(("variant", "on", "answers", "model"), rows)
    yield "How it was proven", facts((what, told[what]) for what in ("asked", "answered", "latency", "agreement"))
    yield "What it costs", "\n\n".join(_costs(story))
    name = plain(served.endpoint_name)
    yield (
        "What now",
        (
            f"Ask it by `aws sagemaker-runtime invoke-endpoint`, or publish it by `publish-api`. `rollback-endpoint` takes it back to"
            f" what served before, `remove-endpoint` ends what {name} costs: until then it is billed."
        ),
    )
    yield "From data to endpoint", story.lineage.markdown()
    arn = story.seen.arn
    console = [("Endpoint", endpoint_page(arn)), ("Its logs", log_page(arn, ENDPOINT_LOGS + served.endpoint_name, ""))]
    yield "In AWS", links([*console, ("Its model", bucket_page(arn, served.model_uri))])


def _costs(story: EndpointStory) -> Iterator[str]:
    most = story.served.hourly_cost
    now = story.seen.hourly
    rows = [("an hour, at most", shown(most)), ("an hour as it is now", shown(now) if now is not None else "by use")]
    yield facts([*rows, ("a month of 730 hours, at most", shown(most * HOURS_OF_MONTH))])
    limited = [
        (str(one.budget), bar(one.committed, one.limit), shown(one.committed), shown(one.limit))
        for one in story.standings
        if one.limit is not None
    ]
    if limited:
        yield table(("budget", "committed this month", "", "of"), limited)
