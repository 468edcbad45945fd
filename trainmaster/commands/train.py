"""`trainmaster train plan|start`: what a training job would cost, and launching it once, without a Prefect server."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, cast

from trainmaster.catalog.deployments import deployment_id_of
from trainmaster.commands import train_jobs
from trainmaster.commands.train_following import add_follow_options, follow
from trainmaster.commands.train_options import add_request_options, read_request
from trainmaster.commands.train_reporting import DONE, add_command, desk_in, note, say, say_json
from trainmaster.commands.train_showing import facts_of_launch, launched
from trainmaster.errors import UnknownPriceError
from trainmaster.settings import Settings
from trainmaster.training.attempts import Chain
from trainmaster.training.desk import Desk
from trainmaster.training.falling_back import launch_attempt, plan_attempt
from trainmaster.training.launching import Launch, launch_training
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import asked_by, migrate_missing, prepare_training
from trainmaster.training.request import TrainingRequest
from trainmaster.training.result import attempt_at
from trainmaster.training.showing import plan_text, plan_value

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Training jobs on SageMaker: planned, launched exactly once within their budgets, followed, stopped. Needs no
Prefect server. Exit codes: 0 done, 1 refused or the job failed, 2 asked wrongly or not possible now, 130 and 143 when
Ctrl-C or SIGTERM ended the command; the job goes on then."""


def add_parser(commands: Subparsers) -> None:
    """`trainmaster train` and its subcommands."""
    train = commands.add_parser("train", help="plan, launch, follow and stop training jobs", description=_ABOUT)
    subcommands = train.add_subparsers(required=True, metavar="COMMAND")
    plan = add_command(subcommands, "plan", "check everything and show what would be launched; launch nothing", _plan)
    plan.add_argument("--show-request", action="store_true", help="with the CreateTrainingJob request")
    add_request_options(plan)
    start = add_command(subcommands, "start", "launch a job once; the same command again finds it", _start)
    add_follow_options(start)
    add_request_options(start)
    train_jobs.add_commands(subcommands)


def _plan(args: argparse.Namespace, settings: Settings) -> int:
    request = read_request(args).model_copy(update={"dry_run": True})
    with desk_in(settings, request.region) as desk:
        plan, _ = plan_attempt(desk, _chain(desk, request))
        if args.json:
            say_json(plan_value(plan))
        else:
            say(plan_text(plan, with_request=args.show_request).rstrip())
            note("Nothing was launched. Launch it: the same with `trainmaster train start`.")
    return DONE


def _start(args: argparse.Namespace, settings: Settings) -> int:
    request = read_request(args).model_copy(update={"dry_run": False, "wait": args.follow})
    with desk_in(settings, request.region) as desk:
        for dataset in migrate_missing(desk, request):
            note(f"Dataset {dataset.name} ({dataset.id}) is in S3 now.")
        plan, launch = _launched(desk, _chain(desk, request))
        row = desk.deployments.change(deployment_id_of(plan.charge.resource), handed_over=True)
        (note if args.json else say)(*launched(plan, launch))
        if args.follow:
            return train_jobs.finish(follow(desk, row, args), args)
        if args.json:
            say_json(facts_of_launch(plan, launch, row))
    return DONE


def _chain(desk: Desk, request: TrainingRequest) -> Chain:
    """The ways the request may go. Raises TrainingRefusedError with all its problems when one of them has no price."""
    try:
        return Chain.of(asked_by(desk, request), desk.prices, desk.settings.region)
    except UnknownPriceError:
        prepare_training(desk, request)
        raise


def _launched(desk: Desk, chain: Chain) -> tuple[TrainingPlan, Launch]:
    """The first attempt that AWS has machines for. Raises NoCapacityError when it has none for any."""
    while True:
        plan, chain = plan_attempt(desk, chain)
        last = chain.tried(attempt_at(plan)).next is None
        launch = launch_attempt(desk, plan, partial(launch_training, desk, plan), last=last)
        if launch in ("created", "found", "joined"):
            return plan, cast("Launch", launch)
        note(f"AWS has no capacity for {plan.job_name}: {launch}")
        chain = chain.tried(attempt_at(plan, ended=launch))
