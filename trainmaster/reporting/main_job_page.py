"""The page of the main job: from a table to what answers, what it cost, what goes on costing, what now."""

from __future__ import annotations

from collections.abc import Iterator

from trainmaster.aws.console import bucket_page, endpoint_page, job_page
from trainmaster.budget.money import shown
from trainmaster.datasets.showing.markdown import plain
from trainmaster.endpoints.results import listed
from trainmaster.main_job import TrainedAndServed
from trainmaster.reporting.endpoint_page import EndpointStory
from trainmaster.reporting.page import bar, facts, figure, links, page, table


def main_job_page(result: TrainedAndServed, story: EndpointStory) -> str:
    """Markdown; `story` is of the endpoint. The pages of the runs within it say more of each part."""
    said = f"{result.training.sentence()} {result.served.sentence()}"
    return page(f"{result.served.endpoint_name} is trained and serving", said, _sections(result, story))


def _sections(result: TrainedAndServed, story: EndpointStory) -> Iterator[tuple[str, str]]:
    training, served = result.training, result.served
    yield "Data", f"{plain(result.table.sentence())}\n\nStored at {plain(result.table.uri)}."
    yield (
        "How good it is",
        table(("metric", "value"), [(name, figure(value)) for name, value in training.metrics.items()]),
    )
    asked, answered = listed(served.smoke_test.inputs), listed(served.smoke_test.answer)
    yield "How it was proven", facts([("asked", asked), ("answered", answered), ("latency", f"{min(served.smoke_test.milliseconds)} ms")])  # fmt: skip
    costs = [
        ("training", shown(training.bill), bar(training.bill, training.approved), f"of its budget_limit of {shown(training.approved)}"),
        ("endpoint", f"{shown(served.hourly_cost)} an hour", "", "at most, until it is removed"),
    ]  # fmt: skip
    if training.saved:
        costs.append(("saved by spot", shown(training.saved), "", f"{training.savings_percent} % of the training time was not billed"))  # fmt: skip
    limited = [
        (str(one.budget), shown(one.committed), bar(one.committed, one.limit), f"of {shown(one.limit)} in {one.month}")
        for one in story.standings
        if one.limit is not None
    ]
    yield "What it cost", table(("", "", "", ""), [*costs, *limited])
    yield "Public API", result.published.markdown() if result.published else ""
    yield (
        "What now",
        (
            "Ask it by `aws sagemaker-runtime invoke-endpoint`, train again with one more *attempt*, or run `remove-endpoint`:"
            " until then it is billed."
        ),
    )
    yield "From data to endpoint", story.lineage.markdown()
    console = [("Training job", job_page(training.job_arn)), ("Endpoint", endpoint_page(story.seen.arn))]
    yield "In AWS", links([*console, ("Data", bucket_page(training.job_arn, result.table.uri))])
