"""Jobs that no flow run follows are followed by the sweep: rows, last lines, progress, bills and stops; with real jobs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from lasting_jobs import BRIEF, LASTING, WITHIN, described, job_plan, put_data

from trainmaster.catalog.deployments import Deployment
from trainmaster.training import log_sweep
from trainmaster.training.desk import Desk
from trainmaster.training.launching import launch_training
from trainmaster.training.log_sweep import GROUP, GroupReader
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.sweeping import Sweep, SweptJob, jobs_to_follow, read_logs, tend_jobs

TALKING = "import time; print('epoch 1/4, loss=0.5'); print('step 10 of 40', flush=True); time.sleep(600)"


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    put_data(embedded)


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def sagemaker(embedded: Any) -> Any:
    return embedded.client("sagemaker")


@pytest.fixture
def launched(desk: Desk, sagemaker: Any, embedded: Any) -> Iterator[Callable[..., TrainingPlan]]:
    """Launches a job and waits until it trains or has ended; what still runs when the test ends is stopped."""
    plans: list[TrainingPlan] = []

    def launch(script: str = LASTING, *, run: str = "", **choices: Any) -> TrainingPlan:
        plans.append(job_plan(embedded, script, **choices))
        launch_training(desk, plans[-1], run=run)
        described(sagemaker, plans[-1].job_name, "Training", "Completed")
        return plans[-1]

    yield launch
    for plan in plans:
        if sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobStatus"] == "InProgress":
            sagemaker.stop_training_job(TrainingJobName=plan.job_name)


def row_of(desk: Desk, plan: TrainingPlan) -> Deployment:
    found = desk.deployments.find(plan.job_name)
    assert found
    return found


def read_until(desk: Desk, plan: TrainingPlan, line: str) -> list[str]:
    """The job's last lines in its row, once one of them is this."""
    deadline = time.monotonic() + WITHIN
    while True:
        read_logs(desk, {plan.job_name})
        found = (row_of(desk, plan).logs or "").splitlines()
        if line in found:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


class TestWhichJobs:
    @pytest.mark.parametrize(
        ("states", "is_followed_here"),
        [
            ({"a": "RUNNING"}, False),
            ({"a": "PAUSED"}, False),
            ({"a": "SCHEDULED", "b": "CANCELLED"}, False),
            ({"a": "CRASHED"}, True),
            ({"a": "COMPLETED", "b": "FAILED"}, True),
            ({}, True),
        ],
    )  # fmt: skip
    def test_those_whose_flow_runs_have_all_ended(
        self, desk: Desk, launched: Any, states: Mapping[str, str], is_followed_here: bool
    ) -> None:
        plan = launched(run="a")
        desk.deployments.join(row_of(desk, plan).id, "b")
        assert list(jobs_to_follow(desk, lambda _: states)) == ([plan.job_name] if is_followed_here else [])

    def test_those_that_were_handed_over_whatever_became_of_their_run(self, desk: Desk, launched: Any) -> None:
        plan = launched(run="a")
        desk.deployments.change(row_of(desk, plan).id, handed_over=True)
        assert list(jobs_to_follow(desk, lambda _: {"a": "RUNNING"})) == [plan.job_name]

    def test_none_of_another_region(self, desk: Desk, embedded: Any, launched: Any) -> None:
        launched()
        with desk_at(desk.settings.state_dir, {**embedded.environment, "AWS_REGION": "eu-west-1"}) as elsewhere:
            assert list(jobs_to_follow(elsewhere, lambda _: {})) == []


class TestOneLook:
    def test_one_that_ended_is_settled_with_the_last_lines_of_its_log(
        self, desk: Desk, sagemaker: Any, launched: Any
    ) -> None:
        done, at_work = launched(BRIEF), launched()
        described(sagemaker, done.job_name, "Completed")
        swept = {one.job: one for one in tend_jobs(desk, [done.job_name, at_work.job_name])}
        assert swept[done.job_name].status == "completed (Completed)"
        assert swept[done.job_name].billed.startswith("$0.00")
        assert swept[done.job_name].said == "settle: it ended Completed (by Trainmaster)"
        assert swept[at_work.job_name].status == "training (Training)"
        assert row_of(desk, done).has_ended
        assert row_of(desk, done).logs == "r2=0.75;"

    def test_one_that_was_cancelled_is_stopped(self, desk: Desk, sagemaker: Any, launched: Any) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, status="cancelled")
        [swept] = tend_jobs(desk, [plan.job_name])
        assert swept.said == "stop: its deployment was set to cancelled (by the application)"
        assert described(sagemaker, plan.job_name, "Stopping", "Stopped")

    def test_one_that_cannot_be_looked_at_keeps_no_other_from_it(
        self, desk: Desk, embedded: Any, launched: Any
    ) -> None:
        plans = [launched() for _ in range(3)]
        sagemaker = embedded.client("sagemaker")

        def refuse(params: Any, **_: Any) -> None:
            if plans[0].job_name.encode() in params["body"]:
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Not yours."}}, "DescribeTrainingJob")

        sagemaker.meta.events.register("before-call.sagemaker.DescribeTrainingJob", refuse)
        names = [plan.job_name for plan in plans]
        refusing = replace(desk, client=lambda service: sagemaker if service == "sagemaker" else desk.client(service))
        swept = list(tend_jobs(refusing, names))
        assert [one.failed for one in swept] == [True, False, False]
        sweep = Sweep()
        sweep.add(swept)
        assert len(sweep.failures) == 1
        assert "Not yours." in sweep.failures[0]

    def test_one_whose_launch_is_under_way_is_left_to_it(self, desk: Desk) -> None:
        [swept] = tend_jobs(desk, ["not-there-yet"])
        assert (swept.status, swept.failed) == ("not launched yet", False)

    def test_of_very_many_the_table_keeps_those_something_is_to_be_said_of(self) -> None:
        sweep = Sweep()
        sweep.add([SweptJob(job=f"job-{n}", status="training") for n in range(700)])
        sweep.add(
            [SweptJob(job="stopped", status="stopping", said="stop"), SweptJob(job="bad", status="?", failed=True)]
        )
        assert [one.job for one in sweep.jobs][:2] == ["bad", "stopped"]
        assert (len(sweep.table()), sweep.left) == (500, 202)
        assert sweep.sentence() == "702 jobs followed, 0 new lines of their logs."


class TestLogs:
    def test_new_lines_are_put_into_the_row_once_with_the_progress_they_tell(self, desk: Desk, launched: Any) -> None:
        plan, other = launched(TALKING), launched()
        lines = read_until(desk, plan, "step 10 of 40")
        assert lines == ["epoch 1/4, loss=0.5", "step 10 of 40"]
        assert row_of(desk, other).logs is None  # nobody asked for it
        progress = row_of(desk, plan).job.progress
        assert (progress["epoch"], progress["loss"], progress["step"]) == (1, 0.5, 10)
        again = read_logs(desk, {plan.job_name})
        assert (again.lines, again.calls, again.is_behind) == (0, 1, False)
        assert (row_of(desk, plan).logs or "").splitlines() == lines

    def test_each_line_comes_once_over_sweeps_pages_and_lines_of_one_millisecond(
        self, desk: Desk, embedded: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Five streams write to one group, ten lines a millisecond each, while it is read a few at a time."""
        logs, name = embedded.client("logs"), uuid.uuid4().hex[:8]
        streams, group = [f"swept-{name}-{n}/algo-1-1" for n in range(5)], f"/swept/{name}"
        put_stream(logs, streams, group)
        monkeypatch.setattr(log_sweep, "GROUP", group)  # in that of all jobs lie the lines of all tests before this one
        small = _Paged(embedded.client("logs"), 7)
        reading = replace(desk, client=lambda _: small)
        monkeypatch.setattr(log_sweep, "MOST_PAGES", 20)
        written: list[str] = []
        read: list[str] = []
        for turn in range(6):
            now = int(time.time() * 1000)
            for stream in streams:
                events = [{"timestamp": now, "message": f"{stream} {turn} {n}"} for n in range(10)]
                logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
                written += [event["message"] for event in events]
            read += self.ours(reading, streams)
        deadline = time.monotonic() + WITHIN
        while len(read) < len(written):
            assert time.monotonic() < deadline, len(read)
            read += self.ours(reading, streams)
        assert sorted(read) == sorted(written)
        assert self.ours(reading, streams) == []

    def test_a_page_that_was_not_dealt_with_is_read_again(self, desk: Desk, embedded: Any) -> None:
        logs, stream = embedded.client("logs"), f"again-{uuid.uuid4().hex[:8]}/algo-1-1"
        put_stream(logs, [stream])
        events = [{"timestamp": int(time.time() * 1000), "message": "said"}]
        logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
        for page in GroupReader(desk).new_lines():
            assert any(line.text == "said" for line in page)
            break
        assert self.ours(desk, [stream]) == ["said"]
        assert self.ours(desk, [stream]) == []

    def test_each_region_is_read_on_from_where_it_was_read_to(self, desk: Desk, embedded: Any) -> None:
        there = {**embedded.environment, "AWS_REGION": "eu-west-1"}
        stream, now = f"regions-{uuid.uuid4().hex[:8]}/algo-1-1", int(time.time() * 1000)
        with desk_at(desk.settings.state_dir, there) as elsewhere:
            for one, at in ((desk, now), (elsewhere, now - 5 * 60_000)):
                put_stream(one.client("logs"), [stream])
                events = [{"timestamp": at, "message": one.settings.region}]
                one.client("logs").put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
            for one in (desk, elsewhere):
                assert self.ours(one, [stream]) == [one.settings.region]
                assert self.ours(one, [stream]) == []

    @staticmethod
    def ours(desk: Desk, streams: list[str]) -> list[str]:
        return [line.text for page in GroupReader(desk).new_lines() for line in page if line.stream in streams]


def put_stream(logs: Any, streams: list[str], group: str = GROUP) -> None:
    for stream in streams:
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName=stream)


class _Paged:
    """A client of logs whose searches answer a few events at a time."""

    def __init__(self, logs: Any, size: int) -> None:
        self._logs, self._size = logs, size

    def filter_log_events(self, **search: Any) -> Any:
        return self._logs.filter_log_events(**search, limit=self._size)
