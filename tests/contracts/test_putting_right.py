"""What is spoilt in Supabase put right from S3's proven copy, by a rollback of the dataset; never what may be somebody's newer bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from library_shelves import S3, SUPABASE, Shelves, chats
from moved_datasets import BY, content, copy_of, in_both, now, packed, promoted, put_in_supabase, request, rot
from watched_stores import watched

from trainmaster.catalog.datasets import Dataset
from trainmaster.migration.outcomes import PhaseResult
from trainmaster.migration.rolling_back import roll_back_datasets
from trainmaster.storage.library import Library
from trainmaster.storage.removing import sweep


def roll_back(shelves: Shelves, dataset: Dataset, library: Library | None = None, **choices: Any) -> PhaseResult:
    asked = request(shelves, "rollback", dataset_ids=[str(dataset.id)], **choices)
    return roll_back_datasets(library or shelves.library, asked, by=BY)


@pytest.mark.parametrize("stored", [in_both, promoted])
@pytest.mark.parametrize("spoilt", [b"hello", packed(*chats(5))[:-7], None])
def test_what_is_no_whole_gzip_or_gone_is_put_back_from_s3(
    spoilt: bytes | None, stored: Callable[[Shelves], Dataset], shelves: Shelves
) -> None:
    dataset = stored(shelves)
    theirs, sound = copy_of(dataset, SUPABASE), content(shelves, copy_of(dataset, S3))
    if spoilt is None:
        shelves.store(SUPABASE).delete(theirs.path)
    else:
        put_in_supabase(shelves, theirs.path, spoilt)
        found = (dataset.id, "source_unsound", "No gzip.", "Mend it.", dataset.updated_at)
        shelves.catalogue.migrations.hindered([found])  # type: ignore[list-item]
    rehearsal = roll_back(shelves, dataset, dry_run=True)
    assert (rehearsal.datasets, rehearsal.failed) == (1, 0)
    result = roll_back(shelves, dataset)
    assert (result.datasets, result.failed) == (1, 0)
    after = now(shelves, dataset.id)
    assert content(shelves, copy_of(after, SUPABASE)) == content(shelves, copy_of(after, S3)) == sound
    assert (after.storage_provider, len(after.copies), shelves.pending()) == ("supabase", 2, 0)
    assert shelves.catalogue.migrations.hindrances([dataset.id]) == {}
    assert roll_back(shelves, dataset).found == 1


def test_nothing_is_removed_for_a_copy_in_s3_that_is_rotten_itself(shelves: Shelves) -> None:
    dataset = in_both(shelves)
    rot(shelves, copy_of(dataset, S3))
    put_in_supabase(shelves, copy_of(dataset, SUPABASE).path, b"hello")
    result = roll_back(shelves, dataset)
    assert [each.kind for each in result.failures] == ["damaged"]
    assert content(shelves, copy_of(dataset, SUPABASE)) == b"hello"


def test_whole_gzip_may_be_newer_and_stays(shelves: Shelves) -> None:
    dataset, newer = in_both(shelves), packed(*chats(7, "newer"))
    put_in_supabase(shelves, copy_of(dataset, SUPABASE).path, newer)
    assert [each.kind for each in roll_back(shelves, dataset).failures] == ["source_changed"]
    assert content(shelves, copy_of(dataset, SUPABASE)) == newer


@pytest.mark.parametrize("dies_at", ["delete", "put"])
def test_one_that_dies_half_way_leaves_what_the_next_puts_right(dies_at: str, shelves: Shelves) -> None:
    class Killed(BaseException):
        pass

    def die(_real: Callable[..., Any], *_args: Any, **_kwargs: Any) -> Any:
        raise Killed

    dataset = in_both(shelves)
    put_in_supabase(shelves, copy_of(dataset, SUPABASE).path, b"hello")
    with pytest.raises(Killed):
        roll_back(shelves, dataset, watched(shelves, **{dies_at: die}))
    shelves.run_out()
    assert sweep(shelves.library).objects == []
    assert now(shelves, dataset.id).copies == dataset.copies
    assert roll_back(shelves, dataset).datasets == 1
    assert content(shelves, copy_of(dataset, SUPABASE)) == content(shelves, copy_of(dataset, S3))


def test_what_somebody_puts_there_meanwhile_is_left(shelves: Shelves) -> None:
    dataset, newer = in_both(shelves), packed(*chats(7, "newer"))
    path = copy_of(dataset, SUPABASE).path
    put_in_supabase(shelves, path, b"hello")

    class Replacing:
        def __init__(self, pending: Any) -> None:
            self._pending = pending

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pending, name)

        def renew(self, *args: Any) -> Any:
            put_in_supabase(shelves, path, newer)
            return self._pending.renew(*args)

    catalogue = replace(shelves.catalogue, pending=Replacing(shelves.catalogue.pending))  # type: ignore[arg-type]
    result = roll_back(shelves, dataset, replace(shelves.library, catalogue=catalogue))
    assert (result.datasets, shelves.pending()) == (0, 0)
    assert content(shelves, copy_of(dataset, SUPABASE)) == newer
