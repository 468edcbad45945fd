"""What a run would do: every dataset counted once, limits and windows kept, costs exact, memory flat; and what people read of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import copy_of
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.hindrances import Hindrance
from trainmaster.migration.plan import Amount, Draft, MigrationPlan, Pace
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import BatchResult, Failure, MigrationResult

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USER = UUID(int=7)
MB = 10**6


def candidate(size_bytes: int | None = MB, **changed: Any) -> Candidate:
    id_, user = changed.pop("id", None) or uuid4(), changed.pop("user_id", USER)
    values: dict[str, Any] = {
        "name": "cats", "format": "chatml", "storage_provider": "supabase",
        "storage_path": f"{user}/private/{id_}.jsonl.gz", "created_at": NOON, "updated_at": NOON,
        "size_bytes": size_bytes,
    }  # fmt: skip
    return Candidate(id_, user, **values | changed)


def hindered(kind: Any = "source_missing", failures: int = 3, **changed: Any) -> Candidate:
    hindrance = Hindrance(kind, "It is not there", "Upload it again.", failures, NOON, NOON, NOON)
    return candidate(**{"hindrance": hindrance, **changed})


def in_s3(**changed: Any) -> Candidate:
    one = candidate(**changed)
    return replace(one, s3=copy_of(one.id, one.user_id, "s3", size_bytes=one.size_bytes or 0))


def planned(
    candidates: Iterable[Candidate],
    homeless: Mapping[UUID, str] | None = None,
    pace: Pace | None = None,
    now: datetime = NOON,
    **asked: Any,
) -> MigrationPlan:
    draft = Draft(MigrateDatasetsRequest.model_validate(asked), pace or Pace(), now)
    for one in candidates:
        draft.add(one, homeless or {})
    return draft.plan()


def test_each_dataset_is_counted_as_what_would_become_of_it() -> None:
    stranger = candidate(storage_path=f"{uuid4()}/private/x.jsonl.gz")
    plan = planned(
        [
            candidate(), candidate(None), hindered("source_unavailable", failures=9), hindered(failures=2),
            hindered(updated_at=NOON + timedelta(1)), hindered(), hindered("source_unsound"), stranger,
            candidate(storage_path=f"{USER}/../{uuid4()}/x.jsonl.gz"), in_s3(), candidate(storage_provider="s3"),
            *(candidate(user_id=UUID(int=8)) for _ in range(3)),
        ],
        {UUID(int=8): "S3 bucket 'eight' does not exist. Create it."},
    )  # fmt: skip
    assert plan.to_copy == plan.now == Amount(5, 4 * MB, 1)
    assert plan.copied.datasets == 2
    assert (plan.failed_before.amount.datasets, plan.given_up.amount.datasets) == (3, 2)
    assert plan.foreign.amount.datasets == 2
    assert plan.foreign.first[0].dataset_id == stranger.id
    assert (plan.homeless.users, plan.homeless.amount.datasets) == (1, 3)
    assert plan.homeless.first == ((UUID(int=8), "S3 bucket 'eight' does not exist. Create it.", 3),)
    assert plan.skipped == {"given_up": 2, "foreign": 2, "not_set_up": 3}
    assert (plan.datasets, plan.bytes, plan.unknown_sizes) == (5, 4 * MB, 1)


def test_a_recorded_copy_in_supabase_is_read_wherever_the_row_points() -> None:
    one = candidate(storage_path="elsewhere")
    assert planned([replace(one, supabase=copy_of(one.id, one.user_id))]).to_copy.datasets == 1


def test_what_was_given_up_is_tried_again_when_asked_for() -> None:
    assert planned([hindered()]).given_up.amount.datasets == 1
    assert planned([hindered()], retry_given_up=True).to_copy.datasets == 1


@pytest.mark.parametrize(
    ("asked", "taken", "why"),
    [
        ({"limit": 3}, 3, "the limit is 3 datasets"),
        ({"limit": 1}, 1, "the limit is 1 dataset"),
        ({"max_gigabytes": 0.0025}, 3, "the limit is 0.0025 GB"),  # the one with which it runs out is ended
        ({"max_gigabytes": 0.0025, "limit": 2}, 2, "the limit is 2 datasets and 0.0025 GB"),
        ({"limit": 9}, 9, ""),
        ({"window": "13:00-14:00"}, 0, "the time window 13:00-14:00 UTC is closed until 2026-11-21 13:00 UTC"),
        (
            {"window": "11:00-12:01", "megabytes_per_second": 0.05},
            3,
            "about as much as there is time for until 12:01 UTC",
        ),
        ({"window": "11:00-18:00"}, 9, ""),
        (
            {"max_minutes": 1, "megabytes_per_second": 0.05},
            3,
            "about as much as there is time for until 12:01 UTC",
        ),
        (
            {"max_minutes": 90, "window": "11:00-12:01", "megabytes_per_second": 0.05},
            3,
            "about as much as there is time for until 12:01 UTC",
        ),
        ({"max_minutes": 90}, 9, ""),
        (
            {"max_minutes": 90, "window": "13:00-14:00"},
            0,
            "the time window 13:00-14:00 UTC is closed until 2026-11-21 13:00 UTC",
        ),
    ],
)
def test_limits_and_the_window_cut_it_and_say_so(asked: dict[str, Any], taken: int, why: str) -> None:
    plan = planned([candidate() for _ in range(9)], **asked)
    assert (plan.to_copy.datasets, plan.now.datasets, plan.left_off) == (9, taken, why)


def test_a_dataset_larger_than_all_that_may_be_read_is_taken_alone() -> None:
    plan = planned([candidate(5_000 * MB), candidate()], max_gigabytes=1)
    assert plan.now == Amount(1, 5_000 * MB)


@given(st.lists(st.none() | st.integers(0, 5 * MB), max_size=30), st.none() | st.integers(1, 40), st.none() | st.integers(1, 60))  # fmt: skip
def test_what_is_taken_never_goes_beyond_a_limit_by_more_than_one_dataset(
    sizes: list[int | None], limit: int | None, megabytes: int | None
) -> None:
    plan = planned(
        [candidate(size) for size in sizes], limit=limit, max_gigabytes=None if megabytes is None else megabytes / 1000
    )
    assert plan.now.datasets <= min(plan.to_copy.datasets, limit or len(sizes))
    if megabytes:
        assert plan.now.bytes < megabytes * MB + 5 * MB
    assert bool(plan.left_off) is (plan.now.datasets < plan.to_copy.datasets)


@pytest.mark.parametrize(
    ("gigabytes", "gross", "beyond_quota"),
    [
        (0, "0.00", "0.00"),
        (1, "0.09", "0.00"),
        (250, "22.50", "0.00"),
        (1000, "90.00", "67.50"),
        (0.001, "0.01", "0.00"),
    ],
)
def test_egress_is_priced_exactly_with_and_without_what_is_included(
    gigabytes: float, gross: str, beyond_quota: str
) -> None:
    plan = planned([candidate(int(gigabytes * 1000 * MB))])
    assert (plan.egress_usd, plan.least_egress_usd) == (Decimal(gross), Decimal(beyond_quota))


def test_time_is_estimated_from_the_pace_and_the_cap() -> None:
    datasets = [candidate(100 * MB) for _ in range(10)]
    assert planned(datasets).seconds == pytest.approx(50.2)
    assert planned(datasets, pace=Pace(100e6, 12)).seconds == pytest.approx(10.2)
    assert planned(datasets, pace=Pace(100e6, 12), megabytes_per_second=10).seconds == pytest.approx(100.2)


def test_twenty_thousand_datasets_take_no_more_memory_than_one_thousand() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        made = (
            hindered(name=f"{n}", id=UUID(int=n + 1)) if n % 2 else candidate(id=UUID(int=n + 1)) for n in range(count)
        )
        plan = planned(made)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (plan.to_copy.datasets, plan.given_up.amount.datasets) == (count // 2, count // 2)
        assert len(plan.given_up.first) == 100
        return most

    peak(1_000)
    assert min(peak(20_000) for _ in range(3)) < peak(1_000) + 100_000  # threads of other tests allocate now and then


class TestWords:
    def test_a_plan_on_a_terminal(self) -> None:
        cats = hindered("source_unavailable", name="cats\x1b[2J", id=UUID(int=1))
        dogs = hindered(name="dogs", id=UUID(int=2))
        plan = planned(
            [cats, dogs, candidate(2_000 * MB), candidate(None), in_s3(), candidate(user_id=UUID(int=8))],
            {UUID(int=8): "S3 bucket 'eight' does not exist. Create it."},
            pace=Pace(40e6, 812), megabytes_per_second=25, limit=2, dry_run=True,
        )  # fmt: skip
        assert plan.text() == (
            "Plan: copy from Supabase to S3\n"
            "\n"
            "To copy          3 datasets, 2.0 GB and 1 of unknown size\n"
            "In this run      2 datasets, 2.0 GB: the limit is 2 datasets\n"
            "In S3 already    1 dataset, 1.0 MB; no byte of them is moved\n"
            "Failed before    1 dataset, 1.0 MB; among those to copy\n"
            "Given up         1 dataset, 1.0 MB; left out until they change, or retry_given_up is asked for\n"
            "Not set up       1 user without a bucket: 1 dataset, 1.0 MB, left out\n"
            "Takes            about 80 s at 40.0 MB/s, as the last 812 datasets were copied, capped at 25.0 MB/s\n"
            "Supabase egress  $0.19 at $0.09 per GB; nothing as long as the 250 GB a month that Pro and Team include cover it\n"
            "\n"
            "Failed before: 1\n"
            "  cats\\x1b[2J (00000000-0000-0000-0000-000000000001): source unavailable. It is not there. Upload it again.\n"
            "\n"
            "Given up: 1\n"
            "  dogs (00000000-0000-0000-0000-000000000002): source missing. It is not there. Upload it again.\n"
            "\n"
            "Users without a bucket: 1\n"
            "  User 00000000-0000-0000-0000-000000000008: 1 dataset. S3 bucket 'eight' does not exist. Create it.\n"
            "\n"
            "A dry run: nothing was changed.\n"
        )
        assert plan.sentence() == (
            "To copy: 2 datasets, 2.0 GB of 3 datasets (the limit is 2 datasets), in about 80 s, for at most $0.19 of"
            " Supabase egress; 1 in S3 already; 1 left out (given up); 1 left out (not set up)."
        )

    def test_nothing_to_copy(self) -> None:
        assert planned([in_s3()]).sentence() == "Nothing to copy now; 1 dataset in S3 already."
        assert "Takes            no time\nSupabase egress  $0\n" in planned([]).text()

    def test_nothing_that_people_wrote_is_markup(self) -> None:
        shown = planned([hindered("conflict", name="<script>|*x*", id=UUID(int=1))]).markdown()
        assert "- \\<script\\>\\|\\*x\\* (00000000-0000-0000-0000-000000000001): conflict. It is not there." in shown
        assert "| To copy | 1 dataset, 1.0 MB |" in shown
        assert "## Failed before: 1" in shown

    def test_what_to_do_about_a_dataset_that_was_asked_for_and_is_in_s3_already(self) -> None:
        one = in_s3()
        plan = planned([one], dataset_ids=[str(one.id)])
        note = (
            "What is in S3 already is not copied again. Where Supabase's object was replaced since, run phase rollback for that"
            " dataset (its id in dataset_ids) with take_newer, then phase copy."
        )
        assert plan.text().endswith(f"\n\n{note}\n")
        assert MigrationResult.of(plan, [], seconds=1).sentence().endswith(note)
        assert note not in planned([one]).text()

    def test_more_than_a_hundred_are_counted(self) -> None:
        assert "  … and 20 more\n" in planned(hindered() for _ in range(120)).text()

    def test_a_result(self) -> None:
        failed = Failure(UUID(int=1), "cats", "source_missing", "There is nothing.", "Upload it again.")
        homeless = Failure(UUID(int=2), "dogs", "not_set_up", "There is no bucket.", "Create it.")
        first = BatchResult(
            1, NOON, NOON + timedelta(seconds=10), copied=3, adopted=1, bytes=300 * MB, bytes_read=200 * MB
        )
        second = BatchResult(
            2, NOON, NOON, found=1, under_way=2, gone=1, failures=(failed, homeless), others_seconds=119.6
        )
        plan = planned([in_s3(), hindered(), candidate()], limit=5)
        result = MigrationResult.of(plan, iter([first, second]), seconds=10)
        assert result.status == "completed_with_failures"
        assert result.sentence() == (
            "3 datasets copied (300 MB, 1 of them sent by a run that died), 2 in S3 before, 2 in the hands of others, 1 deleted"
            " meanwhile, 1 failed, 1 left out (given up), 1 left out (not set up) in 10 s, 30.0 MB/s. Others are at 2 datasets; their"
            " claims run out in at most 2 min 0 s unless renewed: run it again then."
        )
        assert result.text() == (
            "Migration: completed with failures\n"
            "\n"
            "Copied              3 datasets, 300 MB, 1 of them sent by a run that died\n"
            "Read from Supabase  200 MB\n"
            "In S3 before        2 datasets\n"
            "Left to others      others are at 2 datasets; their claims run out in at most 2 min 0 s unless renewed: run it again"
            " then\n"
            "Deleted meanwhile   1 dataset\n"
            "Failed              1 source missing\n"
            "Left out            1 given up, 1 not set up\n"
            "Took                10 s, 30.0 MB/s\n"
            "\n"
            "Not copied: 3\n"
            "  cats (00000000-0000-0000-0000-000000000001): source missing. There is nothing. Upload it again.\n"
            "  dogs (00000000-0000-0000-0000-000000000002): not set up. There is no bucket. Create it.\n"
            "  … and 1 more\n"
        )
        assert result.table()[0] == {
            "Dataset": str(UUID(int=1)), "Name": "cats", "Outcome": "source missing",
            "Why": "There is nothing.", "What to do": "Upload it again.",
        }  # fmt: skip
        assert "| Copied | 3 datasets" in result.markdown()
        assert first.sentence() == (
            "Batch 1: 3 datasets copied (300 MB, 1 of them sent by a run that died) in 10 s, 30.0 MB/s."
        )

    @pytest.mark.parametrize(
        ("changed", "status", "said"),
        [
            ({}, "completed", "0 datasets copied (0 bytes) in 0.0 s, 0.0 MB/s."),
            (
                {"ended_early": "S3 is full. Make room."},
                "ended_early",
                "Ended early: S3 is full. Make room. 0 datasets",
            ),
            ({"stopped": True}, "stopped", "Stopped. 0 datasets copied"),
            (
                {"left_off": "the time window is closed"},
                "completed",
                "The next run goes on: the time window is closed.",
            ),
        ],
    )
    def test_an_end_before_all_was_done_is_said(self, changed: dict[str, Any], status: str, said: str) -> None:
        result = MigrationResult.merged([BatchResult(1, NOON, NOON, **changed)], seconds=0)
        assert (result.status, said in result.sentence()) == (status, True)

    @pytest.mark.parametrize(
        ("asked", "hour", "copied", "left_off"),
        [
            ({"limit": 2}, 12, 2, "the limit is 2 datasets"),
            ({"limit": 9}, 12, 5, ""),
            ({"window": "11:00-13:00"}, 13, 3, "the time window 11:00-13:00 UTC is closed"),
            ({"window": "11:00-12:01", "megabytes_per_second": 0.05}, 12, 5, ""),  # faster than was thought
            ({"window": "11:00-13:00", "limit": 2}, 12, 2, "the limit is 2 datasets"),
            ({"max_minutes": 60}, 13, 3, "60 minutes were asked for at most"),
            ({"max_minutes": 61}, 13, 5, ""),
            ({"max_minutes": 0.5, "window": "11:00-13:00"}, 13, 3, "0.5 minutes were asked for at most"),
            ({"max_minutes": 1, "limit": 2}, 13, 2, "1 minute was asked for at most"),
            ({}, 12, 4, ""),  # one was deleted since
        ],
    )
    def test_why_datasets_are_left_is_told_from_what_became_of_them(
        self, asked: dict[str, Any], hour: int, copied: int, left_off: str
    ) -> None:
        plan = planned([candidate() for _ in range(5)], **asked)
        done = [BatchResult(1, NOON, NOON, copied=copied)]
        result = MigrationResult.of(plan, done, seconds=1, now=NOON.replace(hour=hour))
        assert (result.left_off, result.status) == (left_off, "completed")

    def test_a_run_that_left_everything_to_others_says_so_first_and_when_to_come_again(self) -> None:
        theirs = BatchResult(1, NOON, NOON, under_way=1, others_seconds=100)
        result = MigrationResult.of(planned([candidate()]), [theirs], seconds=1)
        first = "others are at 1 dataset; their claims run out in at most 100 s unless renewed: run it again then"
        assert (result.status, result.not_done) == ("left_to_others", 0)
        assert result.text().splitlines()[0] == f"Migration: {first}"
        assert result.sentence().startswith("Left to others. 0 datasets copied")

    def test_what_was_asked_for_by_id_and_not_done_is_named_with_what_to_do(self) -> None:
        lost, homeless = hindered(name="cats"), candidate(name="dogs", user_id=UUID(int=8))
        theirs = [BatchResult(1, NOON, NOON, under_way=1, others_seconds=5)]
        asked = [str(lost.id), str(homeless.id), str(uuid4())]
        plan = planned([lost, homeless, candidate()], {UUID(int=8): "There is no bucket."}, dataset_ids=asked)
        result = MigrationResult.of(plan, theirs, seconds=1)
        assert (result.status, result.not_done) == ("completed_with_failures", 3)
        assert [one.name for one in result.failures] == ["cats", "dogs"]
        assert "Upload it again. Given up until its row changes, or retry_given_up" in result.text()
        assert MigrationResult.of(planned([lost]), [], seconds=1).not_done == 0

    def test_a_rehearsal_changes_nothing(self) -> None:
        result = MigrationResult.of(planned([candidate()], dry_run=True), [], seconds=0)
        assert (result.status, result.sentence()) == ("planned", "Only planned: nothing was changed.")

    def test_failures_are_named_up_to_a_hundred_and_all_counted(self) -> None:
        failed = tuple(Failure(uuid4(), "x", "conflict", "", "") for _ in range(70))
        result = MigrationResult.merged((BatchResult(n, NOON, NOON, failures=failed) for n in range(3)), seconds=1)
        assert (len(result.failures), result.failures_count, result.failed) == (100, 210, {"conflict": 210})
        assert MigrationResult.model_validate_json(result.model_dump_json()) == result
