"""One who launches a job and follows it to its end, as a flow run does; and one who reconciles. Each is a process that may be killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.soaking.errands import Errand, Kill
from benchmarks.soaking.furnishing import JOB_BUDGET
from trainmaster.aws.clients import default_clients
from trainmaster.aws.failures import is_passing
from trainmaster.catalog.log_positions import LogPositions
from trainmaster.errors import CatalogueUnavailableError, RefusedError
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk
from trainmaster.training.following import Cadence, follow_training
from trainmaster.training.launching import launch_training
from trainmaster.training.log_sinks import FileSink
from trainmaster.training.logs import LogReader
from trainmaster.training.preparing import prepare_training
from trainmaster.training.reconciling import reconcile
from trainmaster.training.request import TrainingRequest
from trainmaster.training.tending import tend

DONE, REFUSED, AGAIN, BROKEN = 0, 3, 75, 1
"""How a follower ends: its job has; the request was refused; something passed that another life gets over; a bug."""
OUTAGE_SECONDS = 60.0
RECONCILED = "reconciled.jsonl"


def request_of(errand: Errand) -> TrainingRequest:
    return TrainingRequest(
        training_config_id=str(errand.config_id),
        model_name=errand.name,
        instance_type=errand.instance_type,
        instance_count=errand.hosts,
        max_runtime_seconds=600,
        use_spot_instances=errand.spot,
        budget_limit=JOB_BUDGET,
        user_id=str(errand.user),
        team=errand.team,
    )


def follow(errand: Errand, run: str, kill: Kill | None, folder: Path) -> None:
    """Launch the job of an errand and follow it to its end; exits with one of the codes above."""
    _to_an_end(partial(_follow, errand, run, kill, folder), folder / f"{run}.txt")


def reconcile_once(release_after: timedelta, folder: Path, number: int) -> None:
    """One round over all that is open, as the schedule starts it; what it found goes to `reconciled.jsonl`."""
    _to_an_end(partial(_reconcile, release_after, folder), folder / f"reconcile-{number}.txt")


def _follow(errand: Errand, run: str, kill: Kill | None, folder: Path) -> None:
    settings = Settings()
    with open_desk(settings, _mortal(errand, settings, kill)) as desk, FileSink(folder / f"{run}.log") as sink:
        plan = prepare_training(desk, request_of(errand))
        launch_training(desk, plan, run=run)
        if errand.fate == "orphaned":
            die()
        reader = LogReader(
            desk.client, plan.job_name, errand.hosts, sink, LogPositions(desk.catalogue.database), reader=run
        )
        cadence = Cadence(settings.poll_seconds, OUTAGE_SECONDS)
        for update in follow_training(desk.client, reader, plan.approval.rate, cadence):
            tend(desk, plan.job_name, update.description, logs="\n".join(update.tail) or None)


def _reconcile(release_after: timedelta, folder: Path) -> None:
    settings = Settings()
    with open_desk(settings, default_clients(settings.region)) as desk, (folder / RECONCILED).open("ab", 0) as file:
        for found in reconcile(desk, release_after=release_after):
            file.write(f"{json.dumps({'job': found.job_name, 'what': found.finding, 'why': found.why})}\n".encode())


def _to_an_end(work: Callable[[], None], path: Path) -> None:
    """Ends the process with the code that its end stands for, and writes down what cut it short."""
    logging.getLogger().setLevel(logging.ERROR)
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is becomes the code this process ends with
        code = _meaning(error)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"--- exit {code}\n{traceback.format_exc()}")
        sys.exit(code)


def _meaning(error: Exception) -> int:
    if isinstance(error, CatalogueUnavailableError):
        return AGAIN
    if isinstance(error, ClientError | BotoCoreError):
        return AGAIN if is_passing(error) else REFUSED
    return REFUSED if isinstance(error, RefusedError) else BROKEN


def _mortal(errand: Errand, settings: Settings, kill: Kill | None) -> Callable[[str], Any]:
    """Clients of AWS that kill their process where the errand wants it."""
    make = default_clients(settings.region)
    if kill and kill.seconds:
        timer = threading.Timer(kill.seconds, die)
        timer.daemon = True
        timer.start()
    calls = iter(range(1, 1_000_000))

    def count(*_: Any, **__: Any) -> None:
        if kill and next(calls) == kill.call:
            die()

    def client(service: str) -> Any:
        made = make(service)
        if kill and kill.call:
            made.meta.events.register("after-call" if kill.answered else "before-call", count)
        if errand.fate == "never launched":
            made.meta.events.register("before-call.sagemaker.CreateTrainingJob", die)
        return made

    return client


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
