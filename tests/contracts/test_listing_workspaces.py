"""What a list of workspaces costs does not grow with each of them: neither in calls to AWS nor in statements to the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from desks import desk_at
from sqlalchemy import Engine, event

from benchmarks.workspaces import furnish
from trainmaster.commands.workspaces.standing import shown
from trainmaster.training.desk import Desk
from trainmaster.workspaces.workspace import ServiceType, Workspace, workspace_id_of

FEW: Mapping[ServiceType, int] = {"sagemaker_studio": 4, "ec2": 2, "sagemaker_lab": 1}


@contextmanager
def counted(desk: Desk) -> Iterator[Counter[str]]:
    """By operation, what AWS is asked in the block; SQL counts as `statement`."""
    counts = Counter[str]()

    def called(event_name: str, **_: Any) -> None:
        counts.update([event_name.rsplit(".", 1)[1]])

    def stated(*_: Any) -> None:
        counts.update(["statement"])

    clients = [desk.client(service) for service in ("sagemaker", "ec2")]
    for client in clients:
        client.meta.events.register("before-send.*", called)
    event.listen(Engine, "before_cursor_execute", stated)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", stated)
        for client in clients:
            client.meta.events.unregister("before-send.*", called)


def listed(desk: Desk, user_id: UUID) -> tuple[Counter[str], Counter[str]]:
    """What it takes to tell of all of a user's, and how many stand how."""
    with counted(desk) as counts:
        found = shown(desk, desk.catalogue.workspaces.of(user_id))
    return counts, Counter(one.seen.status for one in found)


def more(desk: Desk, workspace: Workspace, count: int) -> None:
    """Rows of the same service that AWS has lost: they take as much asking as those it has, and nothing to make."""
    for number in range(count):
        name = f"{workspace.name}-{number}"
        own = {"instance_id": f"i-{number:017x}", "volume_id": f"vol-{number:017x}"}
        lost = {**workspace.resources, **(own if workspace.service_type == "ec2" else {})}
        desk.catalogue.workspaces.begin(
            replace(workspace, id=workspace_id_of(workspace.user_id, name), name=name, resources=lost)
        )


def test_a_hundred_workspaces_take_no_more_asking_than_a_handful(embedded: Any, tmp_path: Path) -> None:
    user_id = uuid4()
    with desk_at(tmp_path / "state", embedded.environment) as desk:
        rows = furnish(desk, f"list-{user_id.hex[:8]}", FEW, user_id)
        few, stand = listed(desk, user_id)
        assert stand == {"running": 2 + 2 + 1, "stopped": 2}
        for service in FEW:
            more(desk, next(row for row in rows if row.service_type == service), 60)
        many, stand = listed(desk, user_id)
    assert stand == {"running": 2 + 2 + 1 + 60, "stopped": 2, "missing": 2 * 60}
    assert few["statement"], "the database was asked"
    assert few["ListSpaces"] == few["ListApps"] == few["DescribeInstances"] == 1
    assert many == few


def test_a_row_nobody_can_read_hides_no_other(embedded: Any, tmp_path: Path) -> None:
    user_id = uuid4()
    with desk_at(tmp_path / "state", embedded.environment) as desk:
        [good] = furnish(desk, f"odd-{user_id.hex[:8]}", {"sagemaker_lab": 1}, user_id)
        odd = replace(
            good, id=workspace_id_of(user_id, "odd"), name="odd", spec={"template": {"of": "another version"}}
        )
        desk.catalogue.workspaces.begin(odd)
        seen = {one.workspace.name: one.seen for one in shown(desk, desk.catalogue.workspaces.of(user_id))}
    assert (seen[good.name].status, seen["odd"].status) == ("running", "unknown")
    assert "its row cannot be read: template.name" in seen["odd"].detail


def test_of_another_account_nobody_here_can_say_how_it_stands(embedded: Any, tmp_path: Path) -> None:
    user_id = uuid4()
    with desk_at(tmp_path / "state", embedded.environment) as desk:
        [here] = furnish(desk, f"far-{user_id.hex[:8]}", {"sagemaker_lab": 1}, user_id)
        far = replace(here, id=workspace_id_of(user_id, "far"), name="far", account="999999999999")
        desk.catalogue.workspaces.begin(far)
        seen = {one.workspace.name: one.seen for one in shown(desk, desk.catalogue.workspaces.of(user_id))}
    assert (seen[here.name].status, seen["far"].status) == ("running", "unknown")
    assert "999999999999" in seen["far"].detail
