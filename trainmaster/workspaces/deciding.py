"""What a request to open comes to: the row it would be kept as, what that costs an hour, and what the policy says to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import shown
from trainmaster.budget.prices import Use
from trainmaster.errors import NameConflictError, OverBudgetError, PolicyRefusedError, RefusedError, UnknownChoiceError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.machines.wanted import reached_from
from trainmaster.workspaces.policy.file import load_policy
from trainmaster.workspaces.policy.rules import Asked, Violation, check
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.request import OpenWorkspaceRequest
from trainmaster.workspaces.spec import Spec, spec_of
from trainmaster.workspaces.tags import RESERVED_PREFIXES
from trainmaster.workspaces.templates.loading import find_template
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import ServiceType, Workspace, workspace_id_of

_MACHINES: Mapping[ServiceType, Use] = {"ec2": "ec2", "sagemaker_studio": "studio"}
MOST_TAGS = 44
"""AWS has room for 50 on each thing: five are ours, and EC2's name is one."""
_CHANGED = ("spec", "instance_type", "hourly_cost", "storage_hourly_cost", "auto_stop_minutes", "keep_until")
"""What opening or starting a workspace again may change of its row."""


@dataclass(frozen=True)
class Decision:
    """A workspace as it would be, the one of that name that is there, and all that the policy has against it."""

    wanted: Workspace
    found: Workspace | None
    violations: tuple[Violation, ...]

    @property
    def refusal(self) -> PolicyRefusedError | None:
        """What the policy says to it, if it does not allow it."""
        return PolicyRefusedError(f"Workspace {self.wanted.name}", self.violations) if self.violations else None

    def approved(self) -> Workspace:
        """The workspace that is wanted. Raises PolicyRefusedError."""
        if refusal := self.refusal:
            raise refusal
        return self.wanted

    def changes(self) -> dict[str, Any]:
        """Columns of its row that would have other values."""
        if self.found is None:
            return {}
        pairs = {name: (getattr(self.found, name), getattr(self.wanted, name)) for name in _CHANGED}
        return {name: wanted for name, (was, wanted) in pairs.items() if was != wanted}


def decide(desk: Desk, request: OpenWorkspaceRequest) -> Decision:
    """Of what somebody asks to be opened. What it leaves open is as it was, and as the template says where nothing was.

    Raises UnknownChoiceError, UnknownPriceError, NameConflictError, OverBudgetError, NotConfiguredError, RefusedError.
    """
    template = find_template(desk.settings, request.template)
    user_id = request.owner(desk.settings.user_id)
    found = desk.catalogue.workspaces.find(user_id, request.name)
    return _decide(desk, request, template, found if found and found.status != "deleted" else None)


def decide_start(desk: Desk, found: Workspace, instance_type: str) -> Decision:
    """Of one that is there, as it was opened, though its template may have changed or gone since. Raises as `decide`."""
    spec = spec_of(found)
    request = OpenWorkspaceRequest(
        template=found.template,
        name=found.name,
        instance_type=instance_type,
        max_hourly_cost=spec.max_hourly_cost,
        data_classification=spec.data_classification,
        tags=spec.tags,
        user_id=str(found.user_id or ""),
        team=found.team,
    )
    return _decide(desk, request, spec.template, found)


def _decide(desk: Desk, request: OpenWorkspaceRequest, template: Template, found: Workspace | None) -> Decision:
    now, settings = desk.ledger.now(), desk.settings
    fingerprint = _fingerprint(desk, template)
    _require_same(fingerprint, settings.region, found)
    _require_sizable(request, template)
    payer = request.payer(Payer(settings.user_id, settings.team))
    rates = rates_of(
        desk.prices,
        template,
        settings.region,
        instance_type=_instance_type(request, template, found),
        volume_gb=_volume(request, template, found),
    )
    wanted = Workspace(
        id=workspace_id_of(payer.user_id, request.name),
        user_id=payer.user_id,
        name=request.name,
        template=template.name,
        service_type=template.service_type,
        connection_type=template.connection_type,
        account=desk.account,
        region=settings.region,
        team=found.team if found else payer.team,
        instance_type=_instance_type(request, template, found),
        volume_gb=_volume(request, template, found) or 0,
        hourly_cost=rates.running,
        storage_hourly_cost=rates.storage,
        fingerprint=fingerprint,
        status=found.status if found else "pending",
        created_at=found.created_at if found else now,
        spec=_spec(request, template, found).model_dump(mode="json"),
        resources=found.resources if found else {},
        incarnation=found.incarnation if found else 1,
        auto_stop_minutes=_auto_stop(request, template, found),
        keep_until=_keep_until(request, found, now),
    )
    _require_affordable(wanted, request, template, rates.total)
    return recheck(desk, Decision(wanted, found, ()))


def _require_sizable(request: OpenWorkspaceRequest, template: Template) -> None:
    if template.service_type in _MACHINES:
        if request.instance_type and not template.allows(request.instance_type):
            allowed = ", ".join(template.service_config.allowed_instance_types) or "its default alone"
            raise UnknownChoiceError(
                f"Template {template.name} does not allow {request.instance_type}; it allows {allowed}"
                f" (default {template.service_config.default_instance_type})."
            )
    elif request.instance_type or request.volume_gb:
        raise RefusedError(
            f"Template {template.name} is of {template.service_type}, which has neither instance types nor volumes to choose."
            " Leave both empty."
        )


def _instance_type(request: OpenWorkspaceRequest, template: Template, found: Workspace | None) -> str:
    if template.service_type not in _MACHINES:
        return ""
    return request.instance_type or (found.instance_type if found else template.service_config.default_instance_type)


def _volume(request: OpenWorkspaceRequest, template: Template, found: Workspace | None) -> int | None:
    if template.service_type not in _MACHINES:
        return None
    if found and request.volume_gb and request.volume_gb != found.volume_gb:
        raise NameConflictError(
            f"Workspace {found.name} has a volume of {found.volume_gb} GB, which {request.volume_gb} GB cannot replace. Leave it"
            " out, choose another name, or delete the workspace first."
        )
    return request.volume_gb or (found.volume_gb if found else template.service_config.volume_gb)


def _auto_stop(request: OpenWorkspaceRequest, template: Template, found: Workspace | None) -> int | None:
    if template.service_type == "sagemaker_lab":
        return None
    return request.auto_stop_minutes or (
        found.auto_stop_minutes if found else template.service_config.auto_stop_minutes
    )


def _keep_until(request: OpenWorkspaceRequest, found: Workspace | None, now: datetime) -> datetime | None:
    until = request.keep_until
    if until is None:
        kept = found.keep_until if found else None
        return kept if kept and kept > now else None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until <= now:
        raise RefusedError(f"Workspace {request.name} cannot be kept until {until:%Y-%m-%d %H:%M %Z}: that is over.")
    return until


def _spec(request: OpenWorkspaceRequest, template: Template, found: Workspace | None) -> Spec:
    before = spec_of(found) if found else None
    given = {**(before.tags if before else {}), **request.tags}
    tags = {**template.policy.tags, **given}
    _require_taggable(request, tags)
    return Spec(
        template=template,
        tags=tags,
        data_classification=request.data_classification
        or (before.data_classification if before else "")
        or template.policy.data_classification,
        max_hourly_cost=request.max_hourly_cost or (before.max_hourly_cost if before else None),
        address=reached_from(template, request.address, before.address if before else ""),
    )


def _require_taggable(request: OpenWorkspaceRequest, tags: Mapping[str, str]) -> None:
    """AWS takes them all. Raises RefusedError."""
    if len(tags) > MOST_TAGS:
        raise RefusedError(
            f"Workspace {request.name} would have {len(tags)} tags; AWS has room for {MOST_TAGS} besides Trainmaster's own. Give fewer."
        )
    for key, value in request.tags.items():
        reserved = key.lower().startswith(RESERVED_PREFIXES)
        if reserved or not 0 < len(key) <= 128 or len(value) > 256 or not _is_taggable(key + value):
            raise RefusedError(
                f"Tag {key[:60]!r} cannot be set: keys have 1 to 128 characters and do not begin with"
                f" {' or '.join(RESERVED_PREFIXES)}, values have at most 256; both are letters, digits, spaces and _.:/=+-@."
            )


def _is_taggable(text: str) -> bool:
    return all(one.isalpha() or one.isdigit() or one == " " or one in "_.:/=+-@" for one in text)


def _fingerprint(desk: Desk, template: Template) -> str:
    """Of what a workspace cannot be changed to once it is there."""
    config = template.service_config
    fixed = [
        template.name, template.service_type, template.connection_type, desk.account, desk.settings.region,
        config.app, config.domain or desk.settings.studio_domain, config.project_url,
    ]  # fmt: skip
    return sha256(json.dumps(fixed).encode()).hexdigest()[:16]


def _require_same(fingerprint: str, region: str, found: Workspace | None) -> None:
    if found is None or found.fingerprint == fingerprint:
        return
    where = f" in {found.region}" if found.region != region else ""
    raise NameConflictError(
        f"Workspace {found.name} is there already, opened from template {found.template}{where} as something else than is asked for"
        " now. Choose another name, or delete it first."
    )


def _require_affordable(wanted: Workspace, request: OpenWorkspaceRequest, template: Template, hourly: Decimal) -> None:
    limits = {
        "the request": spec_of(wanted).max_hourly_cost,
        f"template {template.name}": template.service_config.max_hourly_cost,
    }
    for whose, limit in limits.items():
        if limit is not None and hourly > limit:
            raise OverBudgetError(
                f"Workspace {request.name}{f' on {wanted.instance_type}' if wanted.instance_type else ''}",
                f"{shown(hourly)} an hour",
                limit,
                [],
                "choose a cheaper instance type or a smaller volume",
                stands=f"{whose} allows at most {shown(limit)}",
            )


def _require_only_canvas(desk: Desk, wanted: Workspace, others: Sequence[Workspace]) -> None:
    """A user has one Canvas in a domain, whatever it is called. Raises NameConflictError."""
    if wanted.service_type != "sagemaker_canvas":
        return
    for one in others:
        if _place(desk, one) == _place(desk, wanted):
            raise NameConflictError(
                f"You have Canvas in this domain already, as workspace {one.name}: AWS gives each user one. Open that one, or delete"
                f" it first: trainmaster delete {one.name} --yes"
            )


def _place(desk: Desk, workspace: Workspace) -> tuple[str, ...]:
    domain = spec_of(workspace).template.service_config.domain or desk.settings.studio_domain
    return workspace.service_type, workspace.account, workspace.region, domain


def _asked(desk: Desk, wanted: Workspace, others: Sequence[Workspace], now: datetime) -> Asked:
    spec = spec_of(wanted)
    return Asked(
        service=wanted.service_type,
        user_id=wanted.user_id,
        team=wanted.team,
        instance_types=(wanted.instance_type,) if wanted.instance_type else (),
        hourly_cost=wanted.hourly_cost + wanted.storage_hourly_cost,
        data_classification=spec.data_classification,
        tags=spec.tags,
        workspaces_open=sum(one.status != "missing" for one in others),
        auto_stop_minutes=wanted.auto_stop_minutes,
        keep_for=wanted.keep_until - now if wanted.keep_until else None,
        free_tier=spec.template.policy.free_tier,
        choices=dict(_choices(desk, wanted, spec.template)),
    )


def _others(desk: Desk, decision: Decision) -> list[Workspace]:
    """Those of the user that a new workspace comes on top of: all that are there. One that is there comes on top of older ones."""
    wanted, is_new = decision.wanted, decision.found is None
    of_user = [one for one in desk.catalogue.workspaces.of(wanted.user_id) if one.id != wanted.id]
    return [one for one in of_user if is_new or (one.created_at, one.id) < (wanted.created_at, wanted.id)]


def _choices(desk: Desk, wanted: Workspace, template: Template) -> Iterator[tuple[str, Decimal]]:
    """What else its template allows, with what an hour of that would cost."""
    use = _MACHINES.get(wanted.service_type)
    if use is None:
        return
    for price in desk.prices.of(use, wanted.region):
        if template.allows(price.item):
            yield price.item, price.usd + wanted.storage_hourly_cost


def recheck(desk: Desk, decision: Decision) -> Decision:
    """The same by what is there now. Asked again once its row is there, of many opened at once none goes beyond what the policy
    allows together. Raises NameConflictError for a second Canvas."""
    wanted, others = decision.wanted, _others(desk, decision)
    _require_only_canvas(desk, wanted, others)
    asked = _asked(desk, wanted, others, desk.ledger.now())
    return replace(decision, violations=tuple(check(load_policy(desk.settings), asked)))
