"""Whatever AWS has of a workspace, carrying out its plan leaves nothing to do; and dying after any step leaves just the steps after it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from trainmaster.embedded.sagemaker import wire
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.machines import plan as machines
from trainmaster.workspaces.machines.parts import Group, Machine, Parts, Rule, Volume
from trainmaster.workspaces.machines.plan import Wanted, drift_of, names_of, plan_delete, plan_open
from trainmaster.workspaces.spec import Spec
from trainmaster.workspaces.studio.plan import Described, Desired, desired, domain_request, plan
from trainmaster.workspaces.templates.template import ServiceConfig, Template
from trainmaster.workspaces.workspace import Workspace, workspace_id_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/Trainer"
USER = UUID("1b3c5d7e-0000-4000-8000-000000000001")
IMAGE = "arn:aws:sagemaker:us-east-1:123456789012:image-version/trainmaster-custom/3"


def row(service: Any, spec: Spec, **changed: Any) -> Workspace:
    user_id = changed.pop("user_id", USER)
    values: dict[str, Any] = {
        "id": workspace_id_of(user_id, "ml"),
        "user_id": user_id,
        "name": "ml",
        "template": spec.template.name,
        "service_type": service,
        "connection_type": spec.template.connection_type,
        "account": "123456789012",
        "region": "us-east-1",
        "team": "vision",
        "instance_type": "ml.t3.medium",
        "volume_gb": 20,
        "hourly_cost": Decimal("0.05"),
        "storage_hourly_cost": Decimal("0.003"),
        "fingerprint": "f" * 16,
        "status": "pending",
        "created_at": NOW,
        "spec": spec.model_dump(mode="json"),
    }
    return Workspace(**values | changed)


def spec_of(service: Any, connection: Any = "web", **config: Any) -> Spec:
    template = Template(
        name="t",
        description="d",
        service_type=service,
        connection_type=connection,
        service_config=ServiceConfig(**config),
    )
    return Spec(template=template, tags={"project": "cats"})


# Studio and Canvas


KINDS: list[Any] = [("sagemaker_canvas", ""), ("sagemaker_studio", "JupyterLab"), ("sagemaker_studio", "CodeEditor")]


@st.composite
def studios(draw: st.DrawFn, service: Any, app: str) -> Desired:
    """A workspace of Studio or Canvas as it is wanted, in a domain of ours or in one that stops nothing by itself."""
    config: dict[str, Any] = {"app": app, "default_instance_type": "ml.t3.medium"} if app else {}
    spec = spec_of(service, **config, **({"shared_efs": draw(st.booleans())} if app else {}))
    domain = domain_request("trainmaster", ROLE, "vpc-1", ("subnet-1",))
    if draw(st.booleans()):
        domain = {**domain, "DefaultUserSettings": {"ExecutionRole": ROLE}}
    workspace = row(
        service,
        spec,
        user_id=draw(st.sampled_from([None, USER])),
        instance_type=draw(st.sampled_from(["ml.t3.medium", "ml.g5.xlarge"])),
        auto_stop_minutes=draw(st.none() | st.integers(60, 525_600)),
        keep_until=draw(st.none() | st.timedeltas(timedelta(-1), timedelta(400)).map(NOW.__add__)),
        resources=draw(st.sampled_from([{}, {"image_version_arn": IMAGE}])),
    )
    return desired(workspace, spec, domain=domain, role=ROLE, now=NOW)


@st.composite
def found_studios(draw: st.DrawFn, *app_statuses: str) -> tuple[Desired, Described]:
    """And what AWS may have of it: made to the end or in part, for this or for another wish, settled or not."""
    service, app_type = draw(st.sampled_from(KINDS))
    wanted, other = draw(studios(service, app_type)), draw(studios(service, app_type))
    parts = ["domain", "profile", *(["space"] if app_type else []), "app"]
    there: dict[str, Any] = {}
    for part in parts if app_statuses else parts[: draw(st.integers(0, len(parts)))]:
        of = wanted if part == "domain" else draw(st.sampled_from([wanted, other]))
        statuses = {"app": app_statuses or ("InService", "Pending", "Deleting", "Failed")}.get(part, ("InService",))
        there[part] = {**deepcopy(dict(getattr(of, part))), "Status": draw(st.sampled_from(statuses))}
    if "space" in there and "app" not in there and draw(st.booleans()):
        there["space"]["Status"] = "Deleting"
    return wanted, Described(**there)


def taken(there: Described, step: Step) -> Described:
    """As AWS describes it once a step was taken, its waiting included."""
    part = step.noun.replace("user profile", "profile")
    if step.verb == "create":
        return replace(there, **{part: {**deepcopy(dict(step.request)), "Status": "InService"}})
    if step.verb == "await":
        return replace(there, app={**(there.app or {}), "Status": "InService"})
    assert step.verb == "update"
    member = {"profile": "UserSettings", "space": "SpaceSettings"}[part]
    before = getattr(there, part)
    return replace(there, **{part: {**before, member: merged(before[member], step.request[member])}})


def merged(before: Any, changed: Any) -> Any:
    if not isinstance(before, dict):
        return changed
    return {**before, **{key: merged(before.get(key), value) for key, value in changed.items()}}


@given(found_studios())
def test_a_plan_of_studio_that_is_carried_out_leaves_nothing_to_do(found: tuple[Desired, Described]) -> None:
    wanted, there = found
    steps = plan(wanted, there)
    for done in range(len(steps) + 1):
        assert [one.sentence() for one in plan(wanted, there)] == [one.sentence() for one in steps[done:]]
        there = taken(there, steps[done]) if done < len(steps) else there


@given(found_studios("InService"))
def test_an_app_that_runs_is_neither_made_nor_moved(found: tuple[Desired, Described]) -> None:
    wanted, there = found
    for step in plan(wanted, there):
        assert step.verb == "update"
        for settings in step.request.get("SpaceSettings", {}).values():
            assert "DefaultResourceSpec" not in settings


@given(found_studios())
def test_aws_takes_every_request_of_a_plan_of_studio(found: tuple[Desired, Described]) -> None:
    wanted, there = found
    for step in plan(wanted, there):
        if step.verb == "await":
            continue
        name = f"{step.verb.title()}{step.noun.title().replace(' ', '')}"
        operation = wire.operation_model(name)
        assert operation is not None, name
        of_domain = {} if name == "CreateDomain" else {"DomainId": "d-abcdefghijkl"}
        named = {"UserProfileName": step.name} if step.noun == "user profile" else {}
        request = {**of_domain, **named, **step.request}
        assert wire.checked(operation, deepcopy(request)) == request


# EC2

OURS, OTHER = Rule("203.0.113.7/32", 22, 22), Rule("0.0.0.0/0", 22, 22)
rules = st.frozensets(
    st.sampled_from([OURS, OTHER, Rule("sg-2", 0, 65535), Rule("pl-1", 443, 443), Rule("::/0", -1, -1, "-1")])
)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Workspace, Wanted, Parts]:
    """A workspace on EC2 and what AWS may have of it, however it came to be so."""
    gone = draw(st.booleans())
    known = {"volume_id": "vol-1"} if draw(st.booleans()) else {}
    workspace = row(
        "ec2",
        spec_of("ec2", "ssh", ami_parameter="/aws/service/ami", default_instance_type="t3.large"),
        instance_type=draw(st.sampled_from(["t3.large", "g5.xlarge"])),
        resources={**known, **draw(st.sampled_from([{}, {"nfs_group_id": "sg-nfs"}]))},
    )
    machine = volume = None
    if not gone:
        machine = Machine(
            "i-1",
            draw(st.sampled_from(["pending", "running", "stopping", "stopped", "shutting-down", "terminated"])),
            draw(st.sampled_from(["t3.large", "g5.xlarge"])),
            machines.client_token(workspace),
            NOW,
            "vol-1",
            http_tokens=draw(st.sampled_from(["required", "optional"])),
            tags=draw(st.sampled_from([names_of(workspace), {"Name": "by hand"}, {}])),
        )
        volume = Volume("vol-1", draw(st.sampled_from([10, 20, 30])), encrypted=True, state="in-use", attached_to="i-1")
    group = draw(st.none() | st.builds(Group, st.just("sg-1"), rules))
    wanted = Wanted(draw(st.sampled_from([frozenset(), frozenset({OURS})])), {"ImageId": "ami-1"})
    return workspace, wanted, Parts(machine, volume, group)


def done(workspace: Workspace, wanted: Wanted, parts: Parts, step: Step) -> tuple[Workspace, Parts]:
    """As AWS describes it once a step was taken; a machine that is being started runs at once."""
    machine, group = parts.machine, parts.group
    match step.verb, step.noun:
        case "create", "security group":
            return workspace, replace(parts, group=Group("sg-1"))
        case ("let in" | "shut out") as verb, "address":
            assert group
            told = {rule for rule in wanted.rules | group.rules if str(rule) == step.name}
            after = group.rules | told if verb == "let in" else group.rules - told
            return workspace, replace(parts, group=replace(group, rules=after))
        case "run", "instance":
            tags = names_of(workspace)
            made = Machine(
                "i-2", "running", workspace.instance_type, step.request["ClientToken"], NOW, "vol-1",
                http_tokens="required", tags=tags,
            )  # fmt: skip
            volume = Volume("vol-1", workspace.volume_gb, encrypted=True, state="in-use", attached_to="i-2")
            after_run = replace(workspace, resources={**workspace.resources, "volume_id": "vol-1"})
            return after_run, replace(parts, machine=made, volume=volume)
    assert machine
    changes: dict[str, Any] = {
        "require": {"http_tokens": "required"},
        "tag": {"tags": {**machine.tags, **names_of(workspace)}},
        "change": {"instance_type": workspace.instance_type},
        "start": {"state": "running"},
    }[step.verb]
    return workspace, replace(parts, machine=replace(machine, **changes))


@given(boxes())
def test_a_plan_of_ec2_that_is_carried_out_leaves_nothing_to_do(found: tuple[Workspace, Wanted, Parts]) -> None:
    workspace, wanted, parts = found
    steps = plan_open(workspace, wanted, parts, has_profile=True)
    for at in range(len(steps) + 1):
        left = plan_open(workspace, wanted, parts, has_profile=True)
        assert [one.sentence() for one in left] == [one.sentence() for one in steps[at:]]
        if at < len(steps):
            workspace, parts = done(workspace, wanted, parts, steps[at])


@given(boxes())
def test_what_was_stopped_or_never_made_is_as_it_was_opened_when_its_plan_is_carried_out(
    found: tuple[Workspace, Wanted, Parts],
) -> None:
    workspace, wanted, parts = found
    is_new = parts.machine is None and "volume_id" not in workspace.resources
    assume(is_new or (parts.machine is not None and parts.machine.state == "stopped"))
    for step in plan_open(workspace, wanted, parts, has_profile=True):
        workspace, parts = done(workspace, wanted, parts, step)
    assert parts.machine is not None
    assert parts.machine.state == "running"
    of_size = "its volume has"  # which is told, and nothing is done about
    assert [said for said in drift_of(workspace, wanted, parts) if of_size not in said] == []


@given(boxes())
def test_a_machine_that_runs_is_never_interrupted(found: tuple[Workspace, Wanted, Parts]) -> None:
    workspace, wanted, parts = found
    assume(parts.machine is not None and parts.machine.state in ("pending", "running", "stopping"))
    verbs = {(step.verb, step.noun) for step in plan_open(workspace, wanted, parts, has_profile=True)}
    assert not verbs & {("run", "instance"), ("start", "instance"), ("change", "instance type")}


@given(boxes())
def test_a_volume_with_files_on_it_is_never_left_for_a_new_one(found: tuple[Workspace, Wanted, Parts]) -> None:
    workspace, wanted, parts = found
    assume("volume_id" in workspace.resources)
    steps = plan_open(workspace, wanted, parts, has_profile=True)
    assert "run" not in {step.verb for step in steps}


@given(boxes())
def test_only_the_addresses_that_are_wanted_are_let_in_afterwards(found: tuple[Workspace, Wanted, Parts]) -> None:
    workspace, wanted, parts = found
    for step in plan_open(workspace, wanted, parts, has_profile=True):
        workspace, parts = done(workspace, wanted, parts, step)
    assert parts.group is not None
    assert parts.group.rules == wanted.rules


@given(boxes(), st.sets(st.sampled_from(["vol-1", "vol-9"])))
def test_deleting_takes_away_all_there_is_in_two_rounds(found: tuple[Workspace, Wanted, Parts], left: set[str]) -> None:
    _, _, parts = found
    leftover = tuple(sorted(left))
    for step in plan_delete(parts, leftover):
        match step.verb, step.noun:
            case "terminate", "instance":
                assert parts.machine
                parts = replace(parts, machine=replace(parts.machine, state="terminated"))
            case "delete", "volume":
                leftover = tuple(one for one in leftover if one != step.name)
            case "delete", "security group":
                parts = replace(parts, group=None)
    rest = plan_delete(parts, leftover)
    assert {step.verb for step in rest} <= {"delete"}
    assert {step.name for step in rest} == {*leftover, *([parts.group.id] if parts.group else [])}
