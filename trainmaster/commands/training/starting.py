"""`trainmaster train plan|start`: what a training job would cost, and launching it once, without a Prefect server."""

from __future__ import annotations

import argparse
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, cast, get_args

from trainmaster.catalog.deployments import Deployment
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.training.approval import ask_approval
from trainmaster.commands.training.following import add_follow_options, follow, require_follow
from trainmaster.commands.training.jobs import finish
from trainmaster.commands.training.options import REQUEST
from trainmaster.commands.training.showing import facts_of_launch, launched
from trainmaster.errors import OverBudgetError
from trainmaster.settings import Settings
from trainmaster.training.attempts import FALLBACK, Chain, cut_to, lacked_capacity
from trainmaster.training.desk import Desk
from trainmaster.training.falling_back import launch_attempt, plan_attempt
from trainmaster.training.launching import Launch, launch_training, require_money
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import asked_by, migrate_missing
from trainmaster.training.result import attempt_at
from trainmaster.training.seen import Seen, see
from trainmaster.training.showing import plan_text, plan_value

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(subcommands: Subparsers) -> None:
    """What is launched, and what would be."""
    plan = add_command(subcommands, "plan", "check everything and show what would be launched; launch nothing", _plan)
    plan.add_argument("--show-request", action="store_true", help="with the CreateTrainingJob request")
    REQUEST.add_to(plan)
    start = add_command(subcommands, "start", "launch a job once; the same command again finds it", _start)
    add_follow_options(start)
    REQUEST.add_to(start)


def _plan(args: argparse.Namespace, settings: Settings) -> int:
    request = REQUEST.read(args).model_copy(update={"dry_run": True})
    with desk_in(settings, request.region) as desk:
        plan, _ = plan_attempt(desk, Chain.of(asked_by(desk, request), desk.prices, desk.settings.region))
        if args.json:
            say_json(plan_value(plan))
        else:
            say(plan_text(plan, with_request=args.show_request).rstrip())
            note("Nothing was launched: `trainmaster train start` with the same options does.")
    return DONE


def _start(args: argparse.Namespace, settings: Settings) -> int:
    require_follow(args)
    request = REQUEST.read(args).model_copy(update={"dry_run": False, "wait": args.follow})
    with desk_in(settings, request.region) as desk:
        for dataset in migrate_missing(desk, request):
            note(f"Dataset {dataset.name} ({dataset.id}) is in S3 now.")
        chain = Chain.of(asked_by(desk, request), desk.prices, desk.settings.region)
        while True:
            plan, launch, chain = _launched(desk, chain)
            row = _left_to_the_sweep(desk, plan)
            (note if args.json else say)(*launched(plan, launch, has_ended=row.has_ended))
            seen = follow(desk, row, args) if args.follow else see(desk, row)
            lacked = _lacked(seen)
            after = chain.tried(attempt_at(plan, ended=lacked, bill=seen.cost or Decimal(0)))
            if not lacked or not after.next:
                break
            note(f"AWS had no capacity for {plan.job_name}: {lacked}")
            chain = after
    if args.follow or seen.has_ended:
        return finish(seen, args, launch=launch, notes=list(plan.notes))
    if args.json:
        say_json(facts_of_launch(plan, launch, seen))
    return DONE


def _lacked(seen: Seen) -> str:
    """Why AWS had no machines for a job that has ended, if it was that."""
    stop = seen.deployment.job.stop
    if stop and stop.by == FALLBACK:
        return stop.why
    return lacked_capacity(seen.description) if seen.description else ""


def _left_to_the_sweep(desk: Desk, plan: TrainingPlan) -> Deployment:
    """The job's row. Nobody else looks after the job when this command has ended, or is killed, unless flow runs do."""
    row = desk.deployments.find(plan.job_name)
    assert row is not None  # noqa: S101 - it was made before the job was
    return row if row.job.runs else desk.deployments.change(row.id, handed_over=True)


def _launched(desk: Desk, chain: Chain) -> tuple[TrainingPlan, Launch, Chain]:
    """The next attempt that AWS takes, and the chain up to it. Raises NoCapacityError when it takes none."""
    while True:
        plan, chain = plan_attempt(desk, chain)
        last = chain.tried(attempt_at(plan)).next is None
        plan, said = _launch(desk, plan, last=last)
        if said in get_args(Launch):
            return plan, cast("Launch", said), chain
        note(f"AWS has no capacity for {plan.job_name}: {said}")
        chain = chain.tried(attempt_at(plan, ended=said))


def _launch(desk: Desk, plan: TrainingPlan, *, last: bool) -> tuple[TrainingPlan, str]:
    """With what came of it; beyond the budgets, and perhaps cut, when somebody approves that here."""
    try:
        require_money(plan)
        return plan, launch_attempt(desk, plan, partial(launch_training, desk, plan), last=last)
    except OverBudgetError as error:
        allowance = ask_approval(error, plan)
        if allowance is None:
            raise
    plan = cut_to(plan, allowance.up_to)
    return plan, launch_attempt(desk, plan, partial(launch_training, desk, plan, allowance=allowance), last=last)
