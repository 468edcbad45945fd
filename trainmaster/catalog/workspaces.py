"""Workspaces as they are known: one row for each name of a user, written before anything is made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, select, update

from trainmaster.catalog.columns import keepable
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import workspaces
from trainmaster.errors import NameConflictError, WorkspaceMissingError
from trainmaster.workspaces.workspace import Status, Workspace, workspace_id_of


class Workspaces:
    """The workspaces of all users. Methods are transactions; see Database for what they raise besides."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, wanted: Workspace) -> Workspace:
        """Keep a new workspace, or find the one that is there; one that was deleted is begun anew, as its next incarnation.

        Of many at once one writes the row and the others find it. Raises NameConflictError when what is there was made from a
        different request.
        """
        with self._database.writing() as connection:
            values = _columns(wanted)
            connection.execute(
                self._database.insert(workspaces)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["id"],
                    set_={**_kept(values), "incarnation": workspaces.c.incarnation + 1},
                    where=workspaces.c.status == "deleted",
                )
            )
            found = _read(connection.execute(select(workspaces).where(workspaces.c.id == wanted.id)).one())
        if found.fingerprint != wanted.fingerprint:
            raise NameConflictError(
                f"Workspace {wanted.name} is there already, opened from {found.template} as something else than is asked for now."
                " Choose another name, or delete it first."
            )
        return found

    def find(self, user_id: UUID | None, name: str) -> Workspace | None:
        """The one of a user's, deleted ones included; None when there never was one."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(workspaces).where(workspaces.c.id == workspace_id_of(user_id, name))
            ).one_or_none()
        return _read(row) if row else None

    def get(self, user_id: UUID | None, name: str) -> Workspace:
        """One that is there. Raises WorkspaceMissingError, naming those the user has."""
        found = self.find(user_id, name)
        if found and found.status != "deleted":
            return found
        names = ", ".join(one.name for one in self.of(user_id)[:20]) or "none"
        raise WorkspaceMissingError(f"There is no workspace {name}. Yours: {names}.")

    def of(self, user_id: UUID | None) -> Sequence[Workspace]:
        """Those of a user that are not deleted, by name."""
        return [one for one in self.all() if one.user_id == user_id]

    def all(self, *, account: str = "", region: str = "") -> Sequence[Workspace]:
        """Those that are not deleted, by name; of one account and region, or of all."""
        query = select(workspaces).where(workspaces.c.status != "deleted")
        for column, value in ((workspaces.c.account, account), (workspaces.c.region, region)):
            query = query.where(column == value) if value else query
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(workspaces.c.name, workspaces.c.id)).all()
        return [_read(row) for row in rows]

    def note_resources(self, workspace: Workspace, **resources: str) -> Workspace:
        """Write down what AWS calls a part of it, as soon as that is known, and return it so."""
        with self._database.writing() as connection:
            row = connection.execute(select(workspaces).where(workspaces.c.id == workspace.id).with_for_update()).one()
            together = {**row.resources, **resources}
            connection.execute(
                update(workspaces).where(workspaces.c.id == workspace.id).values(resources=keepable(together))
            )
        return replace(workspace, resources=together)

    def note_seen(self, seen: Mapping[UUID, tuple[Status, str]]) -> datetime:
        """Write down how they stand, in words as well, in one transaction; when that was. Deleted ones stay so."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            if seen:
                # in one order, or two who look at the same time would wait for each other's rows for ever
                rows = [{"of": id_, "stands": seen[id_][0], "why": seen[id_][1]} for id_ in sorted(seen)]
                connection.execute(
                    update(workspaces)
                    .where(workspaces.c.id == bindparam("of"), workspaces.c.status != "deleted")
                    .values(status=bindparam("stands"), detail=bindparam("why"), seen_at=now),
                    rows,
                )
        return now

    def forget(self, workspace: Workspace) -> None:
        """Mark one deleted that nothing was made for, unless somebody has gone on with it since it was begun."""
        untouched = (workspaces.c.id == workspace.id, workspaces.c.status == "pending")
        with self._database.writing() as connection:
            row = connection.execute(select(workspaces).where(*untouched).with_for_update()).one_or_none()
            if row is not None and not row.resources and row.incarnation == workspace.incarnation:
                connection.execute(update(workspaces).where(*untouched).values(status="deleted"))

    def change(self, workspace: Workspace, **changed: Any) -> Workspace:
        """The same with other values of its columns, such as `instance_type` or `keep_until`, written down."""
        after = replace(workspace, **changed)
        with self._database.writing() as connection:
            columns = {name: value for name, value in _columns(after).items() if name in changed}
            connection.execute(update(workspaces).where(workspaces.c.id == workspace.id).values(columns))
        return after


def _columns(workspace: Workspace) -> dict[str, Any]:
    values = asdict(workspace)
    return {**values, "spec": keepable(values["spec"]), "resources": keepable(values["resources"])}


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("id", "incarnation")}


def _read(row: Row[Any]) -> Workspace:
    return Workspace(**row._mapping)
