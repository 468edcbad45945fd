"""The page of a training run: what happened, what it cost, what now; whether it trained, failed, was stopped or goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trainmaster.aws.console import TRAINING_LOGS, bucket_page, job_page, log_page
from trainmaster.budget.budgets import Standing
from trainmaster.budget.money import shown
from trainmaster.datasets.showing.markdown import plain
from trainmaster.endpoints.models.lineage import version_of_job
from trainmaster.endpoints.models.registry import PENDING
from trainmaster.errors import UnknownChoiceError
from trainmaster.reporting.lineage import Lineage, origins_of
from trainmaster.reporting.page import bar, facts, figure, lines, links, page, safe, shown_picture, table
from trainmaster.training.attempts import Attempt, kind_of
from trainmaster.training.curves import picture
from trainmaster.training.desk import Desk
from trainmaster.training.following import seconds_of
from trainmaster.training.outcome import LOG_TAIL, output_uri, savings_of
from trainmaster.training.predictions import held_out_predictions
from trainmaster.training.predictions import picture as predictions_picture
from trainmaster.training.progress import Course
from trainmaster.training.seen import Seen, see


@dataclass(frozen=True)
class TrainingStory:
    """All that a page needs of a job, and of the attempts before it; `predictions` is a PNG."""

    seen: Seen
    lineage: Lineage
    standings: Sequence[Standing] = ()
    attempts: Sequence[Attempt] = ()
    predictions: bytes | None = field(default=None, repr=False)

    @property
    def job(self) -> str:
        return self.seen.deployment.deployment_id

    @property
    def status(self) -> str:
        return self.seen.deployment.status

    def sentence(self) -> str:
        """For people: how it ended or stands, and what that costs."""
        cost = self.seen.cost
        costs = "" if cost is None else f"{shown(cost)} {'billed' if self.seen.is_billed else 'at most so far'}"
        how = {"completed": "completed", "failed": "failed", "stopped": "was stopped", "cancelled": "was cancelled"}
        said = how.get(self.status, f"is {self.status}")
        return f"Training job {self.job} {said}{f': {costs}' if costs else ''}."


def training_story(desk: Desk, job_name: str, attempts: Sequence[Attempt] = ()) -> TrainingStory:
    """Of a job of ours, as it stands now. Raises UnknownChoiceError where there is no row of it, and botocore's errors."""
    row = desk.deployments.find(job_name)
    if row is None:
        raise UnknownChoiceError(f"There is no training job {job_name} of ours.")
    seen = see(desk, row)
    booked, description = seen.reservation, seen.description or {}
    standings = [desk.ledger.standing(one, booked.month) for one in booked.charge.payer.budgets()] if booked else []
    lineage = Lineage(job_name, origins_of(desk, description))
    if seen.deployment.status != "completed" or not description:
        return TrainingStory(seen, lineage, standings, attempts)
    model_uri = str((description.get("ModelArtifacts") or {}).get("S3ModelArtifacts", ""))
    version = version_of_job(desk.client("sagemaker"), job_name)
    held_out = held_out_predictions(desk.client("s3"), output_uri(model_uri)) if model_uri else None
    drawn = predictions_picture(held_out, job_name) if held_out is not None else None
    lineage = replace(lineage, version=version, model_uri=model_uri)
    return TrainingStory(seen, lineage, standings, attempts, drawn)


def training_page(story: TrainingStory) -> str:
    """Markdown. Nothing a user or a program wrote is markup in it, and no secret of a log is shown."""
    return page(f"Training job {story.job}", story.sentence(), _sections(story))


def _sections(story: TrainingStory) -> Iterator[tuple[str, str]]:
    seen = story.seen
    yield "What happened", facts(_happened(story))
    cause = seen.cause
    if cause and story.status != "completed":
        yield "Likely cause", safe(cause.sentence())
        tail = (seen.deployment.logs or "").splitlines()[-LOG_TAIL:]
        yield "Its last lines", lines(tail)
    yield "What it cost", table(("", "", "of", "what"), _costs(story))
    curve = Course.of_json(seen.deployment.job.progress).curve
    yield "How it went", "\n\n".join(filter(None, [shown_picture("Loss as training went on", picture(curve, story.job)), _metrics(seen)]))  # fmt: skip
    yield "Predicted against actual", shown_picture("Predicted against actual prices", story.predictions)
    if len(story.attempts) > 1:
        yield "Attempts", table(("job", "on", "what came of it", "billed"), map(_attempt, story.attempts))
    yield "What now", _now(story)
    yield "From data to model", story.lineage.markdown()
    yield "In AWS", links(_links(story))


def _happened(story: TrainingStory) -> Iterator[tuple[str, str]]:
    seen, row, request = story.seen, story.seen.deployment, story.seen.deployment.job.request
    description = seen.description or {}
    secondary = str(description.get("SecondaryStatus") or "")
    yield "how it stands", row.status if secondary.lower() in {"", row.status} else f"{row.status} ({secondary})"
    yield "why", row.error_message or ""
    if seen.problem:
        yield "unsure", f"AWS could not be asked, so this is how it stood last: {seen.problem}"
    if stop := row.job.stop:
        yield "stopped by", f"{stop.by}: {stop.why}"
    if request:
        kind = kind_of(request["instance_type"], spot=request["use_spot_instances"])
        yield "ran on", f"{request['instance_count']} × {kind}"
    for label, moment in (("began", row.started_at or row.created_at), ("ended", row.completed_at)):
        yield label, f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
    yield "progress", seen.progress.sentence()
    if seen.interruptions:
        yield "spot interruptions", str(seen.interruptions)
    yield "left", seen.left.sentence() if row.status != "completed" else ""


def _costs(story: TrainingStory) -> Iterator[tuple[str, str, str, str]]:
    seen, cost = story.seen, story.seen.cost
    booked, row = seen.reservation, seen.deployment
    if cost is None:
        return
    what = "billed" if seen.is_billed else "at most so far"
    if booked:
        yield shown(cost), bar(cost, booked.charge.amount), shown(booked.charge.amount), f"{what}, of what it could cost at worst"  # fmt: skip
    before = sum((one.bill for one in story.attempts if one.job_name != story.job), Decimal(0))
    if row.budget_limit is not None:
        spent = cost + before
        said = "all attempts" if before else what
        yield shown(spent), bar(spent, row.budget_limit), shown(row.budget_limit), f"{said}, of its budget_limit"
    for one in story.standings:
        if one.limit is not None:
            said = f"billed and reserved in {one.month} by all of {one.budget}"
            yield shown(one.committed), bar(one.committed, one.limit), shown(one.limit), said
    if seen.description and row.has_ended:
        training, billable = (seconds_of(seen.description, f"{name}TimeInSeconds", 0) for name in ("Training", "Billable"))  # fmt: skip
        yield f"{billable:,} s", "", f"{training:,} s", f"billable of training time; {savings_of(seen.description)} % saved by spot"  # fmt: skip


def _metrics(seen: Seen) -> str:
    measured = seen.deployment.metrics or {}
    return (
        table(("metric", "last value"), [(name, figure(value)) for name, value in measured.items()]) if measured else ""
    )


def _attempt(one: Attempt) -> tuple[str, str, str, str]:
    return one.job_name, kind_of(one.instance_type, spot=one.spot), one.ended or "trained", shown(one.bill)


def _now(story: TrainingStory) -> str:
    again = "Set *attempt* to one more to train again; the same request finds this job."
    version, cause = story.lineage.version, story.seen.cause
    if story.status == "completed" and version:
        named = f"model group {plain(version.group)}, version {version.version}"
        approve = f"Approve it by `approve-model` ({named}), then serve it by `deploy-endpoint`."
        return f"{approve if version.status == PENDING else f'Serve it by `deploy-endpoint` ({named}).'} {again}"
    if story.status == "completed":
        return f"Its artifact is below. {again}"
    if not story.seen.has_ended:
        return f"It is followed by the schedule `follow-jobs`. `trainmaster train stop {plain(story.job)}` stops it."
    return f"{safe(cause.advice)} {again}" if cause and cause.advice else again


def _links(story: TrainingStory) -> Iterator[tuple[str, str]]:
    arn = story.seen.deployment.job.arn
    yield "Training job", job_page(arn)
    yield "Its log", log_page(arn, TRAINING_LOGS, f"{story.job}/")
    if story.lineage.model_uri:
        yield "Its model", bucket_page(arn, story.lineage.model_uri)
    for origin in story.lineage.origins:
        yield f"Its data ({origin.channel})", bucket_page(arn, origin.uri)
