"""All of Trainmaster on this machine: `trainmaster run` does the main job once, `trainmaster up` keeps everything running.

Like `cli` a door, not a room: it stands above the flows and starts them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from trainmaster import api
from trainmaster.budget.money import shown
from trainmaster.budget.prices import known_prices
from trainmaster.datasets.houses import require_sound_houses
from trainmaster.embedded import launch, processes
from trainmaster.errors import TrainingFailedError, TrainmasterError
from trainmaster.main_job import TrainAndServeRequest, TrainedAndServed
from trainmaster.prefect_server import PrefectServer, free_port
from trainmaster.settings import Settings
from trainmaster.training.request import approve

ROOT = Path(__file__).parent.parent
WORK_POOL = "trainmaster"
UI_PORT = 4200
SILENT_SECONDS = 300.0
"""A Prefect server answers nobody while it waits for a lock of its SQLite, which it does for 60 s, perhaps several times in a row."""
EMBEDDED_REGION = "us-east-1"
QUIET = {
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s  %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s  %(message)s",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
    "PREFECT_CLI_WELCOME": "false",
}


@dataclass
class Hearing:
    """Of whoever is asked again and again. On a busy machine nobody may answer for a while: one silence is no end."""

    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._heard = self.clock()

    def is_lost(self, *, answers: bool) -> bool:
        """Whether nobody has answered for longer than SILENT_SECONDS."""
        now = self.clock()
        if answers:
            self._heard = now
        return now - self._heard > SILENT_SECONDS


@dataclass
class Clock:
    """Where the time of a run goes, in seconds by what it went to."""

    began: float = field(default_factory=time.monotonic)
    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.spent[what] = self.spent.get(what, 0.0) + time.monotonic() - began

    @property
    def total(self) -> float:
        return time.monotonic() - self.began


def add_parsers(commands: Any) -> None:
    run = commands.add_parser("run", help="the main job once, on the embedded AWS: dataset to answering endpoint")
    run.add_argument("--data", default="", metavar="CSV", help="your own houses; the shipped example without it")
    run.add_argument(
        "--budget", default="1.00", metavar="USD", help="the most the training may cost (default %(default)s)"
    )
    run.add_argument("--json", action="store_true", help="print the result as one JSON object instead")
    run.set_defaults(run=run_once)
    up = commands.add_parser("up", help="Prefect server and UI, embedded AWS, all deployments, until Ctrl-C")
    up.add_argument(
        "--port", type=int, default=UI_PORT, help="of the Prefect UI (default %(default)s, another when taken)"
    )
    up.set_defaults(run=stay_up)


def run_once(args: argparse.Namespace) -> int:
    """Exit code 0 when the endpoint answered. Raises TrainmasterError when it did not, ValidationError for what cannot be asked."""
    clock, settings = Clock(), Settings()
    try:
        asked = {"data": args.data, "training": {"budget_limit": args.budget}, "public": True}
        request = TrainAndServeRequest.model_validate(asked)
        _refuse_early(request, settings)
        with ExitStack() as stack:
            result = _train_and_serve(request, settings, clock, stack)
            said = as_json(result, clock) if args.json else _summary(result, clock)
        print(said)
    except KeyboardInterrupt:
        print("\nInterrupted, and nothing is left running. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def _refuse_early(request: TrainAndServeRequest, settings: Settings) -> None:
    """The flow refuses all this as well; here it takes no server to be told."""
    approve(request.training, EMBEDDED_REGION, known_prices(settings.refreshed_prices))
    require_sound_houses(request.data, request.training.validation_fraction)


def _train_and_serve(
    request: TrainAndServeRequest, settings: Settings, clock: Clock, stack: ExitStack
) -> TrainedAndServed:
    print("Starting a Prefect server and the embedded AWS …", file=sys.stderr, flush=True)
    server = PrefectServer(settings.state_dir)  # takes longest, so it starts first
    stack.callback(server.close)
    os.environ.update({**server.environment, **QUIET})
    with clock.measure("embedded AWS: start"):
        aws = stack.enter_context(launch.running(settings.state_dir))
    _point_at(aws)
    with clock.measure("Prefect: import, server start"):
        flow = importlib.import_module("flows.train_and_serve").train_and_serve
        _show_news_only()
        stack.callback(_settle_logs)
        server.wait_until_healthy()
    with clock.measure("flow: data, bookkeeping"):
        state, result = _first_that_did_not_fail_before(flow, request)
    for subflow, seconds in _subflow_seconds(state.state_details.flow_run_id).items():
        clock.spent[subflow] = seconds
        clock.spent["flow: data, bookkeeping"] -= seconds
    return result


def _point_at(aws: Mapping[str, str]) -> None:
    """Nothing of this run may reach the real AWS or Supabase: what the shell holds for them would win over ours."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SUPABASE_"))]:
        del os.environ[name]
    os.environ.update({**aws, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull})


def _first_that_did_not_fail_before(flow: Any, request: TrainAndServeRequest) -> tuple[Any, TrainedAndServed]:
    """The flow's state and result. A job that failed in an earlier run is not followed to its grave again: who runs the
    command anew asks for the next attempt."""
    while True:
        state = flow(request, return_state=True)
        try:
            return state, state.result()
        except TrainingFailedError as error:
            if not error.found:
                raise
            attempt = request.training.attempt + 1
            print(
                f"{error.job_name} had failed in an earlier run ({error.reason}); this is attempt {attempt}.",
                file=sys.stderr,
            )
            request = request.model_copy(update={"training": request.training.model_copy(update={"attempt": attempt})})


def _subflow_seconds(flow_run_id: UUID) -> dict[str, float]:
    """How long each subflow took, as Prefect recorded it."""
    from prefect import get_client  # noqa: PLC0415 - heavy, and `trainmaster embedded` does without it
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId  # noqa: PLC0415

    of_this_run = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as api:
        runs = api.read_flow_runs(flow_run_filter=of_this_run)
    return {
        f"flow: {run.name}": run.total_run_time.total_seconds()
        for run in sorted(runs, key=lambda run: str(run.start_time))
    }


def _run_log_handlers() -> Iterator[logging.Handler]:
    for name in ("", "prefect.flow_runs", "prefect.task_runs"):
        yield from logging.getLogger(name).handlers


class _News(logging.Filter):
    """What is new to who watches the terminal: not that Prefect began and finished each step, nor what was just said."""

    ROUTINE = ("Beginning ", "Finished in state ", "View at ", "Created task run", "Crash detected!")

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        news = said != self._last and not said.startswith(self.ROUTINE)
        self._last = said if news else self._last
        return news


def _show_news_only() -> None:
    news = _News()
    for handler in _run_log_handlers():
        if isinstance(handler, logging.StreamHandler):
            handler.addFilter(news)


def _settle_logs() -> None:
    """Send what Prefect still has in memory while its server lives."""
    for handler in _run_log_handlers():
        handler.flush()


def as_json(result: TrainedAndServed, clock: Clock) -> str:
    """One object for machines, with the seconds it took."""
    return json.dumps({**result.model_dump(mode="json"), "seconds": {**clock.spent, "total": clock.total}})


def _quality(r2: float, mean_error: float) -> str:
    explained = f"explains {max(r2, 0):.0%} of what sets held-out prices apart"
    return f"{r2:.3f}: {explained}; off by ${mean_error:,.0f} on average"


def _summary(result: TrainedAndServed, clock: Clock) -> str:
    training, served = result.training, result.served
    figures = training.metrics
    asked = ", ".join(f"{name} {value:g}" for name, value in served.smoke_test.inputs.items())
    rows = [
        ("data", result.table.sentence()),
        ("job", training.job_name + (" (launched by an earlier run, found again)" if training.found else "")),
        ("R²", _quality(figures["validation:r2"], figures["validation:mae"])),
        (
            "cost",
            f"{shown(training.bill)} billed; at worst {shown(training.worst_case)} of a budget of {shown(training.approved)}",
        ),
        ("model", training.model_uri),
        (
            "endpoint",
            f"{served.endpoint_name} on {served.config_name}, ${served.hourly_cost} an hour while it runs on AWS",
        ),
        ("asked", asked),
        ("answered", ", ".join(f"{name} {value}" for name, value in served.smoke_test.answer.items())),
    ]
    if result.published:
        rows.append(("public", f"POST {result.published.url}; it answers while `make up` runs"))
    lines = ["", f"Trained, served and answering after {clock.total:.0f} s.", ""]
    lines += [f"  {name:<10} {value}" for name, value in rows]
    lines += ["", "Where the time went:", *(f"  {seconds:6.1f} s  {what}" for what, seconds in clock.spent.items())]
    lines += [
        "",
        "See more: `make up` shows this run, its log and pictures in the Prefect UI and keeps the endpoint answering.",
    ]
    return "\n".join(lines)


def stay_up(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; exit code 0 then, 1 with the reason when something does not start or ends early."""
    settings, stop = Settings(), threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    print("Starting a Prefect server, the embedded AWS and a worker …", file=sys.stderr, flush=True)
    try:
        with ExitStack() as stack:
            server = PrefectServer(settings.state_dir, free_port(args.port))
            stack.callback(server.close)
            aws = stack.enter_context(launch.running(settings.state_dir))
            _point_at(aws)
            server.wait_until_healthy()
            environment = {
                **os.environ,
                **server.environment,
                "PREFECT_WORKER_QUERY_SECONDS": "2",
                "PWD": str(ROOT),
            }
            api_url = _serve_api(stack, environment, server.home)
            set_up = _python(environment, "trainmaster.cli", "setup", "--yes")
            worker = processes.start(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--name", "laptop"],
                env=environment,
                cwd=ROOT,
                stdout=(server.home / "worker.log").open("wb"),
                stderr=subprocess.STDOUT,
            )
            stack.callback(worker.stop, 10)
            elsewhere = {**aws, "PREFECT_API_URL": server.api_url, "TRAINMASTER_HTTP_URL": api_url}
            told = _write_down(elsewhere, settings.state_dir / "env")
            stack.callback(told.unlink, missing_ok=True)
            print(
                f"Prefect UI: {server.pages}/deployments\nHTTP API: {api_url}/docs\n\nFor another terminal, the embedded AWS and this Prefect server:\n  source {shlex.quote(str(told))}\n\n{_news_of(set_up)}\n\nCtrl-C stops everything.",
                flush=True,
            )
            hearing = Hearing()
            while not stop.wait(1.0):
                ended = server.has_ended() or launch.has_ended(settings.state_dir)
                answers = not ended and server.is_serving() and launch.is_serving(settings.state_dir)
                if ended or hearing.is_lost(answers=answers):
                    raise TrainmasterError(
                        "The Prefect server or the embedded AWS has ended, perhaps with the command it belonged to."
                        " Start `up` again."
                    )
                if worker.poll() is not None:
                    raise TrainmasterError(
                        f"The Prefect worker ended with code {worker.poll()}; see {server.home}/worker.log."
                    )
    except TrainmasterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _serve_api(stack: ExitStack, environment: dict[str, str], home: Path) -> str:
    """The address of an HTTP API that is started; it answers a few seconds later, and ends with the stack."""
    port = free_port(api.PORT)
    serving = processes.start(
        [sys.executable, "-m", "trainmaster.cli", "api", "--port", str(port)],
        env=environment,
        cwd=ROOT,
        stdout=(home / "api.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    stack.callback(serving.stop, 10)
    return f"http://127.0.0.1:{port}"


def _news_of(set_up: str) -> str:
    """What a set-up said that people are to know, without the list of what it made."""
    said = [line.strip() for line in set_up.splitlines()]
    return "\n".join(line for line in said if line.startswith(("note ", "kept ")))


def _write_down(environment: Mapping[str, str], file: Path) -> Path:
    """The file, as `export` lines that you alone can read: there are keys among them."""
    written = file.with_suffix(".new")
    written.touch(mode=0o600)
    written.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())))
    return written.replace(file)


def _python(environment: dict[str, str], *arguments: str) -> str:
    """What a program of this environment's Python said, `python -m …`. Raises TrainmasterError when it failed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    if done.returncode:
        raise TrainmasterError(f"`python -m {' '.join(arguments)}` failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
