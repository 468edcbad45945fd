"""The step that follows a job: its log, progress, cost and loss in the run, its row and its books kept true, until it ends."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run, task_run

from tasks.aws import desk_of, step
from tasks.progress import Teller
from tasks.run_log import RunLog
from trainmaster.budget.money import shown
from trainmaster.errors import TrainmasterError
from trainmaster.settings import Settings
from trainmaster.training.curves import Curve, picture
from trainmaster.training.desk import Desk
from trainmaster.training.following import Cadence, Ending, Update, follow_training
from trainmaster.training.logs import LogReader
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.progress import Course
from trainmaster.training.tending import TRAINMASTER, Action, tend

EXHAUSTED = "trainmaster.budget.exhausted"
SHOW_AGAIN_SECONDS = 30.0
"""Between two pictures of the loss, and between two notes of the progress in the job's row."""


@step(task_run_name="follow {plan.job_name}")
def follow_job(plan: TrainingPlan, settings: Settings) -> Ending:
    """Show the job's log, state, cost and loss until it ends, however it does; stop it where it must stop.

    A run that is tried again goes on where it stopped: no line of the log is told twice.
    """
    logger = get_run_logger()
    hosts = plan.create_request["ResourceConfig"]["InstanceCount"]
    cadence = Cadence(settings.poll_seconds, settings.outage_seconds)
    with desk_of(settings) as desk:
        sink = RunLog(UUID(flow_run.id), UUID(task_run.id), logger)
        positions = desk.catalogue.log_positions
        reader = LogReader(desk.client, plan.job_name, hosts, sink, positions, reader=flow_run.id)
        show = _Show(plan, desk, logger)
        last: Update | None = None
        for update in follow_training(
            desk.client, reader, plan.approval.rate, cadence, course=_course_so_far(desk, plan)
        ):
            show.update(update, is_new=last is None or last.description is not update.description)
            last = update
        assert last is not None  # noqa: S101 - of every job there is at least one
        show.end(last)
    return Ending(last.description, list(last.tail))


def _course_so_far(desk: Desk, plan: TrainingPlan) -> Course:
    row = desk.deployments.find(plan.job_name)
    return Course.of_json(row.job.progress if row else {})


@dataclass
class _Show:
    """What people see of a job while it runs. Nothing of it that fails ends the following: the job costs money all the same."""

    plan: TrainingPlan
    desk: Desk
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    _told: dict[str, Teller] = field(default_factory=dict, init=False)
    _exhausted: bool = field(default=False, init=False)
    _shown: float = field(default=0.0, init=False)
    _bar: UUID | None = field(default=None, init=False)
    _curve: UUID | None = field(default=None, init=False)
    _drawn: Curve = field(default_factory=Curve, init=False)

    def update(self, update: Update, *, is_new: bool) -> None:
        """`is_new` when AWS was asked since the last one."""
        if update.log_problem:
            self._complain("log", update.log_problem)
        if not is_new:
            return
        if update.step.finished:  # the row takes nothing more once it says so itself
            self._try(lambda: self._note(update.course))
        self._tend(update)
        self._tell(update)
        if time.monotonic() - self._shown >= SHOW_AGAIN_SECONDS:
            self._show(update)

    def end(self, update: Update) -> None:
        """The last lines of the log may have said more."""
        self._show(update)

    def _tend(self, update: Update) -> None:
        try:
            tended = tend(self.desk, self.plan.job_name, update.description, logs="\n".join(update.tail) or None)
        except (ClientError, BotoCoreError, TrainmasterError) as error:  # the next look goes on from there
            self._complain("tending", f"{self.plan.job_name} cannot be looked after now: {error}")
            return
        if tended.drift:
            self._complain("drift", f"{self.plan.job_name} is not as it was asked for: {'; '.join(tended.drift)}")
        for action in tended.actions:
            if action.what == "stop":
                self._tell_stop(action)

    def _tell_stop(self, action: Action) -> None:
        sentence = f"{self.plan.job_name} is being stopped by {action.by}: {action.why}."
        self._complain("stop", sentence)
        if action.by == TRAINMASTER and not self._exhausted:
            self._exhausted = True
            emit_event(
                EXHAUSTED,
                resource={"prefect.resource.id": f"trainmaster.job.{self.plan.job_name}"},
                payload={"job": self.plan.job_name, "sentence": sentence},
            )

    def _tell(self, update: Update) -> None:
        now = update.step
        progress = "" if now.finished else update.course.now.sentence()
        cost = f"{shown(now.cost)} billed" if now.finished else f"at most {shown(now.cost)} so far"
        spot = f", interrupted {now.interruptions} time(s)" if now.interruptions else ""
        sentence = (
            f"{self.plan.job_name}: {now.secondary} after {now.seconds} s{spot}, {cost} of"
            f" {shown(self.plan.approval.worst_case)} reserved.{f' {progress[0].upper()}{progress[1:]}.' if progress else ''}"
        )
        self._teller("step", self.logger.info).tell(now.secondary, sentence)
        self._try(lambda: self._progress(update.percent, sentence))

    def _progress(self, percent: float, sentence: str) -> None:
        if self._bar is None:
            self._bar = cast("UUID", create_progress_artifact(percent, key="training-progress", description=sentence))
        else:
            update_progress_artifact(self._bar, percent, sentence)

    def _show(self, update: Update) -> None:
        self._shown = time.monotonic()
        self._try(lambda: self._note(update.course))
        if update.course.curve != self._drawn:
            self._try(lambda: self._draw(update.course.curve))

    def _note(self, course: Course) -> None:
        row = self.desk.deployments.find(self.plan.job_name)
        if row and row.job.progress != course.as_json():
            self.desk.deployments.change(row.id, progress=course.as_json())

    def _draw(self, curve: Curve) -> None:
        png = picture(curve, self.plan.job_name)
        if png is None:
            return
        markdown = f"![Loss as training went on](data:image/png;base64,{base64.b64encode(png).decode()})"
        if self._curve is None:
            self._curve = cast(
                "UUID",
                create_markdown_artifact(markdown, key="loss-curve", description=f"Loss of {self.plan.job_name}"),
            )
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._curve, ArtifactUpdate(data=markdown))
        self._drawn = curve

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except (httpx.HTTPError, PrefectException, TrainmasterError) as error:
            self._complain("not shown", f"The progress cannot be shown: {error}")

    def _complain(self, about: str, sentence: str) -> None:
        self._teller(about, self.logger.warning).tell(about, sentence)

    def _teller(self, about: str, say: Callable[[str], None]) -> Teller:
        return self._told.setdefault(about, Teller(say))
