"""`trainmaster policy check|explain`: what the policy allows whom, and whether it would allow a request. Asks nothing of AWS."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from trainmaster.budget.budgets import TEAM_NAME, Payer
from trainmaster.budget.hardware import known_types
from trainmaster.budget.money import shown
from trainmaster.budget.prices import SESSION, PriceList, Use, known_prices
from trainmaster.commands.terminal.options import read_pair
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_local_command, note, say, say_json
from trainmaster.local_settings import LocalSettings
from trainmaster.workspaces.policy.file import load_policy, policy_path
from trainmaster.workspaces.policy.rules import RULES, SERVICES, Asked, Policy, Rules, Service, Violation, check

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_PRICED: Mapping[Service, Use] = {
    "ec2": "ec2",
    "sagemaker_studio": "studio",
    "training": "training",
    "endpoint": "hosting",
}
_FREE: Service = "sagemaker_lab"
_RULE = 20
_ABOUT = """What people may open, train and serve, by their role. Needs neither AWS nor a Prefect server. Exit codes: 0 allowed,
1 refused, or the policy cannot be used, 2 asked wrongly."""


def add_parser(commands: Subparsers) -> None:
    """`trainmaster policy` and its subcommands."""
    policy = commands.add_parser("policy", help="what the policy allows whom", description=_ABOUT)
    subcommands = policy.add_subparsers(required=True, metavar="COMMAND")
    check_ = add_local_command(
        subcommands, "check", "see that the policy can be used, or try a request against it", _check
    )
    explain = add_local_command(subcommands, "explain", "which role somebody has, why, and every rule of it", _explain)
    for parser in (check_, explain):
        parser.add_argument("--user", type=_uuid, metavar="UUID", help="whose request; TRAINMASTER_USER_ID without it")
        parser.add_argument("--team", type=_team, metavar="TEAM", help="which team's; TRAINMASTER_TEAM without it")
        parser.add_argument("--service", choices=SERVICES, help="what is asked for; `explain` tells of all without it")
    _add_request(check_)


def _add_request(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the request, with --service")
    group.add_argument(
        "--instance-type", action="append", default=[], metavar="TYPE", help="may be given several times"
    )
    group.add_argument("--instance-count", type=_count, default=1, metavar="N", help="of each (default 1)")
    group.add_argument(
        "--hourly-cost", type=_dollars, metavar="USD", help="of all; by the prices of the types without it"
    )
    group.add_argument("--data-classification", default="", metavar="CLASS", help="such as public")
    group.add_argument("--tags", type=read_pair, action="append", default=[], metavar="KEY=VALUE", help="several times")
    group.add_argument("--auto-stop-minutes", type=_count, metavar="N", help="idle minutes after which it is stopped")
    group.add_argument("--keep-hours", type=_count, metavar="N", help="for how long it would be kept all the same")
    group.add_argument("--workspaces-open", type=_count, default=0, metavar="N", help="others of the user (default 0)")
    group.add_argument("--free-tier", action="store_true", help="it is of a free tier, as all of Studio Lab is")


def _check(args: argparse.Namespace, settings: LocalSettings) -> int:
    policy = load_policy(settings)
    if args.service is None:
        return _check_file(policy, args, settings)
    payer = _payer(args, settings)
    asked = _asked(args, payer, known_prices(settings.refreshed_prices), settings.region)
    violations = check(policy, asked)
    role, why = policy.role_of(payer.user_id, payer.team)
    if args.json:
        cost = None if asked.hourly_cost is None else f"{asked.hourly_cost:f}"
        told = {"role": role, "because_of": why, "service": asked.service, "hourly_cost": cost}
        say_json({"allowed": not violations, **told, "violations": list(map(_facts, violations))})
    elif violations:
        say(
            f"Refused: role {role} ({why}) does not have it.",
            *(f"  {_numbered(one)}" for one in enumerate(violations, 1)),
        )
    else:
        cost = "" if asked.hourly_cost is None else f" An hour costs {shown(asked.hourly_cost)}."
        say(f"Allowed: role {role} ({why}) has it.{cost}")
    return REFUSED if violations else DONE


def _check_file(policy: Policy, args: argparse.Namespace, settings: LocalSettings) -> int:
    path, odd = policy_path(settings), list(_odd(policy))
    if args.json:
        say_json({"policy": str(path), "roles": list(policy.roles), "default_role": policy.default_role, "notes": odd})
        return DONE
    counts = f"{len(policy.roles)} roles, {len(policy.teams)} teams and {len(policy.users)} users"
    say(f"{path} can be used: {counts}; all others are {policy.default_role}.")
    note(*odd, "With --service and what is asked for, this tells whether it would be allowed.")
    return DONE


def _odd(policy: Policy) -> Iterator[str]:
    """What can be meant, and likely is not."""
    given = {policy.default_role, *policy.teams.values(), *policy.users.values()}
    known = [*known_types(), *(f"ml.{one}" for one in known_types())]
    for name, role in policy.roles.items():
        if name not in given:
            yield f"Nobody has role {name}."
        for rules in (role, *role.per_service.values()):
            for glob in rules.instance_types or ():
                if not any(fnmatchcase(one, glob) for one in known):
                    yield f"Role {name} has instance types {glob}, and none is known that is like that."


def _explain(args: argparse.Namespace, settings: LocalSettings) -> int:
    policy, payer = load_policy(settings), _payer(args, settings)
    name, why = policy.role_of(payer.user_id, payer.team)
    role = policy.roles[name]
    asked_for = [args.service] if args.service else list(SERVICES)
    rules: dict[Service, Rules | None] = {
        one: None if role.services is not None and one not in role.services else role.rules(one) for one in asked_for
    }
    if args.json:
        told = {one: None if held is None else to_jsonable_python(_in_force(held)) for one, held in rules.items()}
        say_json({"policy": str(policy_path(settings)), "role": name, "because_of": why, "services": told})
        return DONE
    whose = f"user {payer.user_id}" if payer.user_id else "nobody in particular"
    say(f"{whose[0].upper()}{whose[1:]}{f', team {payer.team}' if payer.team else ''}: role {name} ({why}).")
    say(*([f"  {role.description}"] if role.description else []), *_explained(rules))
    note(f"By {policy_path(settings)}; docs/policy.md says what each rule means.")
    return DONE


def _explained(rules: Mapping[Service, Rules | None]) -> Iterator[str]:
    """Services that are held to the same together, in the order they come."""
    together: dict[tuple[str, ...], list[Service]] = {}
    for service, held in rules.items():
        together.setdefault(("not allowed",) if held is None else tuple(_lines(held)), []).append(service)
    for lines, services in together.items():
        yield from ("", f"{', '.join(services)}:", *(f"  {line}" for line in lines))


def _lines(rules: Rules) -> Iterator[str]:
    held = _in_force(rules)
    for rule, value in held.items():
        yield f"{rule:<{_RULE}} {_said(rule, value)}"
    if not held:
        yield "held back by nothing but the budget"


def _in_force(rules: Rules) -> dict[str, Any]:
    return {rule: value for rule in RULES if (value := getattr(rules, rule, None)) not in (None, False)}


def _said(rule: str, value: Any) -> str:
    match rule:
        case "max_hourly_cost":
            return f"at most {shown(value)}"
        case "auto_stop":
            return f"after at most {value} idle minutes"
        case "max_keep":
            return f"at most {value} h"
        case "max_workspaces":
            return f"at most {value}"
        case "free_tier_only":
            return "yes"
    return ", ".join(value) or "none"


def _asked(args: argparse.Namespace, payer: Payer, prices: PriceList, region: str) -> Asked:
    use, count = _PRICED.get(args.service), Decimal(args.instance_count)
    kinds = prices.instance_types(use, region) if use else []
    choices = {kind: prices.instance(kind, use, region).usd * count for kind in kinds} if use else {}
    types = tuple(args.instance_type)
    cost = max((choices[one] for one in types), default=None) if choices.keys() >= set(types) else None
    if args.service == "sagemaker_canvas":
        cost = prices.instance(SESSION, "canvas", region).usd
    return Asked(
        args.service,
        user_id=payer.user_id,
        team=payer.team,
        instance_types=types,
        hourly_cost=args.hourly_cost if args.hourly_cost is not None else Decimal(0) if args.service == _FREE else cost,
        data_classification=args.data_classification,
        tags=dict(args.tags),
        workspaces_open=args.workspaces_open,
        auto_stop_minutes=args.auto_stop_minutes,
        keep_for=None if args.keep_hours is None else timedelta(hours=args.keep_hours),
        free_tier=args.free_tier or args.service == _FREE,
        choices=choices,
    )


def _numbered(one: tuple[int, Violation]) -> str:
    return f"{one[0]}. {one[1].sentence()}"


def _facts(one: Violation) -> dict[str, str]:
    told = {name: getattr(one, name) for name in ("rule", "value", "limit", "nearest")}
    return {**told, "message": one.message, "remedy": one.remedy}


def _payer(args: argparse.Namespace, settings: LocalSettings) -> Payer:
    return Payer(args.user or settings.user_id, settings.team if args.team is None else args.team)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no id (a UUID)") from None


def _team(text: str) -> str:
    if text and not TEAM_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no team's name: letters, digits, dots, dashes, at most 63")
    return text


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _dollars(text: str) -> Decimal:
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; write 12.50") from None
    if not (dollars.is_finite() and dollars >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; write 12.50")
    return dollars
