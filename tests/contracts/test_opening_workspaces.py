"""Workspaces of Studio, Canvas and Studio Lab are opened once, started, stopped and deleted, on the embedded AWS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from desks import desk_at

from trainmaster.aws.clients import Clients
from trainmaster.budget.budgets import Budget
from trainmaster.budget.metering import Meters
from trainmaster.errors import OverBudgetError, PolicyRefusedError, RefusedError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.images.compiling import compile_image
from trainmaster.workspaces.images.request import CompileImageRequest
from trainmaster.workspaces.metering import meter_workspaces
from trainmaster.workspaces.opening import open_workspace, planned, start_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.seeing import see_workspaces
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.workspace import Workspace

WITHIN = 90.0
TEMPLATES = {
    "editor": """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config:
  domain: {domain}
  app: CodeEditor
  default_instance_type: ml.t3.medium
  allowed_instance_types: [ml.t3.*, ml.g5.xlarge]
  volume_gb: 10
  auto_stop_minutes: 120
  max_hourly_cost: 2.00
policy: {{data_classification: internal}}
""",
    "tagged": """
extends: editor
policy: {{tags: {tags}}}
""",
    "own": """
extends: editor
image:
  base: public.ecr.aws/sagemaker/sagemaker-distribution:3.4.2-cpu
  packages: {{pip: [accelerate==1.10.1]}}
""",
    "box": """
description: A machine
service_type: ec2
connection_type: ssh
service_config:
  ami_parameter: /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
  default_instance_type: t3.medium
  allowed_instance_types: [t3.*]
  volume_gb: 20
  auto_stop_minutes: 120
""",
    "pictures": """
description: Canvas
service_type: sagemaker_canvas
connection_type: web
service_config: {{domain: "{domain}", auto_stop_minutes: 120}}
policy: {{data_classification: internal}}
""",
    "lab": """
description: Studio Lab
service_type: sagemaker_lab
connection_type: web
service_config: {{project_url: "https://github.com/aws/studio-lab-examples"}}
policy: {{data_classification: public, free_tier: true}}
""",
}


@pytest.fixture
def domain() -> str:
    return f"of-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def clients(embedded: Any) -> Clients:
    """Made once: making one takes longer than all that it is asked."""
    return Clients(embedded.client)


@pytest.fixture
def desk(embedded: Any, clients: Clients, tmp_path: Path, domain: str, user_id: UUID) -> Iterator[Desk]:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, text in TEMPLATES.items():
        tags = "{" + ", ".join(f"of-{number}: it" for number in range(20)) + "}"
        (folder / f"{name}.yaml").write_text(text.format(domain=domain, tags=tags))
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(user_id)}
    with desk_at(tmp_path, environment, workspace_templates=folder, poll_seconds=0.05) as opened:
        desk = replace(opened, client=clients)
        yield desk
        for one in desk.catalogue.workspaces.of(user_id):
            close_workspace(desk, CloseWorkspaceRequest(name=one.name, action="delete", dry_run=False))


def wanted(name: str = "notes", template: str = "editor", **changed: Any) -> OpenWorkspaceRequest:
    return OpenWorkspaceRequest(template=template, name=name, **changed)


def close(desk: Desk, action: Any = "stop", name: str = "notes") -> Any:
    return close_workspace(desk, CloseWorkspaceRequest(name=name, action=action, dry_run=False))


def books(desk: Desk, name: str = "notes") -> dict[str, bool]:
    """Of its parts that hours are reserved for, whether each was seen."""
    row = desk.catalogue.workspaces.find(desk.settings.user_id, name)
    assert row
    return {meter.part: meter.seen_at is not None for meter in Meters(desk.ledger).running(row.resource)}


class Counted:
    """Clients of an embedded AWS, with what they are asked."""

    def __init__(self, embedded: Any) -> None:
        self._embedded = embedded
        self.made: list[str] = []

    def client(self, service: str) -> Any:
        client = self._embedded.client(service)
        client.meta.events.register("before-call", lambda model, **_: self.made.append(model.name))
        return client


def eventually(condition: Any) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def limit(desk: Desk, dollars: str) -> None:
    desk.ledger.set_limit(Budget("user", str(desk.settings.user_id)), Decimal(dollars), set_by="a test")


def in_aws(desk: Desk, domain: str) -> dict[str, int]:
    """How many of each there are in the domain, of apps those that were not deleted."""
    aws = desk.client("sagemaker")
    domains = [one for one in aws.list_domains(MaxResults=100)["Domains"] if one["DomainName"] == domain]
    counts = {"domains": len(domains)}
    for one in domains:
        of = {"DomainIdEquals": one["DomainId"]}
        counts["profiles"] = len(aws.list_user_profiles(**of)["UserProfiles"])
        counts["spaces"] = len(aws.list_spaces(**of)["Spaces"])
        counts["apps"] = len([app for app in aws.list_apps(**of)["Apps"] if app["Status"] not in ("Deleted", "Failed")])
    return counts


def test_what_is_planned_is_what_is_made_and_made_once(desk: Desk, domain: str, user_id: UUID) -> None:
    plan = planned(desk, wanted())
    assert [step.sentence() for step in plan.steps] == [
        f"create domain {domain}",
        f"create user profile user-{user_id}",
        f"create space {plan.workspace.slug}",
        f"create app CodeEditor of {plan.workspace.slug}",
    ]
    assert not desk.catalogue.workspaces.of(user_id)
    opened = open_workspace(desk, wanted())
    assert [step.sentence() for step in opened.steps] == [step.sentence() for step in plan.steps]
    assert opened.workspace.status == "running"
    assert open_workspace(desk, wanted()).steps == ()
    [row] = desk.catalogue.workspaces.of(user_id)
    assert (row.status, row.resources["space"]) == ("running", row.slug)
    assert in_aws(desk, domain) == {"domains": 1, "profiles": 1, "spaces": 1, "apps": 1}
    tags = desk.client("sagemaker").list_tags(ResourceArn=space(desk, row)["SpaceArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "trainmaster:workspace": row.slug,
        "trainmaster:owner": str(user_id),
        "trainmaster:template": "editor",
        "trainmaster:fingerprint": row.fingerprint,
    }


def space(desk: Desk, row: Workspace) -> Any:
    return desk.client("sagemaker").describe_space(DomainId=row.resources["domain_id"], SpaceName=row.slug)


def test_a_stopped_one_keeps_its_files_and_is_started_again(desk: Desk, domain: str) -> None:
    row = open_workspace(desk, wanted()).workspace
    made = space(desk, row)
    assert idle_minutes(desk, row) == 120
    assert books(desk) == {"machine": True, "storage": True}
    assert close(desk).workspace.status == "stopped"
    assert books(desk) == {"storage": True}
    assert in_aws(desk, domain) == {"domains": 1, "profiles": 1, "spaces": 1, "apps": 0}
    assert close(desk).steps == ()
    started = start_workspace(desk, row.user_id, "notes")
    assert [step.verb for step in started.steps] == ["create"]
    assert space(desk, row)["CreationTime"] == made["CreationTime"]
    assert books(desk) == {"machine": True, "storage": True}


def test_what_its_owner_keeps_aws_stops_neither_while_it_runs_nor_when_it_is_started(desk: Desk) -> None:
    row = open_workspace(desk, wanted()).workspace
    kept = wanted(keep_until=datetime.now(UTC) + timedelta(days=2))
    assert [step.sentence() for step in open_workspace(desk, kept).steps] == [f"update space {row.slug}"]
    assert idle_minutes(desk, row) == 2 * 24 * 60
    assert open_workspace(desk, kept).steps == ()
    close(desk)
    start_workspace(desk, row.user_id, "notes")
    assert idle_minutes(desk, row) == 2 * 24 * 60


def idle_minutes(desk: Desk, row: Workspace) -> int:
    settings = space(desk, row)["SpaceSettings"]["CodeEditorAppSettings"]
    return int(settings["AppLifecycleManagement"]["IdleSettings"]["IdleTimeoutInMinutes"])


def test_a_deleted_one_is_gone_and_its_name_is_free(desk: Desk, domain: str, user_id: UUID) -> None:
    row = open_workspace(desk, wanted()).workspace
    told = close_workspace(desk, CloseWorkspaceRequest(name="notes", action="delete"))
    assert [step.sentence() for step in told.steps] == [
        "stop workspace notes",
        "delete app default",
        f"delete space with its files {row.slug}",
    ]
    assert in_aws(desk, domain)["spaces"] == 1  # it was only said
    assert close(desk, "delete").workspace.status == "deleted"
    assert in_aws(desk, domain) == {"domains": 1, "profiles": 1, "spaces": 0, "apps": 0}
    assert books(desk) == {}
    assert desk.catalogue.workspaces.of(user_id) == []
    assert open_workspace(desk, wanted(instance_type="ml.t3.large")).workspace.incarnation == 2


def test_many_who_open_the_same_at_once_come_to_one(desk: Desk, domain: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_workspace(desk, wanted()), range(4)))
    assert {one.workspace.status for one in opened} == {"running"}
    assert in_aws(desk, domain) == {"domains": 1, "profiles": 1, "spaces": 1, "apps": 1}
    assert desk.ledger.standing(Budget("user", str(desk.settings.user_id))).reserved == pytest.approx(
        6 * (opened[0].workspace.hourly_cost + opened[0].workspace.storage_hourly_cost), abs=Decimal("0.00001")
    )


def test_however_people_race_books_and_aws_agree_in_the_end(desk: Desk, domain: str, user_id: UUID) -> None:
    acts: list[Callable[[], object]] = [
        lambda: open_workspace(desk, wanted()),
        lambda: close(desk),
        lambda: start_workspace(desk, user_id, "notes"),
        lambda: start_workspace(desk, user_id, "notes", instance_type="ml.t3.large"),
        lambda: list(meter_workspaces(desk)),
        lambda: close(desk, "delete"),
    ]

    def tried(act: Callable[[], object]) -> None:
        with suppress(RefusedError, WorkspaceFailedError):  # who came too late is told so
            act()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tried, acts * 3))
    list(meter_workspaces(desk))
    rows = desk.catalogue.workspaces.of(user_id)
    seen = see_workspaces(desk, rows)
    ours = [meter for meter in Meters(desk.ledger).running() if meter.payer.user_id == user_id]
    there = {("machine", row.hourly_cost) for row in rows if seen[row.id].status == "running"}
    there |= {("storage", row.storage_hourly_cost) for row in rows}
    assert {(meter.part, meter.last.charge.hourly) for meter in ours} == there
    assert in_aws(desk, domain)["spaces"] == len(rows)


def test_many_users_who_are_the_first_at_once_make_one_domain(desk: Desk, domain: str) -> None:
    users = [uuid4() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda user: open_workspace(desk, wanted(user_id=str(user))), users))
    assert in_aws(desk, domain) == {"domains": 1, "profiles": 3, "spaces": 3, "apps": 3}
    for user in users:
        close_workspace(desk, CloseWorkspaceRequest(name="notes", user_id=str(user), action="delete", dry_run=False))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (wanted(template="nope"), "There is no template 'nope'"),
        (wanted(instance_type="ml.p5.48xlarge"), "does not allow ml.p5.48xlarge; it allows ml.t3.*, ml.g5.xlarge"),
        (wanted(instance_type="ml.t3.nano"), "No studio price is known for 'ml.t3.nano'"),
        (wanted(max_hourly_cost="0.01"), "the request allows at most $0.01"),
        (wanted(volume_gb=16_384, instance_type="ml.g5.xlarge"), "allows at most"),
        (wanted(auto_stop_minutes=600), "auto_stop: it would be stopped after 600 idle minutes"),
        (wanted(keep_until=datetime(2020, 1, 1, tzinfo=UTC)), "that is over"),
        (wanted(tags={"aws:who": "me"}), "Tag 'aws:who' cannot be set"),
        (wanted(tags={"who": "a#b"}), "letters, digits, spaces"),
        (wanted(tags={f"tag-{number}": "" for number in range(30)}, template="tagged"), "would have 50 tags"),
        (wanted(template="pictures", instance_type="ml.t3.medium"), "neither instance types nor volumes"),
    ],
    ids=[
        "template", "type", "price", "own-limit", "template-limit", "policy", "past", "tag", "tag-sign", "tags", "canvas-type",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_made(
    desk: Desk, domain: str, user_id: UUID, request_: OpenWorkspaceRequest, said: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        open_workspace(desk, request_)
    assert said in str(refused.value)
    assert in_aws(desk, domain) == {"domains": 0}
    assert desk.catalogue.workspaces.of(user_id) == []
    assert desk.ledger.standing(Budget("user", str(user_id))).reserved == 0


def test_all_that_the_policy_has_against_it_is_said_at_once_and_planned_too(desk: Desk) -> None:
    bad = wanted(auto_stop_minutes=600, keep_until=datetime.now(UTC) + timedelta(days=30))
    with pytest.raises(PolicyRefusedError) as refused:
        open_workspace(desk, bad)
    assert {one.rule for one in refused.value.violations} == {"max_keep", "auto_stop"}
    plan = planned(desk, bad)
    assert plan.violations == tuple(one.sentence() for one in refused.value.violations)


def test_many_opened_at_once_are_no_more_than_the_policy_has_room_for(desk: Desk, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("default_role: few\nroles: {few: {max_workspaces: 2}}\n")
    strict = replace(desk, settings=desk.settings.model_copy(update={"policy_file": policy}))

    def opened(name: str) -> str:
        try:
            return open_workspace(strict, wanted(name, template="lab")).workspace.status
        except PolicyRefusedError:
            return "refused"

    names = [f"lab-{number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(opened, names))
    assert results.count("running") <= 2
    results = [opened(name) for name in names]
    assert sorted(results) == ["refused"] * 3 + ["running"] * 2
    assert len(desk.catalogue.workspaces.of(desk.settings.user_id)) == 2


def test_a_machine_on_ec2_is_opened_changed_and_deleted_the_same_way(desk: Desk, user_id: UUID) -> None:
    row = open_workspace(desk, wanted(template="box")).workspace
    assert (row.status, books(desk)) == ("running", {"machine": True, "storage": True})
    assert open_workspace(desk, wanted(template="box")).steps == ()
    assert close(desk).workspace.status == "stopped"
    assert books(desk) == {"storage": True}
    started = start_workspace(desk, user_id, "notes", instance_type="t3.large").workspace
    assert (started.status, started.instance_type) == ("running", "t3.large")
    changed = start_workspace(desk, user_id, "notes", instance_type="t3.medium").workspace
    [seen] = see_workspaces(desk, [changed]).values()
    assert (seen.status, seen.instance_type, seen.drift) == ("running", "t3.medium", ())
    assert close(desk, "delete").workspace.status == "deleted"
    assert books(desk) == {}


def test_one_of_a_compiled_template_is_refused_until_that_is_compiled_and_starts_from_its_image(
    desk: Desk, domain: str, user_id: UUID
) -> None:
    own = f"own-{domain}"  # its image is the account's, and other tests may have compiled one
    folder = desk.settings.workspace_templates
    (folder / "own.yaml").rename(folder / f"{own}.yaml")
    with pytest.raises(RefusedError, match=f"trainmaster compile {own}"):
        open_workspace(desk, wanted(template=own))
    assert desk.catalogue.workspaces.of(user_id) == []
    image = compile_image(desk, CompileImageRequest(template=own, dry_run=False), lambda _: None).image
    opened = open_workspace(desk, wanted(template=own))
    assert f"attach image trainmaster-{own}" in [step.sentence() for step in opened.steps]
    [seen] = see_workspaces(desk, [opened.workspace]).values()
    assert seen.described["app"]["ResourceSpec"]["SageMakerImageVersionArn"] == image.image_version_arn
    assert open_workspace(desk, wanted(template=own)).steps == ()
    close(desk)
    assert [step.noun for step in open_workspace(desk, wanted(template=own)).steps] == ["app"]


def test_what_no_budget_has_money_for_leaves_neither_row_nor_reservation(
    desk: Desk, domain: str, user_id: UUID
) -> None:
    limit(desk, "0.10")
    with pytest.raises(OverBudgetError):
        open_workspace(desk, wanted())
    assert in_aws(desk, domain) == {"domains": 0}
    assert desk.catalogue.workspaces.of(user_id) == []
    assert books(desk) == {}
    limit(desk, "10.00")
    assert open_workspace(desk, wanted()).workspace.status == "running"


def test_another_instance_type_is_started_by_the_word_alone_and_at_its_own_price(desk: Desk) -> None:
    row = open_workspace(desk, wanted()).workspace
    with pytest.raises(RefusedError, match=r"trainmaster start notes --instance-type ml\.t3\.large"):
        open_workspace(desk, wanted(instance_type="ml.t3.large"))
    started = start_workspace(desk, row.user_id, "notes", instance_type="ml.t3.large")
    assert [step.sentence() for step in started.steps] == [
        "stop workspace notes on ml.t3.medium",
        f"update space {row.slug}",
        f"create app CodeEditor of {row.slug}",
    ]
    assert started.workspace.hourly_cost > row.hourly_cost
    [seen] = see_workspaces(desk, [started.workspace]).values()
    assert (seen.status, seen.instance_type, seen.drift) == ("running", "ml.t3.large", ())
    machine = next(one for one in Meters(desk.ledger).running(row.resource) if one.part == "machine")
    assert machine.first.charge.hourly == started.workspace.hourly_cost
    close(desk)
    assert open_workspace(desk, wanted(instance_type="ml.t3.medium")).workspace.instance_type == "ml.t3.medium"


def test_a_dearer_type_that_no_budget_has_money_for_leaves_the_other_running(desk: Desk) -> None:
    row = open_workspace(desk, wanted()).workspace
    limit(desk, "1.00")
    with pytest.raises(OverBudgetError):
        start_workspace(desk, row.user_id, "notes", instance_type="ml.g5.xlarge")
    assert see_workspaces(desk, [row])[row.id].status == "running"
    close(desk)
    with pytest.raises(OverBudgetError):
        start_workspace(desk, row.user_id, "notes", instance_type="ml.g5.xlarge")
    assert start_workspace(desk, row.user_id, "notes").workspace.instance_type == "ml.t3.medium"


def test_one_deleted_by_other_means_is_missing_and_never_made_anew_unasked(desk: Desk) -> None:
    row = open_workspace(desk, wanted()).workspace
    close(desk)
    aws = desk.client("sagemaker")
    aws.delete_space(DomainId=row.resources["domain_id"], SpaceName=row.slug)
    eventually(lambda: see_workspaces(desk, [row])[row.id].status == "missing")
    with pytest.raises(RefusedError, match="deleted by other means"):
        open_workspace(desk, wanted())
    assert close(desk, "delete").workspace.status == "deleted"
    assert books(desk) == {}
    assert open_workspace(desk, wanted()).workspace.status == "running"


def test_an_app_that_fails_is_told_of_billed_no_more_and_made_anew(desk: Desk, embedded: Any) -> None:
    slug = planned(desk, wanted()).workspace.slug
    rule = {"operation": f"LaunchingMLInstances:{slug}", "error": "CapacityError", "count": 1}
    assert "error" not in embedded.control("POST", "faults", rule)
    with pytest.raises(WorkspaceFailedError, match="Unable to provision"):
        open_workspace(desk, wanted())
    assert books(desk) == {"storage": True}
    row = desk.catalogue.workspaces.get(desk.settings.user_id, "notes")
    assert (row.status, "Unable to provision" in row.detail) == ("failed", True)
    assert open_workspace(desk, wanted()).workspace.status == "running"
    assert books(desk) == {"machine": True, "storage": True}


def test_canvas_is_one_for_each_user_and_has_no_files_to_pay_for(desk: Desk, user_id: UUID) -> None:
    opened = open_workspace(desk, wanted(template="pictures"))
    assert [step.noun for step in opened.steps] == ["domain", "user profile", "app"]
    assert books(desk) == {"machine": True}
    with pytest.raises(RefusedError, match="You have Canvas in this domain already, as workspace notes"):
        open_workspace(desk, wanted("more", template="pictures"))
    assert close(desk).workspace.status == "stopped"
    assert books(desk) == {}
    assert start_workspace(desk, user_id, "notes").workspace.status == "running"


def test_studio_lab_is_free_and_kept_as_an_address(desk: Desk, user_id: UUID) -> None:
    row = open_workspace(desk, wanted(template="lab")).workspace
    assert (row.status, row.hourly_cost) == ("running", Decimal(0))
    assert books(desk) == {}
    access = kind_of("sagemaker_lab").access(desk, row)
    assert access.url == "https://studiolab.sagemaker.aws/import/github/aws/studio-lab-examples"
    assert "no API" in access.note
    assert close(desk).workspace.status == "stopped"
    assert start_workspace(desk, user_id, "notes").workspace.status == "running"
    assert close(desk, "delete").workspace.status == "deleted"


def test_the_way_in_is_given_to_who_asks_and_kept_nowhere(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    row = open_workspace(desk, wanted()).workspace
    access = kind_of("sagemaker_studio").access(desk, row)
    assert access.secret
    assert access.url.startswith("http")
    assert access.url not in caplog.text
    assert access.url not in repr(desk.catalogue.workspaces.get(row.user_id, "notes"))
    close(desk)
    with pytest.raises(RefusedError, match="trainmaster start notes"):
        kind_of("sagemaker_studio").access(desk, row)


def test_many_are_seen_by_calls_that_do_not_grow_with_them(desk: Desk, embedded: Any) -> None:
    rows = [open_workspace(desk, wanted(name)).workspace for name in ("one", "two", "three", "four")]
    close(desk, name="two")
    calls = Counted(embedded)
    seen = see_workspaces(replace(desk, client=calls.client), rows)
    assert [seen[row.id].status for row in rows] == ["running", "stopped", "running", "running"]
    assert seen[rows[0].id].instance_type == "ml.t3.medium"
    assert sorted(calls.made) == ["ListApps", "ListSpaces"]
