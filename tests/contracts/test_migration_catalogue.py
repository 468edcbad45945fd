"""What migrations ask of the catalogue and write into it, a batch at a time: on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalogues import LEASE, NOW, Place, at_once, copy_of, insert_as_the_application, new_dataset
from moving_datasets import claimed, copies, in_both, in_supabase, of_the_application, promoted, seen, settled, to_s3
from sqlalchemy import update

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.claiming import Claims
from trainmaster.catalog.moves import Phase
from trainmaster.catalog.promotions import Verified
from trainmaster.catalog.settling import Outcome
from trainmaster.catalog.tables import training_datasets
from trainmaster.errors import LeaseLostError


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


def all_pages(catalogue: Catalogue, selection: Selection, limit: int, only: Phase | None = None) -> list[Candidate]:
    found: list[Candidate] = []
    after = None
    while page := catalogue.migrations.candidates(selection, after=after, limit=limit, only=only):
        assert len(page) <= limit
        found += page
        after = page[-1].id
    return found


def change(catalogue: Catalogue, dataset_id: uuid.UUID, **values: Any) -> None:
    """As the application does."""
    with catalogue.database.writing() as connection:
        connection.execute(update(training_datasets).where(training_datasets.c.id == dataset_id).values(values))


class TestCandidates:
    def test_a_candidate_says_what_the_row_its_copies_and_its_hindrance_say(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = catalogue.datasets.insert(new_dataset(user, ("supabase", "s3"), metadata={"large": "x" * 1000}))
        catalogue.migrations.hindered([(dataset.id, "destination", "It was full.", "Make room.", dataset.updated_at)])
        [found] = seen(catalogue, dataset.id)
        assert (found.supabase, found.s3) == (dataset.copy_at("supabase"), dataset.copy_at("s3"))
        for name in ("id", "user_id", "name", "format", "storage_provider", "storage_path", "created_at", "updated_at"):
            assert getattr(found, name) == getattr(dataset, name)
        assert found.size_bytes == dataset.copies[0].size_bytes
        assert found.hindrance
        assert (found.hindrance.kind, found.hindrance.reason) == ("destination", "It was full.")
        assert (found.names_its_own, found.given_up, found.promoted_at) == (True, False, None)

    def test_of_what_the_application_stored_itself_the_row_alone_speaks(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        known, unknown = (of_the_application(catalogue, user, file_size_bytes=size) for size in (12, None))
        assert (known.size_bytes, unknown.size_bytes, known.supabase, known.s3) == (12, None, None, None)
        assert not of_the_application(catalogue, user, storage_path=f"{uuid.uuid4()}/private/x.jsonl.gz").names_its_own

    @pytest.mark.parametrize("limit", [1, 3, 1000])
    def test_pages_go_through_all_in_the_order_of_ids_once(
        self, catalogue: Catalogue, user: uuid.UUID, limit: int
    ) -> None:
        """Ids that text, bytes and signed numbers would sort differently, if they were kept as such."""
        heads = ["00", "0f", "7f", "80", "9f", "a0", "aa", "f0", "ff"]
        ids = [uuid.UUID(head + uuid.uuid4().hex[2:]) for head in heads]
        for id_ in reversed(ids):
            catalogue.datasets.insert(new_dataset(user, id=id_))
        assert [one.id for one in all_pages(catalogue, Selection(user_id=user), limit)] == sorted(ids)

    def test_what_is_there_all_the_while_is_seen_once_whatever_comes_and_goes(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        stays = {one.id for one in in_supabase(catalogue, user, 30)}
        goes = [one.id for one in in_supabase(catalogue, user, 30)]
        found: list[uuid.UUID] = []
        after = None
        while page := catalogue.migrations.candidates(Selection(user_id=user), after=after, limit=7):
            found += [one.id for one in page]
            after = page[-1].id
            for _ in range(3):
                catalogue.datasets.delete(goes.pop(), user, holder="a test", lease=NOW, buckets={})
            if len(found) < 40:
                in_supabase(catalogue, user, 4)
        assert len(found) == len(set(found))
        assert stays <= set(found)

    @pytest.mark.parametrize(
        ("only", "expected"),
        [
            ("copy", {"supabase alone", "application's", "damaged and dropped"}),
            ("promote", {"both"}),
            ("prune", {"promoted"}),
            ("rollback", {"promoted", "pruned", "promoted and damaged"}),
            (None, {"supabase alone", "application's", "both", "promoted", "pruned", "promoted and damaged",
                    "damaged and dropped"}),
        ],
    )  # fmt: skip
    def test_each_phase_sees_what_it_has_something_to_do_for(
        self, catalogue: Catalogue, user: uuid.UUID, only: Phase | None, expected: set[str]
    ) -> None:
        pruned, also_damaged = promoted(catalogue, user), promoted(catalogue, user)
        dropped = in_both(catalogue, user)
        assert catalogue.migrations.withdraw(pruned[0], holder="a test", lease=NOW, by="a test")
        for damaged in (also_damaged[0], dropped[0]):
            assert damaged.s3
            assert catalogue.migrations.damaged(damaged.id, damaged.s3, "bits", "again", by="a test")
        named = {
            in_supabase(catalogue, user)[0].id: "supabase alone",
            of_the_application(catalogue, user).id: "application's",
            in_both(catalogue, user)[0].id: "both",
            promoted(catalogue, user)[0].id: "promoted",
            pruned[0].id: "pruned",
            also_damaged[0].id: "promoted and damaged",
            dropped[0].id: "damaged and dropped",
        }
        found = all_pages(catalogue, Selection(user_id=user), 2, only)
        assert {named[one.id] for one in found} == expected

    def test_a_selection_is_by_user_ids_age_and_format_all_together(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        then = datetime(2026, 1, 1, tzinfo=UTC)
        old = catalogue.datasets.insert(new_dataset(user, created_at=then))
        young = catalogue.datasets.insert(new_dataset(user, created_at=then + timedelta(days=1)))
        dpo = catalogue.datasets.insert(new_dataset(user, created_at=then, format="dpo"))
        other = catalogue.datasets.insert(new_dataset(uuid.uuid4(), created_at=then))

        def found(**chosen: Any) -> set[uuid.UUID]:
            return {one.id for one in catalogue.migrations.candidates(Selection(**chosen))}

        assert found(user_id=user) == {old.id, young.id, dpo.id}
        assert found(user_id=user, older_than=young.created_at) == {old.id, dpo.id}
        assert found(user_id=user, older_than=young.created_at, format="chatml") == {old.id}
        assert found(dataset_ids=[old.id, other.id]) == {old.id, other.id}
        assert found(dataset_ids=[other.id], user_id=user) == set()

    def test_ten_thousand_ids_are_taken_and_more_are_a_mistake(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [there] = in_supabase(catalogue, user)
        ids = [there.id, *(uuid.uuid4() for _ in range(9_999))]
        assert seen(catalogue, *ids) == [there]
        with pytest.raises(ValueError, match="10,001"):
            Selection(dataset_ids=[*ids, uuid.uuid4()])

    def test_copies_are_verified_in_the_order_they_were_last(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = list(in_both(catalogue, user, 5))
        in_supabase(catalogue, user)
        start = datetime(2026, 5, 1, tzinfo=UTC)
        moments = [start + timedelta(days=day) for day in (3, 1, 1, 4, 2)]
        found_then = zip(found, moments, strict=True)
        catalogue.migrations.verified([Verified(one.id, "s3", at, "a test") for one, at in found_then])
        expected = [
            one.id for _, one in sorted(zip(moments, found, strict=True), key=lambda pair: (pair[0], pair[1].id))
        ]
        ordered: list[Candidate] = []
        while page := catalogue.migrations.to_verify(
            Selection(user_id=user), after=ordered[-1] if ordered else None, limit=2
        ):
            ordered += page
        assert [one.id for one in ordered] == expected
        early = catalogue.migrations.to_verify(Selection(user_id=user), verified_before=start + timedelta(days=2))
        assert [one.id for one in early] == expected[:2]


class TestClaiming:
    def test_a_batch_is_held_and_renewed_and_released_as_one(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = in_supabase(catalogue, user, 3)
        claims = claimed(catalogue, found, f"holder {user}")
        assert [one.dataset_id for one in claims.held] == [one.id for one in found]
        assert claimed(catalogue, found, "another") == Claims(under_way=[one.id for one in found])
        assert catalogue.migrations.renew(f"holder {user}", timedelta(hours=1)) == 3
        assert catalogue.migrations.renew(f"nobody {user}", LEASE) == 0
        catalogue.migrations.release(claims.held[:1])
        assert len(claimed(catalogue, found, "another").held) == 1
        catalogue.migrations.release(claims.held)  # one of them is another's by now, and stays so
        assert len(claimed(catalogue, found, "a third").held) == 2

    def test_more_than_one_transaction_takes_are_claimed_and_settled_too(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        with catalogue.database.writing() as connection:
            rows = [new_dataset(user) for _ in range(450)]
            values = [{c.name: getattr(row, c.name) for c in training_datasets.columns} for row in rows]
            connection.execute(training_datasets.insert(), values)
        found = seen(catalogue, *(row.id for row in rows))
        claims = claimed(catalogue, found)
        assert [one.dataset_id for one in claims.held] == [one.id for one in found]
        outcomes = catalogue.migrations.copied(copies(claims.held, found), by="a test")
        assert outcomes == [Outcome.COPIED] * 450
        assert (
            catalogue.migrations.promote(seen(catalogue, *(row.id for row in rows)), by="me") == [Outcome.MOVED] * 450
        )

    def test_what_is_copied_changed_deleted_or_anothers_is_not_claimed(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [done, changed, rewritten, deleted, free] = in_supabase(catalogue, user, 5)
        catalogue.migrations.copied(copies(claimed(catalogue, [done]).held, [done]), by="a test")
        change(catalogue, changed.id, updated_at=datetime.now(UTC))
        change(catalogue, rewritten.id, storage_path=f"{user}/private/other.jsonl.gz")  # and says nothing of when
        catalogue.datasets.delete(deleted.id, user, holder="a test", lease=NOW, buckets={})
        theirs = of_the_application(catalogue, user)
        claims = catalogue.migrations.claim(
            [*to_s3([done, changed, rewritten, deleted, free]), (theirs, *to_s3([done])[0][1:])],
            holder="mine",
            lease=LEASE,
        )
        assert [one.dataset_id for one in claims.held] == [free.id]
        assert claims.done == [done.id]
        assert set(claims.changed) == {changed.id, rewritten.id, deleted.id}
        assert claims.conflicts == [theirs.id]
        assert claims.under_way == []

    def test_one_object_for_two_datasets_is_claimed_for_one(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        first, second = in_supabase(catalogue, user, 2)
        claims = catalogue.migrations.claim(
            [*to_s3([first]), (second, *to_s3([first])[0][1:])], holder="mine", lease=LEASE
        )
        assert ([one.dataset_id for one in claims.held], claims.conflicts) == ([first.id], [second.id])

    def test_a_begun_upload_outlives_the_claim_it_was_begun_under(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = in_supabase(catalogue, user, 2)
        [first, second] = claimed(catalogue, found, "dead", NOW).held
        catalogue.migrations.begun(first, upload_id="upload-1", part_size=16 << 20, source_version="v1")
        [never_tried] = in_supabase(catalogue, user)
        claims = claimed(catalogue, [*found, never_tried], "the next")
        taken, other, _ = claims.held
        assert claims.tried_before == {one.id for one in found}
        assert (taken.upload_id, taken.part_size, taken.source_version) == ("upload-1", 16 << 20, "v1")
        assert (taken.holder, other.upload_id) == ("the next", None)
        with pytest.raises(LeaseLostError):
            catalogue.migrations.begun(second, upload_id="late", part_size=1, source_version="v1")
        catalogue.migrations.begun(taken, upload_id="upload-2", part_size=1 << 33, source_version="v2")
        [again, _] = claimed(catalogue, found, "the next").held
        assert (again.upload_id, again.part_size) == ("upload-2", 1 << 33)

    def test_the_sweep_takes_a_begun_upload_over_with_the_object(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [found] = in_supabase(catalogue, user)
        [dead] = claimed(catalogue, [found], "dead", NOW).held
        catalogue.migrations.begun(dead, upload_id="upload-1", part_size=1, source_version="v1")
        taken = catalogue.pending.claim(
            provider=dead.provider, bucket=dead.bucket, path=dead.path, dataset_id=found.id, user_id=user,
            holder="the sweep", lease=LEASE,
        )  # fmt: skip
        assert taken
        assert (taken.holder, taken.upload_id) == ("the sweep", "upload-1")

    def test_of_many_threads_at_one_batch_each_dataset_is_held_by_one(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        found = in_supabase(catalogue, user, 60)
        orders = [list(found), list(reversed(found)), [*found[30:], *found[:30]], list(found[::2])]
        results = at_once(8, lambda n: claimed(catalogue, orders[n % 4], f"thread {n} of {user}"))
        assert all(isinstance(one, Claims) for one in results)
        held = [claim.dataset_id for one in results for claim in one.held]
        assert sorted(held) == [one.id for one in found]

    def test_of_many_processes_at_one_batch_each_dataset_is_copied_by_one(
        self, catalogue: Catalogue, catalogue_place: Place, user: uuid.UUID
    ) -> None:
        found = in_supabase(catalogue, user, 100)
        processes = [catalogue_place.start(COPY_EVERYTHING, str(user), f"process {n} of {user}") for n in range(3)]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        copied = [id_ for process in processes for id_ in json.loads(process.communicate(timeout=120)[0])]
        assert sorted(map(uuid.UUID, copied)) == [one.id for one in found]
        assert all(one.s3 for one in seen(catalogue, *(one.id for one in found)))
        assert all(len(catalogue.migrations.moves(one.id)) == 1 for one in found)


class TestCopied:
    def test_copies_are_catalogued_claims_settled_hindrances_cleared_and_moves_noted(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        found = [*in_supabase(catalogue, user, 2), of_the_application(catalogue, user)]
        catalogue.migrations.hindered([(one.id, "destination", "full", "wait", one.updated_at) for one in found])
        done = copies(claimed(catalogue, found).held, found)
        assert catalogue.migrations.copied(done, by="run 7") == [Outcome.COPIED] * 3
        after = {one.id: one for one in seen(catalogue, *(one.id for one in found))}
        for one in done:
            now = after[one.seen.id]
            assert now.s3 == one.copies[0]
            assert now.supabase == (one.seen.supabase or one.copies[1])
            assert (now.hindrance, now.storage_provider) == (None, "supabase")
            assert now.updated_at == one.seen.updated_at  # readers are sent where they were
            [move] = catalogue.migrations.moves(one.seen.id)
            assert (move.phase, move.by, move.detail) == ("copy", "run 7", one.claim.uri)
            assert catalogue.datasets.get(one.seen.id, user).copy_at("s3").version == "etag-1"  # type: ignore[union-attr]
        assert len(claimed(catalogue, list(after.values()), "another").done) == 3
        assert catalogue.pending.release(done[0].claim) is False

    def test_each_failure_of_a_batch_is_its_own(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = in_supabase(catalogue, user, 7)
        held = claimed(catalogue, found).held
        good, taken_over, released, changed, rewritten, deleted, flipped = copies(held, found)
        catalogue.pending.claim(
            **_place(taken_over.claim), dataset_id=taken_over.seen.id, user_id=user, holder="mine", lease=NOW
        )
        claimed(catalogue, [taken_over.seen], "theirs")
        catalogue.migrations.release([released.claim])
        change(catalogue, changed.seen.id, updated_at=changed.seen.updated_at + timedelta(microseconds=1))
        change(catalogue, rewritten.seen.id, storage_path=f"{user}/private/other.jsonl.gz")
        catalogue.datasets.delete(deleted.seen.id, user, holder="a test", lease=NOW, buckets={})
        change(catalogue, flipped.seen.id, storage_provider="s3")
        batch = [deleted, good, flipped, taken_over, rewritten, released, changed]
        outcomes = catalogue.migrations.copied(batch, by="a test")
        assert [str(one) for one in outcomes] == ["changed", "copied", "changed", "lost", "changed", "lost", "changed"]
        assert [one.s3 is not None for one in seen(catalogue, *(one.id for one in found))].count(True) == 1
        for one in (deleted, changed, rewritten, flipped):  # whoever held it removes the object
            assert catalogue.pending.release(one.claim) is True
            assert catalogue.migrations.moves(one.seen.id) == []

    def test_a_claim_that_ran_out_and_that_nobody_took_is_still_good(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        found = in_supabase(catalogue, user)
        held = claimed(catalogue, found, lease=NOW).held
        assert catalogue.migrations.copied(copies(held, found), by="a test") == [Outcome.COPIED]

    def test_an_object_in_supabase_that_another_dataset_has_is_a_conflict_of_that_one_alone(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [owner, other] = in_supabase(catalogue, user, 2)
        double = of_the_application(catalogue, user, storage_path=owner.storage_path)
        found = [double, other]
        held = {claim.dataset_id: claim for claim in claimed(catalogue, found).held}
        outcomes = catalogue.migrations.copied([settled(held[one.id], one) for one in found], by="a test")
        assert outcomes == [Outcome.CONFLICT, Outcome.COPIED]
        assert seen(catalogue, double.id)[0].s3 is None
        assert catalogue.pending.release(held[double.id]) is True

    def test_of_two_datasets_with_one_object_in_one_batch_one_gets_it(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        first = of_the_application(catalogue, user)
        second = of_the_application(catalogue, user, storage_path=first.storage_path)
        held = {claim.dataset_id: claim for claim in claimed(catalogue, [first, second]).held}
        outcomes = catalogue.migrations.copied([settled(held[one.id], one) for one in (first, second)], by="a test")
        assert sorted(outcomes) == [Outcome.CONFLICT, Outcome.COPIED]
        copied = [one for one in seen(catalogue, first.id, second.id) if one.supabase or one.s3]
        assert len(copied) == 1
        assert copied[0].s3

    @pytest.mark.parametrize("other", [{"sha256": "f" * 64}, {"size_bytes": 1}])
    def test_other_bytes_than_are_catalogued_are_a_conflict(
        self, catalogue: Catalogue, user: uuid.UUID, other: Mapping[str, Any]
    ) -> None:
        found = in_supabase(catalogue, user)
        [held] = claimed(catalogue, found).held
        assert catalogue.migrations.copied([settled(held, found[0], **other)], by="a test") == [Outcome.CONFLICT]
        assert seen(catalogue, found[0].id)[0].s3 is None

    def test_a_copy_somebody_else_catalogued_meanwhile_is_verified_again(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [found] = in_both(catalogue, user)
        claim = catalogue.pending.claim(
            provider="s3",
            bucket="user-bucket",
            path="elsewhere",
            dataset_id=found.id,
            user_id=user,
            holder="me",
            lease=LEASE,
        )
        assert claim
        assert found.s3
        again = replace(found.s3, verified_at=datetime.now(UTC), verified_by="run 2", version="etag-2")
        batch = [replace(settled(claim, found), copies=[again])]
        assert catalogue.migrations.copied(batch, by="a test") == [Outcome.COPIED]
        assert seen(catalogue, found.id)[0].s3 == again

    def test_an_object_in_supabase_that_somebody_is_at_is_left_for_later(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        found = of_the_application(catalogue, user)
        [held] = claimed(catalogue, [found]).held
        change(catalogue, found.id, storage_provider="s3")  # so that the object in Supabase can be claimed at all
        theirs = copy_of(found.id, user, path=found.storage_path)
        for lease, expected in ((LEASE, Outcome.CHANGED), (NOW, Outcome.COPIED)):
            at_it = catalogue.pending.claim(
                **_place(theirs), dataset_id=found.id, user_id=user, holder="somebody", lease=lease
            )
            assert at_it
            batch = [settled(held, seen(catalogue, found.id)[0])]
            assert catalogue.migrations.copied(batch, by="a test") == [expected]
        assert catalogue.pending.release(at_it) is False

    def test_a_deletion_and_a_settling_leave_no_object_unknown(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        for _ in range(5):
            found = in_supabase(catalogue, user, 10)
            held = claimed(catalogue, found).held
            steps: list[Any] = [
                lambda found=found, held=held: catalogue.migrations.copied(copies(held, found), by="a test"),
                lambda found=found: [
                    catalogue.datasets.delete(one.id, user, holder="it", lease=LEASE, buckets={})
                    for one in reversed(found)
                ],
            ]
            outcomes, deleted = at_once(2, lambda n, steps=steps: steps[n]())
            swept = dict(zip([one.id for one in reversed(found)], deleted, strict=True))
            for one, claim, outcome in zip(found, held, outcomes, strict=True):
                if outcome is Outcome.COPIED:
                    assert {each.provider for each in swept[one.id]} == {"supabase", "s3"}
                else:
                    assert outcome is Outcome.CHANGED
                    assert catalogue.pending.release(claim) is True


class TestHindrances:
    def test_failures_of_a_kind_are_counted_from_the_first_to_the_last(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = in_supabase(catalogue, user)
        counted = []
        for kind in ("source_missing", "source_missing", "destination", "source_missing"):
            catalogue.migrations.hindered([(one.id, kind, f"{kind} \0", "x" * 9000, one.updated_at)])  # type: ignore[list-item]
            hindrance = seen(catalogue, one.id)[0].hindrance
            assert hindrance
            counted.append((hindrance.failures, hindrance.first_at == hindrance.last_at))
            assert (hindrance.reason, len(hindrance.advice)) == (f"{kind} \ufffd", 2000)
        assert counted == [(1, True), (2, False), (1, True), (1, True)]

    @pytest.mark.parametrize(
        ("kind", "gives_up"), [("source_missing", True), ("source_unsound", True), ("destination", False)]
    )
    def test_what_is_hopeless_is_given_up_after_three_times_until_its_row_changes(
        self, catalogue: Catalogue, user: uuid.UUID, kind: Any, gives_up: bool
    ) -> None:
        [one] = in_supabase(catalogue, user)
        given_up = []
        for _ in range(3):
            catalogue.migrations.hindered([(one.id, kind, "why", "what to do", one.updated_at)])
            given_up.append(seen(catalogue, one.id)[0].given_up)
        assert given_up == [False, False, gives_up]
        change(catalogue, one.id, updated_at=one.updated_at + timedelta(seconds=1))
        [changed] = seen(catalogue, one.id)
        assert not changed.given_up
        catalogue.migrations.hindered([(one.id, kind, "why", "what to do", changed.updated_at)])
        [again] = seen(catalogue, one.id)
        assert again.hindrance
        assert (again.hindrance.failures, again.given_up) == (1, False)

    def test_those_of_deleted_datasets_go_and_do_not_come_back(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        deleted, there = in_supabase(catalogue, user, 2)
        found = [(one.id, "unexpected", "why", "what to do", one.updated_at) for one in (deleted, there)]
        catalogue.migrations.hindered(found)  # type: ignore[arg-type]
        catalogue.datasets.delete(deleted.id, user, holder="a test", lease=NOW, buckets={})
        catalogue.migrations.hindered(found)  # type: ignore[arg-type]
        catalogue.migrations.hindered([])
        insert_as_the_application(catalogue, replace(new_dataset(user, id=deleted.id), copies=()))
        new, kept = sorted(seen(catalogue, deleted.id, there.id), key=lambda one: one.id != deleted.id)
        assert new.hindrance is None
        assert kept.hindrance
        assert kept.hindrance.failures == 2

    def test_many_that_note_at_once_count_every_failure(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = in_supabase(catalogue, user, 20)
        notes = [(one.id, "destination", "why", "what", one.updated_at) for one in found]
        orders: list[Any] = [notes, notes[::-1]]
        at_once(6, lambda n: catalogue.migrations.hindered(orders[n % 2]))
        assert {one.hindrance.failures for one in seen(catalogue, *(one.id for one in found)) if one.hindrance} == {6}


def _place(of: Any) -> dict[str, str]:
    return {name: getattr(of, name) for name in ("provider", "bucket", "path")}


COPY_EVERYTHING = """
import json, uuid
from moving_datasets import claimed, copies
from catalogues import LEASE
from trainmaster.catalog.candidates import Selection

user, holder, copied, after = uuid.UUID(sys.argv[3]), sys.argv[4], [], None
print("ready", flush=True)
sys.stdin.readline()
while page := catalogue.migrations.candidates(Selection(user_id=user), after=after, limit=20, only="copy"):
    held = claimed(catalogue, page, holder).held
    catalogue.migrations.renew(holder, LEASE)
    outcomes = catalogue.migrations.copied(copies(held, page), by=holder)
    copied += [str(claim.dataset_id) for claim, outcome in zip(held, outcomes) if outcome == "copied"]
    after = page[-1].id
print(json.dumps(copied))
"""
