"""What people may open, train and serve, by their role; and all that a request goes beyond, at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainmaster.budget.budgets import TEAM_PATTERN
from trainmaster.budget.money import Dollars, shown
from trainmaster.workspaces.lined_yaml import KeyPath, wrong_at
from trainmaster.workspaces.policy.nearest import nearest_service, nearest_type
from trainmaster.workspaces.request import UUID_PATTERN

Service = Literal["ec2", "sagemaker_studio", "sagemaker_lab", "sagemaker_canvas", "training", "endpoint"]
SERVICES: tuple[Service, ...] = get_args(Service)
Rule = Literal[
    "services", "instance_types", "max_hourly_cost", "data_classifications", "required_tags", "max_workspaces",
    "auto_stop", "max_keep", "free_tier_only",
]  # fmt: skip
RULES: tuple[Rule, ...] = get_args(Rule)
_REQUIRED: frozenset[Rule] = frozenset({"required_tags", "auto_stop"})
_OF_WORKSPACES: frozenset[Rule] = frozenset({"max_workspaces", "max_keep"})
_WITHOUT: Mapping[Service, frozenset[Rule]] = {
    "training": _OF_WORKSPACES | {"auto_stop"},
    "endpoint": _OF_WORKSPACES,
    "sagemaker_lab": frozenset({"auto_stop"}),
}
"""Rules that mean nothing to a service: a job of training ends by itself, and AWS ends a session of Studio Lab."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rules(_Part):
    """What holds for one service. What is left out holds nothing back."""

    instance_types: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.*?-]{1,60}$")], ...] | None,
        Field(description="Globs, such as ml.g5.*; EC2's are without ml."),
    ] = None
    max_hourly_cost: Annotated[
        Dollars | None, Field(description="US dollars an hour of one of them.", ge=0, le=100_000)
    ] = None
    data_classifications: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")], ...] | None,
        Field(description="Of the data worked on, from the least to the most sensitive."),
    ] = None
    required_tags: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] | None,
        Field(description="Keys of tags that have to be given, with any value."),
    ] = None
    max_workspaces: Annotated[
        int | None, Field(description="That a user has at once, stopped ones too, missing ones not.", ge=0)
    ] = None
    auto_stop: Annotated[
        int | None, Field(description="Stopped when idle, after this many minutes at most.", ge=60, le=525_600)
    ] = None
    max_keep: Annotated[int | None, Field(description="Hours that `keep until` may lie ahead.", ge=0, le=366 * 24)] = (
        None
    )
    free_tier_only: bool | None = None


class Role(Rules):
    """Which services a role has, its rules for all of them, and those that hold for one service instead."""

    description: str = ""
    services: Annotated[tuple[Service, ...] | None, Field(description="All without it.")] = None
    per_service: Annotated[dict[Service, Rules], Field(description="Rules in place of the role's own.")] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _meant(self) -> Self:
        wrongs: dict[KeyPath, str] = {}
        for service, rules in self.per_service.items():
            for rule in sorted(rules.model_fields_set):
                if rule == "max_workspaces":
                    wrongs["per_service", service, rule] = "it counts workspaces of all services; set it for the role"
                elif rule in _WITHOUT.get(service, ()):
                    wrongs["per_service", service, rule] = f"it means nothing to {service}; leave it out"
        if wrongs:
            raise wrong_at(wrongs)
        return self

    def rules(self, service: Service) -> Rules:
        """Those in force for a service: its own where it has some, else the role's, as far as they mean something to it. An endpoint has
        to stop by itself only where that is said of endpoints."""
        without = {*_WITHOUT.get(service, ()), *(["auto_stop"] if service == "endpoint" else [])}
        own = {name: getattr(self, name) for name in Rules.model_fields if name not in without}
        instead = self.per_service.get(service, Rules()).model_dump(exclude_unset=True)
        return Rules.model_construct(**{**own, **instead})


class Policy(_Part):
    """Who has which role: a user's own before the team's, and the default one for all others."""

    roles: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])*$")], Role], Field(min_length=1)]
    default_role: str
    teams: dict[Annotated[str, Field(pattern=rf"^{TEAM_PATTERN}$")], str] = Field(default_factory=dict)
    users: dict[Annotated[str, Field(pattern=rf"^{UUID_PATTERN}$")], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named: dict[KeyPath, str] = {("default_role",): self.default_role}
        named |= {("teams", team): role for team, role in self.teams.items()}
        named |= {("users", user): role for user, role in self.users.items()}
        there = ", ".join(self.roles)
        wrongs: dict[KeyPath, str] = {
            path: f"there is no role {role}; there are {there}"
            for path, role in named.items()
            if role not in self.roles
        }
        spellings = {user.lower(): user for user in self.users}
        wrongs |= {
            ("users", user): f"it is there as {spellings[user.lower()]} too"
            for user in self.users
            if spellings[user.lower()] != user
        }
        if wrongs:
            raise wrong_at(wrongs)
        return self

    def role_of(self, user_id: UUID | None, team: str) -> tuple[str, str]:
        """The name of somebody's role, and why it is theirs: `user 1b3c…`, `team vision` or `default`."""
        of_users = {user.lower(): role for user, role in self.users.items()}
        if user_id and (role := of_users.get(str(user_id))):
            return role, f"user {user_id}"
        if team and (role := self.teams.get(team)):
            return role, f"team {team}"
        return self.default_role, "default"


@dataclass(frozen=True)
class Asked:
    """What somebody asks for. `hourly_cost` is in US dollars, None where nobody knows it.

    `workspaces_open` are those the user has besides this one. `choices` are instance types that could be asked for instead, with
    what an hour would cost then: the nearest allowed one is chosen among them.
    """

    service: Service
    user_id: UUID | None = None
    team: str = ""
    instance_types: tuple[str, ...] = ()
    hourly_cost: Decimal | None = None
    data_classification: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    workspaces_open: int = 0
    auto_stop_minutes: int | None = None
    keep_for: timedelta | None = None
    free_tier: bool = False
    choices: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Violation:
    """One rule that a request goes beyond: what was asked, what the role has, and the nearest to it that it has, if anything."""

    rule: Rule
    value: str
    limit: str
    nearest: str
    role: str
    service: Service
    remedy: str

    @property
    def message(self) -> str:
        verb = "requires" if self.rule in _REQUIRED else "allows"
        return f"{self.rule}: {self.value}; role {self.role} {verb} {self.limit} for {self.service}."

    def sentence(self) -> str:
        """For people: rule, value, limit and next step."""
        return f"{self.message} {self.remedy}"


def check(policy: Policy, asked: Asked) -> list[Violation]:
    """Everything in a request that the policy does not allow, in the order of RULES; empty when it allows all of it."""
    name, _ = policy.role_of(asked.user_id, asked.team)
    role = policy.roles[name]
    return list(_Checking(name, role, role.rules(asked.service), asked).violations())


@dataclass(frozen=True)
class _Checking:
    name: str
    role: Role
    rules: Rules
    asked: Asked

    def violations(self) -> Iterator[Violation]:
        yield from self._services()
        yield from self._instance_types()
        yield from self._hourly_cost()
        yield from self._data()
        yield from self._tags()
        yield from self._count()
        yield from self._auto_stop()
        yield from self._keep()
        yield from self._free_tier()

    def _violation(self, rule: Rule, value: str, limit: str, nearest: str = "", remedy: str = "") -> Violation:
        remedy = remedy or (
            f"Nearest allowed: {nearest}." if nearest else "Ask an owner of the policy for another role."
        )
        return Violation(rule, value, limit, nearest, self.name, self.asked.service, remedy)

    def _services(self) -> Iterator[Violation]:
        allowed = self.role.services
        if allowed is not None and self.asked.service not in allowed:
            nearest = nearest_service(self.asked.service, allowed)
            yield self._violation("services", f"{self.asked.service} was asked for", _listed(allowed), nearest)

    def _instance_types(self) -> Iterator[Violation]:
        globs = self.rules.instance_types
        for one in dict.fromkeys(self.asked.instance_types) if globs is not None else ():
            if not self._has_type(one):
                yield self._violation(
                    "instance_types", f"{one} was asked for", _listed(globs or ()), self._nearest(one)
                )

    def _hourly_cost(self) -> Iterator[Violation]:
        limit, cost = self.rules.max_hourly_cost, self.asked.hourly_cost
        if limit is None or (cost is not None and cost <= limit):
            return
        said = "what an hour costs is not known" if cost is None else f"an hour costs {shown(cost)}"
        nearest = (
            self._nearest(self.asked.instance_types[0]) if self.asked.instance_types and self.asked.choices else ""
        )
        costs = f" ({shown(self.asked.choices[nearest])} an hour)" if nearest else ""
        remedy = f"Nearest allowed: {nearest}{costs}." if nearest else ""
        if cost is None:
            remedy = remedy or "`trainmaster prices refresh` asks AWS for its prices."
        yield self._violation("max_hourly_cost", said, f"at most {shown(limit)}", nearest, remedy)

    def _has_type(self, instance_type: str) -> bool:
        globs = self.rules.instance_types
        return globs is None or any(fnmatchcase(instance_type, glob) for glob in globs)

    def _nearest(self, instance_type: str) -> str:
        """The most alike of those the role has, at a cost it has."""
        limit = self.rules.max_hourly_cost
        fit = {one: cost for one, cost in self.asked.choices.items() if limit is None or cost <= limit}
        return nearest_type(instance_type, fit if self.asked.choices else None, self._has_type)

    def _data(self) -> Iterator[Violation]:
        allowed, given = self.rules.data_classifications, self.asked.data_classification
        if allowed is None or given in allowed:
            return
        nearest = allowed[-1] if allowed else ""
        if not given:
            remedy = f"Say data_classification: {' or '.join(allowed)}." if allowed else ""
            yield self._violation(
                "data_classifications", "the data is not classified", _listed(allowed), nearest, remedy
            )
            return
        remedy = f"Work on {nearest} data, or ask an owner of the policy for another role." if nearest else ""
        yield self._violation("data_classifications", f"the data is {given}", _listed(allowed), nearest, remedy)

    def _tags(self) -> Iterator[Violation]:
        required = self.rules.required_tags or ()
        for key in dict.fromkeys(required):
            if not self.asked.tags.get(key, "").strip():
                limit = f"{'tag' if len(required) == 1 else 'tags'} {_listed(required)}"
                yield self._violation("required_tags", f"tag {key} is missing", limit, key, f"Give tag {key} a value.")

    def _count(self) -> Iterator[Violation]:
        limit, would_be = self.rules.max_workspaces, self.asked.workspaces_open + 1
        if limit is not None and would_be > limit:
            remedy = f"Delete {would_be - limit} of yours first: `trainmaster list` shows them." if limit else ""
            yield self._violation(
                "max_workspaces", f"it would be workspace {would_be}", f"at most {limit}", str(limit or ""), remedy
            )

    def _auto_stop(self) -> Iterator[Violation]:
        limit, minutes = self.rules.auto_stop, self.asked.auto_stop_minutes
        if limit is None or (minutes is not None and minutes <= limit):
            return
        said = (
            "it would never be stopped as idle"
            if minutes is None
            else f"it would be stopped after {minutes} idle minutes"
        )
        yield self._violation(
            "auto_stop",
            said,
            f"a stop after at most {limit} idle minutes",
            str(limit),
            f"Set auto_stop_minutes to at most {limit}.",
        )

    def _keep(self) -> Iterator[Violation]:
        limit, keep = self.rules.max_keep, self.asked.keep_for
        if limit is not None and keep is not None and keep > timedelta(hours=limit):
            hours = -(-keep // timedelta(hours=1))
            yield self._violation(
                "max_keep",
                f"it would be kept for {hours} h",
                f"at most {limit} h",
                str(limit),
                f"Keep it for {limit} h.",
            )

    def _free_tier(self) -> Iterator[Violation]:
        if self.rules.free_tier_only and not self.asked.free_tier:
            free: Service = "sagemaker_lab"
            nearest = free if self.role.services is None or free in self.role.services else ""
            yield self._violation("free_tier_only", "it is not of a free tier", "only what is free", nearest)


def _listed(allowed: tuple[str, ...]) -> str:
    return ", ".join(allowed) or "none"
