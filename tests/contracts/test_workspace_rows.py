"""Rows of workspaces, on both databases: begun once for each name of a user, and changed by many at a time."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from catalogues import at_once

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.workspaces import Workspaces
from trainmaster.errors import NameConflictError, UnknownChoiceError
from trainmaster.workspaces.workspace import Workspace, workspace_id_of

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
MANY = 8


@pytest.fixture
def rows(catalogue: Catalogue) -> Workspaces:
    return catalogue.workspaces


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


def new(user: uuid.UUID | None, name: str = "notes", **changed: Any) -> Workspace:
    values: dict[str, Any] = {
        "id": workspace_id_of(user, name),
        "user_id": user,
        "name": name,
        "template": "python-ml",
        "service_type": "ec2",
        "connection_type": "ssh",
        "account": "123456789012",
        "region": "us-east-1",
        "team": "vision",
        "instance_type": "t3.large",
        "volume_gb": 50,
        "hourly_cost": Decimal("0.083200000000000001"),
        "storage_hourly_cost": Decimal("0.005479"),
        "fingerprint": "f1",
        "status": "pending",
        "created_at": NOON,
        "spec": {"template": {"name": "python-ml"}, "tags": {"project": "cats"}},
        "resources": {},
        "auto_stop_minutes": 120,
        "keep_until": NOON + timedelta(hours=8),
    }
    return Workspace(**values | changed)


def test_a_row_is_kept_as_it_was_to_the_last_digit(rows: Workspaces, user: uuid.UUID) -> None:
    begun = rows.begin(new(user))
    assert begun == new(user)
    assert rows.get(user, "notes") == new(user)
    assert isinstance(rows.get(user, "notes").hourly_cost, Decimal)


def test_a_workspace_of_nobody_in_particular_is_kept_as_well(rows: Workspaces) -> None:
    name = f"notes-{uuid.uuid4().hex[:8]}"
    rows.begin(new(None, name))
    assert rows.get(None, name).user_id is None


def test_of_many_that_begin_one_at_once_all_find_the_same(rows: Workspaces, user: uuid.UUID) -> None:
    begun = at_once(MANY, lambda n: rows.begin(new(user, created_at=NOON + timedelta(seconds=n))))
    assert len(set(map(repr, begun))) == 1
    assert begun[0].incarnation == 1


def test_what_was_refused_is_forgotten_and_its_name_is_free(rows: Workspaces, user: uuid.UUID) -> None:
    rows.forget(rows.begin(new(user)))
    assert rows.of(user) == []
    assert rows.begin(new(user)).incarnation == 2


@pytest.mark.parametrize("gone_on", [{"status": "starting"}, {"status": "running"}, {"resources": {"space": "notes"}}])
def test_who_is_refused_forgets_nothing_that_a_twin_has_gone_on_with(
    rows: Workspaces, user: uuid.UUID, gone_on: dict[str, Any]
) -> None:
    begun = rows.begin(new(user))
    rows.change(begun, **gone_on)
    rows.forget(begun)
    assert rows.get(user, "notes") == replace(begun, **gone_on)


def test_who_is_refused_late_forgets_nothing_of_the_next_incarnation(rows: Workspaces, user: uuid.UUID) -> None:
    first = rows.begin(new(user))
    rows.change(first, status="deleted")
    second = rows.begin(new(user))
    rows.forget(first)
    assert rows.get(user, "notes") == second


def test_a_name_that_stands_for_something_else_is_a_conflict_and_stays_as_it_was(
    rows: Workspaces, user: uuid.UUID
) -> None:
    rows.begin(new(user))
    with pytest.raises(NameConflictError, match="notes is there already, opened from python-ml"):
        rows.begin(new(user, fingerprint="f2", template="sagemaker-studio"))
    assert rows.get(user, "notes") == new(user)


def test_the_same_name_of_another_user_is_another_workspace(rows: Workspaces, user: uuid.UUID) -> None:
    other = uuid.uuid4()
    rows.begin(new(user))
    rows.begin(new(other, fingerprint="f2"))
    assert rows.get(user, "notes").id != rows.get(other, "notes").id
    assert [one.user_id for one in rows.of(user)] == [user]


def test_a_deleted_name_is_begun_anew_by_one_of_many_and_keeps_nothing_of_what_it_was(
    rows: Workspaces, user: uuid.UUID
) -> None:
    gone = rows.note_resources(rows.begin(new(user)), instance_id="i-1")
    rows.change(gone, status="deleted", warned="idle")
    begun = at_once(MANY, lambda _: rows.begin(new(user, fingerprint="f2", instance_type="m5.large")))
    assert len(set(map(repr, begun))) == 1
    assert begun[0] == new(user, fingerprint="f2", instance_type="m5.large", incarnation=2)


def test_a_deleted_one_is_listed_no_more_and_found_by_who_asks_for_it(rows: Workspaces, user: uuid.UUID) -> None:
    rows.change(rows.begin(new(user)), status="deleted")
    rows.begin(new(user, "other"))
    assert [one.name for one in rows.of(user)] == ["other"]
    found = rows.find(user, "notes")
    assert found
    assert found.status == "deleted"
    with pytest.raises(UnknownChoiceError, match=r"There is no workspace notes\. Yours: other\."):
        rows.get(user, "notes")
    assert rows.find(user, "never") is None


def test_parts_that_many_note_at_once_are_all_noted(rows: Workspaces, user: uuid.UUID) -> None:
    begun = rows.begin(new(user))
    at_once(MANY, lambda n: rows.note_resources(begun, **{f"part_{n}": str(n)}))
    assert rows.get(user, "notes").resources == {f"part_{n}": str(n) for n in range(MANY)}


def test_a_part_that_is_noted_again_has_the_newer_name(rows: Workspaces, user: uuid.UUID) -> None:
    begun = rows.begin(new(user))
    rows.note_resources(begun, instance_id="i-1", volume_id="v-1")
    noted = rows.note_resources(begun, instance_id="i-2")
    assert noted.resources == rows.get(user, "notes").resources == {"instance_id": "i-2", "volume_id": "v-1"}


def test_how_they_stand_is_written_down_together_and_never_of_a_deleted_one(rows: Workspaces, user: uuid.UUID) -> None:
    one, gone = rows.begin(new(user)), rows.begin(new(user, "gone"))
    rows.change(gone, status="deleted")
    seen_at = rows.note_seen({one.id: ("running", "its volume is not encrypted"), gone.id: ("running", "")})
    assert rows.get(user, "notes") == replace(
        one, status="running", detail="its volume is not encrypted", seen_at=seen_at
    )
    found = rows.find(user, "gone")
    assert found
    assert (found.status, found.seen_at) == ("deleted", None)


def test_many_who_note_the_same_ones_at_once_do_not_wait_for_each_other_for_ever(
    rows: Workspaces, user: uuid.UUID
) -> None:
    ids = [rows.begin(new(user, f"notes-{number}")).id for number in range(40)]

    def note(n: int) -> Any:
        for order in (ids, ids[::-1]) if n % 2 else (ids[::-1], ids):
            noted = rows.note_seen(dict.fromkeys(order, ("running", f"by {n}")))
        return noted

    assert all(isinstance(moment, datetime) for moment in at_once(MANY, note))
    assert len({one.detail for one in rows.of(user)}) == 1


def test_nothing_seen_is_nothing_written(rows: Workspaces) -> None:
    assert rows.note_seen({}).tzinfo is not None


def test_a_change_leaves_what_others_changed_meanwhile(rows: Workspaces, user: uuid.UUID) -> None:
    stale = rows.begin(new(user))
    rows.note_resources(stale, instance_id="i-1")
    rows.note_seen({stale.id: ("running", "")})
    rows.change(stale, instance_type="t3.xlarge", keep_until=None)
    now = rows.get(user, "notes")
    assert (now.instance_type, now.keep_until, now.status, now.resources) == (
        "t3.xlarge", None, "running", {"instance_id": "i-1"},
    )  # fmt: skip


def test_they_are_listed_by_name_and_by_where_they_are(rows: Workspaces, user: uuid.UUID) -> None:
    account = f"{uuid.uuid4().int % 10**12:012d}"
    for name, region in (("b", "eu-west-1"), ("c", "us-east-1"), ("a", "us-east-1")):
        rows.begin(new(user, name, account=account, region=region))
    assert [one.name for one in rows.all(account=account)] == ["a", "b", "c"]
    assert [one.name for one in rows.all(account=account, region="us-east-1")] == ["a", "c"]
    assert [one.name for one in rows.of(user)] == ["a", "b", "c"]
