"""Whatever is killed, at whichever step: a dataset is whole or not there, and what was left behind is removed."""

from __future__ import annotations

import signal
from typing import Any

import httpx
import killed_work
import pytest
from killed_work import Work
from library_shelves import BAD, S3, SUPABASE, Shelves, chats

from trainmaster.errors import DatasetMissingError
from trainmaster.migration.copying import copy_now
from trainmaster.storage.links import download_link
from trainmaster.storage.removing import delete_dataset, sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import NewDataset, upload

MOST_STEPS = 200
WITHIN = 90.0


@pytest.fixture
def new(shelves: Shelves) -> NewDataset:
    """With something dropped, so that each copy is two objects."""
    return shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))


class Killed:
    """The same work, killed one step later each time it is run."""

    def __init__(self, children: Any, shelves: Shelves, new: NewDataset, environment: Any) -> None:
        self._children, self._shelves, self._new, self._environment = children, shelves, new, environment
        self.deaths = 0

    def at(self, step: int, what: str, storage: list[StorageProvider] | None = None) -> bool:
        """True when it was killed, False when it was done before that step."""
        folder, user_id = self._shelves.folder, self._shelves.user_id
        work = Work(what, self._environment, folder, user_id, self._new, storage or [], step)
        child = self._children.Process(target=killed_work.do, args=(work,))
        child.start()
        child.join(WITHIN)
        assert child.exitcode in (0, -signal.SIGKILL)
        self.deaths += child.exitcode != 0
        return bool(child.exitcode)


@pytest.fixture
def killed(children: Any, shelves: Shelves, new: NewDataset, embedded: Any) -> Killed:
    return Killed(children, shelves, new, dict(embedded.environment))


def assert_whole_or_absent(shelves: Shelves, new: NewDataset) -> None:
    """What a user sees after a kill, before and after anything is swept."""
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    if row is None:
        with pytest.raises(DatasetMissingError):
            download_link(shelves.library, new.id, shelves.user_id)
        return
    for copy in row.copies:
        assert len(shelves.content(StorageProvider(copy.provider), copy.path)) == 9
    link = download_link(shelves.library, new.id, shelves.user_id)
    assert httpx.get(link.url, headers={"Accept-Encoding": "identity"}).content[:2] == b"\x1f\x8b"


def assert_only_what_rows_vouch_for(shelves: Shelves, new: NewDataset) -> None:
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    copies = row.copies if row else []
    whole = {f"{copy.provider}://{copy.path}" for copy in copies}
    assert shelves.objects() == whole | {obj.replace(".jsonl", ".dropped.jsonl") for obj in whole}
    assert shelves.pending() == 0


def test_an_upload_killed_at_any_step_leaves_nothing_reachable_and_succeeds_when_repeated(
    killed: Killed, shelves: Shelves, new: NewDataset
) -> None:
    """To both stores: the one after the other, each as if it was the only one."""
    storage = [SUPABASE, S3]
    for step in range(1, MOST_STEPS):
        was_killed = killed.at(step, "upload", storage)
        assert_whole_or_absent(shelves, new)
        if not was_killed:
            break
        if step % 2:  # else the repeated upload finds what was left, and goes on from there
            shelves.run_out()
            sweep(shelves.library)
            assert_only_what_rows_vouch_for(shelves, new)
        shelves.run_out()
        done = upload(shelves.library, new, storage)
        assert {copy.provider for copy in done.copies} == set(storage)
        assert_whole_or_absent(shelves, new)
        assert_only_what_rows_vouch_for(shelves, new)
        delete_dataset(shelves.library, new.id, shelves.user_id)
    assert killed.deaths == step - 1 >= 8 * len(storage)
    assert_only_what_rows_vouch_for(shelves, new)


def test_a_deletion_killed_at_any_step_is_finished_by_the_sweep(
    killed: Killed, shelves: Shelves, new: NewDataset
) -> None:
    for step in range(1, MOST_STEPS):
        upload(shelves.library, new, [SUPABASE, S3])
        was_killed = killed.at(step, "delete")
        assert_whole_or_absent(shelves, new)
        shelves.run_out()
        sweep(shelves.library)
        assert_only_what_rows_vouch_for(shelves, new)
        if not was_killed:
            break
    assert killed.deaths == step - 1 >= 12
    assert shelves.objects() == set()


def test_a_sweep_killed_at_any_step_is_finished_by_the_next(killed: Killed, shelves: Shelves, new: NewDataset) -> None:
    for step in range(1, MOST_STEPS):
        upload(shelves.library, new, [S3])
        shelves.catalogue.datasets.delete(
            new.id, shelves.user_id, holder="who died at once", lease=shelves.library.lease, buckets={}
        )
        shelves.run_out()
        was_killed = killed.at(step, "sweep")
        shelves.run_out()
        sweep(shelves.library)
        assert (shelves.objects(), shelves.pending()) == (set(), 0)
        if not was_killed:
            break
    assert killed.deaths == step - 1 >= 8


def test_a_migration_killed_at_any_step_leaves_readers_where_they_were_and_succeeds_when_repeated(
    killed: Killed, shelves: Shelves, new: NewDataset
) -> None:
    for step in range(1, MOST_STEPS):
        upload(shelves.library, new, [SUPABASE])
        was_killed = killed.at(step, "migrate")
        assert_whole_or_absent(shelves, new)
        shelves.run_out()
        if step % 2:  # else the repeated migration finds what was left, and goes on from there
            sweep(shelves.library)
            assert_only_what_rows_vouch_for(shelves, new)
        row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
        assert row
        [done] = copy_now(shelves.library, [row])
        assert (done.storage_provider, {copy.provider for copy in done.copies}) == ("supabase", {"supabase", "s3"})
        assert_whole_or_absent(shelves, new)
        assert_only_what_rows_vouch_for(shelves, new)
        if not was_killed:
            break
        delete_dataset(shelves.library, new.id, shelves.user_id)
    assert killed.deaths == step - 1 >= 8
