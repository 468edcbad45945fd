"""A migration as the Prefect UI starts it: planned, copied, promoted, pruned and rolled back, and what its run shows of that."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest
from depot import Depot, artifacts, cells, log

from benchmarks.scale_out import CountingProxy
from trainmaster.datasets.formats import Format
from trainmaster.errors import MigrationEndedError, NotConfiguredError
from trainmaster.migration.request import FormatChoice, MigrateDatasetsRequest


@pytest.fixture
def depot(stack: Any) -> Depot:
    return Depot(stack)


class TestCopying:
    def test_a_dry_run_says_what_there_is_to_do_and_what_it_costs_and_does_nothing(self, depot: Depot) -> None:
        depot.stock(3)
        state = depot.run(dry_run=True)
        assert state.result().status == "planned"
        shown = artifacts(state)
        assert list(shown) == ["migration-plan"]
        assert "3 datasets" in str(shown["migration-plan"].data)
        assert "egress" in str(shown["migration-plan"].data)
        assert "3 datasets" in log(state)
        assert depot.in_s3() == set()

    def test_all_are_copied_and_shown_and_a_second_run_moves_no_byte(
        self, depot: Depot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        depot.stock(12)
        with CountingProxy(depot.settings.required("supabase_url")) as proxy:
            monkeypatch.setenv("SUPABASE_URL", proxy.url)
            state = depot.run()
            done = state.result()
            assert (done.copied, done.failures, done.status) == (12, (), "completed")
            assert len(depot.in_s3()) == 12
            assert {frozenset(depot.copies(row.id)) for row in depot.rows()} == {frozenset({"supabase", "s3"})}
            assert {row.storage_provider for row in depot.rows()} == {"supabase"}
            assert set(proxy.fetched.values()) == {1}

            again = depot.run().result()
            assert (again.copied, again.found) == (0, 12)
            assert sum(proxy.fetched.values()) == 12
        shown = artifacts(state)
        assert set(shown) == {"migration-plan", "migration-progress", "summary"}
        assert shown["migration-progress"].data == 100.0
        assert "data:image/png;base64,iVBOR" in str(shown["summary"].data)
        assert "12 datasets" in str(shown["summary"].data)
        said = log(state) + str(shown)
        assert depot.settings.required("supabase_service_role_key") not in said
        assert done.sentence() in said

    def test_what_cannot_be_copied_is_listed_with_what_to_do_and_tried_again_by_the_next_run(
        self, depot: Depot
    ) -> None:
        depot.stock(4)
        lost, unsound, *_ = depot.rows()
        depot.remove(lost.storage_path)
        depot.put(unsound.storage_path, b"not gzip at all")
        state = depot.run()
        assert (state.type.value, state.name) == ("COMPLETED", "CompletedWithFailures")
        assert "2 failed" in str(state.message)
        assert state.result().copied == 2
        failures = {row["Dataset"].replace("\\", ""): row for row in cells(artifacts(state)["migration-failures"])}
        assert set(failures) == {str(lost.id), str(unsound.id)}
        assert all(row["Why"] and row["What to do"] for row in failures.values())

        for row in (lost, unsound):
            depot.put(row.storage_path, gzip.compress(b"{}\n"))
        mended = depot.run()
        assert (mended.name, mended.result().copied) == ("Completed", 2)

    def test_a_limit_ends_it_and_the_next_run_goes_on(self, depot: Depot) -> None:
        depot.stock(5)
        first, second = (depot.run(limit=3) for _ in range(2))
        assert [one.result().copied for one in (first, second)] == [3, 2]
        assert "goes on" in str(first.result().sentence())

    def test_its_time_ends_it_in_the_middle_of_a_batch_and_the_next_run_goes_on(self, depot: Depot) -> None:
        depot.stock(5)
        state = depot.run(max_minutes=0.05, megabytes_per_second=0.00001, workers=1)
        done = state.result()
        assert (state.name, done.failures, done.copied < 5) == ("Completed", (), True)
        assert "The next run goes on: 0.05 minutes were asked for at most." in done.sentence()
        assert depot.run().result().copied == 5 - done.copied

    def test_nothing_begins_outside_the_window(self, depot: Depot) -> None:
        depot.stock(2)
        opens = datetime.now(UTC) + timedelta(hours=3)
        state = depot.run(window=f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}")
        done = state.result()
        assert (state.name, done.copied) == ("Completed", 0)
        assert "closed" in done.sentence()
        assert depot.in_s3() == set()

    def test_a_destination_that_is_gone_ends_it_with_what_to_do_and_all_it_has_to_show(
        self, depot: Depot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Gone after the plan: with the first fetch."""
        depot.stock(150)
        s3, bucket = depot.stack.client("s3"), f"gone-{uuid4().hex}"
        s3.create_bucket(Bucket=bucket)

        class Removing(CountingProxy):
            def _count(self, paths: Sequence[bytes]) -> None:
                super()._count(paths)
                if paths and first.acquire(blocking=False):
                    s3.delete_bucket(Bucket=bucket)

        first = threading.Semaphore()
        monkeypatch.setenv("TRAINMASTER_BUCKET", bucket)
        with Removing(depot.settings.required("supabase_url")) as proxy:
            monkeypatch.setenv("SUPABASE_URL", proxy.url)
            state = depot.run(workers=1)
        assert state.type.value == "FAILED"
        with pytest.raises(MigrationEndedError, match=bucket) as ended:
            state.result()
        assert "0 datasets copied" in str(ended.value)
        shown = artifacts(state)
        assert {"migration-plan", "migration-progress", "summary"} <= set(shown)
        assert len(proxy.fetched) < 150
        assert {frozenset(depot.copies(row.id)) for row in depot.rows()} == {frozenset()}

    def test_nothing_is_planned_where_supabase_is_not_set_up(
        self, depot: Depot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        depot.stock(1)
        monkeypatch.delenv("SUPABASE_SERVICE_ROLE_KEY")
        with pytest.raises((NotConfiguredError, MigrationEndedError), match="SUPABASE_SERVICE_ROLE_KEY is not set"):
            depot.run().result()


class TestLaterPhases:
    def test_readers_go_to_s3_supabase_is_cleared_and_all_is_brought_back(self, depot: Depot) -> None:
        depot.stock(3)
        depot.run()
        promoted = depot.run(phase="promote")
        assert promoted.result().datasets == 3
        assert {row.storage_provider for row in depot.rows()} == {"s3"}
        assert "promoted" in str(artifacts(promoted)["summary"].data)

        planned = depot.run(phase="prune", grace_days=0)  # only says so, unless told otherwise
        assert (planned.result().rehearsed, planned.result().datasets) == (True, 3)
        assert list(artifacts(planned)) == ["migration-plan"]
        [path, *_] = [f"{depot.user_id}/private/{row.id}.jsonl.gz" for row in depot.rows()]
        assert depot.in_supabase(path)

        pruned = depot.run(phase="prune", grace_days=0, dry_run=False)
        assert pruned.result().datasets == 3
        assert not depot.in_supabase(path)
        assert {frozenset(depot.copies(row.id)) for row in depot.rows()} == {frozenset({"s3"})}

        assert depot.run(phase="rollback").result().datasets == 3
        assert depot.in_supabase(path)
        assert {row.storage_provider for row in depot.rows()} == {"supabase"}

    def test_a_grace_period_that_is_not_over_prunes_nothing(self, depot: Depot) -> None:
        depot.stock(1)
        for phase in ("copy", "promote"):
            depot.run(phase=phase)
        pruned = depot.run(phase="prune", dry_run=False).result()
        assert (pruned.datasets, sum(pruned.left.values())) == (0, 1)
        assert depot.in_supabase(f"{depot.user_id}/private/{depot.rows()[0].id}.jsonl.gz")


def test_the_form_offers_every_format_and_says_what_is_wrong_with_a_window() -> None:
    assert get_args(FormatChoice) == ("any", *Format)
    fields = MigrateDatasetsRequest.model_json_schema()["properties"]
    assert list(fields)[:2] == ["phase", "dry_run"]
    assert fields["phase"]["enum"] == ["copy", "promote", "prune", "rollback"]
    with pytest.raises(ValueError, match="no time zone 'Berlin'"):
        MigrateDatasetsRequest(timezone="Berlin")
