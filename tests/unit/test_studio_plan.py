"""What a workspace of Studio lacks and how it stands follow from what AWS describes, whatever that is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from trainmaster.errors import RefusedError
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.studio.domains import require_links
from trainmaster.workspaces.studio.plan import Described, Desired, desired, domain_request, idle_minutes, plan, stands
from trainmaster.workspaces.workspace import Workspace, workspace_id_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
USER = UUID("1b3c5d7e-0000-4000-8000-000000000001")
ROLE = "arn:aws:iam::123456789012:role/of-a-test"
DOMAIN = {"DomainId": "d-1", **domain_request("research", ROLE, "vpc-1", ("subnet-1",))}


def row(**changed: Any) -> Workspace:
    template = {
        "name": "studio",
        "description": "JupyterLab",
        "service_type": "sagemaker_studio",
        "connection_type": "web",
        "service_config": {"default_instance_type": "ml.t3.medium", "volume_gb": 10, "shared_efs": True},
    }
    values: dict[str, Any] = {
        "id": workspace_id_of(USER, "notes"),
        "user_id": USER,
        "name": "notes",
        "template": "studio",
        "service_type": "sagemaker_studio",
        "connection_type": "web",
        "account": "123456789012",
        "region": "us-east-1",
        "team": "",
        "instance_type": "ml.t3.medium",
        "volume_gb": 10,
        "hourly_cost": Decimal("0.05"),
        "storage_hourly_cost": Decimal("0.002"),
        "fingerprint": "f" * 16,
        "status": "running",
        "created_at": NOW,
        "auto_stop_minutes": 120,
        "spec": {"template": template},
        "resources": {"domain_id": "d-1", "space": "notes", "app_name": "default"},
    }
    return Workspace(**values | changed)


def wished(workspace: Workspace) -> Desired:
    return desired(workspace, spec_of(workspace), domain=DOMAIN, role=ROLE, now=NOW)


def there(workspace: Workspace, app: str = "InService", **space: Any) -> Described:
    """As it is once the plan is carried out, as AWS tells of it: with more than it was asked for."""
    asked = wished(workspace)
    assert asked.space
    return Described(
        DOMAIN,
        {**asked.profile, "Status": "InService", "HomeEfsFileSystemUid": "200005"},
        {**asked.space, "Status": "InService", "Url": "https://…", **space},
        {**asked.app, "Status": app} if app else None,
    )


def said(workspace: Workspace, described: Described) -> list[str]:
    return [f"{step.verb} {step.noun}" for step in plan(wished(workspace), described)]


@pytest.mark.parametrize(
    ("described", "steps"),
    [
        (Described(), ["create domain", "create user profile", "create space", "create app"]),
        (Described(domain=DOMAIN), ["create user profile", "create space", "create app"]),
        (there(row(), ""), ["create app"]),
        (there(row(), "Deleting"), ["create app"]),
        (there(row(), "Failed"), ["create app"]),
        (there(row(), "Pending"), ["await app"]),
        (there(row(), "InService"), []),
        (there(row(), "", Status="Deleting"), ["create space", "create app"]),
    ],
    ids=["nothing", "domain", "stopped", "stopping", "failed", "starting", "running", "space-going"],
)
def test_what_is_lacking_is_done_in_order(described: Described, steps: list[str]) -> None:
    assert said(row(), described) == steps


def test_a_running_app_goes_on_as_it_is_while_its_space_is_told_of_its_idle_time_alone() -> None:
    changed = row(instance_type="ml.t3.large", auto_stop_minutes=60)
    [step] = plan(wished(changed), there(row()))
    assert step.request["SpaceSettings"] == {
        "JupyterLabAppSettings": {"AppLifecycleManagement": {"IdleSettings": {"IdleTimeoutInMinutes": 60}}}
    }
    stopped = plan(wished(changed), there(row(), ""))
    assert [step.verb for step in stopped] == ["update", "create"]
    assert stopped[0].request["SpaceSettings"]["JupyterLabAppSettings"]["DefaultResourceSpec"] == {
        "InstanceType": "ml.t3.large"
    }


def test_a_volume_that_somebody_enlarged_is_told_and_left() -> None:
    storage = {"SpaceStorageSettings": {"EbsStorageSettings": {"EbsVolumeSizeInGb": 40}}}
    settings = {**(wished(row()).space or {})["SpaceSettings"], **storage}
    enlarged = there(row(), SpaceSettings=settings)
    assert said(row(), enlarged) == []
    assert stands(row(), enlarged).drift == ("its volume has 40 GB, and was made with 10 GB",)


def test_a_profile_that_shares_no_files_is_told_to_when_a_workspace_needs_them() -> None:
    described = there(row())
    apart = Described(DOMAIN, {"UserSettings": {"AutoMountHomeEFS": "Disabled"}}, described.space, described.app)
    [step] = plan(wished(row()), apart)
    assert (step.sentence(), step.request) == (
        f"update user profile user-{USER}",
        {"UserSettings": {"AutoMountHomeEFS": "Enabled"}},
    )


@pytest.mark.parametrize("auto_stop", [None, 60, 525_600])
def test_idle_time_stays_within_what_the_domain_allows(auto_stop: int | None) -> None:
    idle = {"LifecycleManagement": "ENABLED", "MinIdleTimeoutInMinutes": 90, "MaxIdleTimeoutInMinutes": 600}
    domain = {"DefaultUserSettings": {"JupyterLabAppSettings": {"AppLifecycleManagement": {"IdleSettings": idle}}}}
    workspace = row(auto_stop_minutes=auto_stop)
    found = desired(workspace, spec_of(workspace), domain=domain, role=ROLE, now=NOW).space
    assert found
    settings = found["SpaceSettings"]["JupyterLabAppSettings"]["AppLifecycleManagement"]["IdleSettings"]
    assert 90 <= settings["IdleTimeoutInMinutes"] <= 600


@pytest.mark.parametrize("hours", [0.5, 24, 36, 240])
def test_what_is_kept_aws_stops_as_idle_not_before_that_is_over_but_then(hours: float) -> None:
    kept = row(keep_until=NOW + timedelta(hours=hours))
    minutes = idle_minutes(kept, NOW)
    assert max(120, hours * 60) <= minutes <= (hours + 24) * 60
    assert idle_minutes(kept, NOW + timedelta(minutes=1)) == minutes  # opened again, it stays as it is
    assert idle_minutes(kept, NOW + timedelta(hours=hours)) == 120
    assert idle_minutes(row(keep_until=kept.keep_until, auto_stop_minutes=None), NOW) == 525_600


def test_a_space_says_nothing_of_idleness_in_a_domain_that_stops_nothing() -> None:
    found = desired(row(), spec_of(row()), domain={"DefaultUserSettings": {}}, role=ROLE, now=NOW).space
    assert found
    assert "AppLifecycleManagement" not in found["SpaceSettings"]["JupyterLabAppSettings"]


@pytest.mark.parametrize(
    ("described", "status"),
    [
        (there(row(), "Pending"), "starting"),
        (there(row(), "InService"), "running"),
        (there(row(), "Deleting"), "stopping"),
        (there(row(), "Failed"), "failed"),
        (there(row(), ""), "stopped"),
        (there(row(), "", Status="Deleting"), "deleting"),
        (there(row(), "", Status="Failed"), "failed"),
        (Described(domain=DOMAIN), "missing"),
    ],
    ids=["pending", "in-service", "deleting", "failed", "no-app", "space-going", "space-failed", "no-space"],
)
def test_every_status_of_aws_is_one_of_ours(described: Described, status: str) -> None:
    assert stands(row(), described).status == status


def test_what_was_never_made_is_pending_and_says_what_kept_it() -> None:
    never = row(resources={"domain_id": "d-1"}, status="failed", detail="AWS has no such type here")
    seen = stands(never, Described(domain=DOMAIN))
    assert (seen.status, seen.detail) == ("pending", "AWS has no such type here")


def test_another_type_than_was_asked_for_is_told() -> None:
    described = there(row())
    by_hand = Described(
        DOMAIN, None, described.space, {**(described.app or {}), "ResourceSpec": {"InstanceType": "ml.g5.xlarge"}}
    )
    assert stands(row(), by_hand).drift == ("it runs on ml.g5.xlarge, and was opened on ml.t3.medium",)


def test_a_domain_that_gives_no_links_is_refused() -> None:
    require_links(DOMAIN)
    with pytest.raises(RefusedError, match="makes no links"):
        require_links({**DOMAIN, "AuthMode": "SSO"})
