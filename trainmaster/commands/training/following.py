"""A job followed in a terminal: each line of its log once, how far it is on a line that stays, until it ends or Ctrl-C."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.budget.approval import Rate
from trainmaster.budget.money import shown
from trainmaster.catalog.deployments import Deployment
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.reporting import exit_code_of, note, say
from trainmaster.commands.terminal.status_line import StatusLine
from trainmaster.endpoints.models.registering import register_job
from trainmaster.errors import TrainmasterError
from trainmaster.plain_words import printable
from trainmaster.training.desk import Desk
from trainmaster.training.following import Cadence, Update, follow_training
from trainmaster.training.log_sinks import FileSink
from trainmaster.training.logs import LogReader
from trainmaster.training.progress import Course
from trainmaster.training.seen import Seen, see, seen_at, stop_job
from trainmaster.training.tending import tend

NOTED_EVERY_SECONDS = 30.0
"""Between two notes of the progress in the job's row."""


def add_follow_options(parser: argparse.ArgumentParser) -> None:
    """How a job is followed, for the commands that can."""
    parser.add_argument("--follow", action="store_true", help="show its log until it ends; Ctrl-C leaves it running")
    parser.add_argument(
        "--log-file", type=Path, metavar="FILE",
        help="with --follow: write the log there too, each line once, whatever is killed; go on where the file ends",
    )  # fmt: skip
    parser.add_argument(
        "--stop-on-interrupt", action="store_true", help="with --follow: Ctrl-C stops the job instead of leaving it"
    )


def require_follow(args: argparse.Namespace) -> None:
    """Raises BadRequestError for what goes with `--follow` alone."""
    for name in ("log_file", "stop_on_interrupt"):
        if getattr(args, name) and not args.follow:
            raise BadRequestError(f"--{name.replace('_', '-')} goes with --follow.")


def follow(desk: Desk, deployment: Deployment, args: argparse.Namespace) -> Seen:
    """Show the job until it has ended, however it does, and register its model. Ctrl-C raises SystemExit and leaves it running."""
    try:
        seen = _follow(desk, deployment, args)
        if seen.deployment.status == "completed":
            _register(desk, deployment.deployment_id)
        return seen
    except KeyboardInterrupt as interrupt:
        name = deployment.deployment_id
        if args.stop_on_interrupt:
            return stop(desk, deployment, "Ctrl-C while it was followed with --stop-on-interrupt")[0]
        note(
            f"Training job {name} goes on; the schedule follow-jobs looks after it.",
            f"Follow it again: trainmaster train logs {name} --follow",
            f"Stop it: trainmaster train stop {name} --reason WHY",
        )
        sys.exit(exit_code_of(interrupt))


def stop(desk: Desk, deployment: Deployment, why: str) -> tuple[Seen, bool]:
    """The job once it has ended, and whether it had before; then it is left as it is."""
    seen = see(desk, deployment)
    if seen.has_ended:
        return seen, True
    name = deployment.deployment_id
    note(
        f"{name} is told to stop. It has two minutes to save what it has. Ctrl-C ends this command; the job is stopped all the same."
    )
    return stop_job(desk, deployment, by=getpass.getuser(), why=why), False


def _register(desk: Desk, job_name: str) -> None:
    """What cannot be registered is trained all the same."""
    try:
        found = register_job(desk.client("sagemaker"), desk.client("s3"), job_name)
    except (ClientError, BotoCoreError, TrainmasterError) as error:
        note(f"Its model is not in the registry: {error}")
    else:
        note(f"Its model is {found}. Let it be deployed: trainmaster endpoints approve {found.group} {found.version}")


def _follow(desk: Desk, deployment: Deployment, args: argparse.Namespace) -> Seen:
    name, settings = deployment.deployment_id, desk.settings
    booked = desk.ledger.find(name)
    rate = Rate(booked.charge.hourly if booked else Decimal(0))
    cadence = Cadence(settings.poll_seconds, settings.outage_seconds)
    course = Course.of_json(deployment.job.progress)
    with FileSink(args.log_file) if args.log_file else nullcontext() as sink, _Shown(desk, deployment, args) as shown_:
        reader = LogReader(desk.client, name, int(deployment.job.request.get("instance_count", 1)), sink)
        for update in follow_training(desk.client, reader, rate, cadence, course=course):
            shown_.update(update, has_more=reader.has_more)
        return shown_.end()


class _Shown:
    """A job on the terminal, its row and its books kept true. What cannot be kept now is said once; the next look goes on."""

    def __init__(self, desk: Desk, deployment: Deployment, args: argparse.Namespace) -> None:
        self.seen = Seen(deployment, desk.ledger.find(deployment.deployment_id))
        self._desk, self._say = desk, note if args.json else say
        self._line = StatusLine(sys.stderr, deployment.deployment_id)
        self._complained = dict[str, str]()
        self._described: Mapping[str, Any] | None = None
        self._noted_at = time.monotonic()
        self._held: deque[str] | None = deque(maxlen=args.tail) if getattr(args, "tail", None) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def update(self, update: Update, *, has_more: bool) -> None:
        """`has_more` when more of the log is there already than this update brings."""
        self._tell([printable(str(one)) for one in update.lines], has_more=has_more)
        self._complain("log", update.log_problem)
        if update.description is self._described and not update.step.finished:
            return
        self._described = update.description
        try:
            self._tend(update)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            self._complain("row", f"The job cannot be looked after now: {error}")
        self._line.show(update.step.secondary, sentence(update))

    def end(self) -> Seen:
        """When all of its log is told."""
        assert self._described is not None  # noqa: S101 - of every job there is at least one update
        return seen_at(self._desk, self.seen.deployment, self._described)

    def _tell(self, lines: Sequence[str], *, has_more: bool) -> None:
        """With `--tail`, only the last lines of what was there when it began."""
        if self._held is not None:
            self._held.extend(lines)
            if has_more:
                return
            lines, self._held = list(self._held), None
        if lines:
            self._line.clear()
            self._say(*lines)

    def _tend(self, update: Update) -> None:
        """Its progress goes first: nothing is changed any more in the row of a job that has ended."""
        row, progress = self.seen.deployment, update.course.as_json()
        if update.step.finished or time.monotonic() - self._noted_at > NOTED_EVERY_SECONDS:
            self._noted_at = time.monotonic()
            self._desk.deployments.change(row.id, progress=progress)
        tended = tend(self._desk, row.deployment_id, update.description, logs="\n".join(update.tail) or None)
        self.seen = Seen(tended.deployment or row, tended.reservation, update.description)
        stops = [f"It is being stopped by {one.by}: {one.why}." for one in tended.actions if one.what == "stop"]
        drift = f"It is not as it was asked for: {'; '.join(tended.drift)}." if tended.drift else ""
        self._complain("stop", " ".join(stops))
        self._complain("drift", drift)

    def _complain(self, about: str, sentence: str) -> None:
        if sentence and sentence != self._complained.get(about):
            self._line.clear()
            note(sentence)
        self._complained[about] = sentence


def sentence(update: Update) -> str:
    """How a job is doing; what comes last may be cut off at the edge of the terminal."""
    step = update.step
    cost = f"{shown(step.cost)} billed" if step.finished else f"at most {shown(step.cost)} so far"
    known = "" if step.finished else update.course.now.sentence()
    return f"{step.secondary}, {cost}, {step.seconds} s{f', {known}' if known else ''}"
