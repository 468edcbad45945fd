"""`trainmaster train plan|start|status|logs|stop|list`, as a user types them, on the embedded AWS, without a Prefect server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws
from train_shell import COMMAND, PATIENCE, Said, in_a_terminal
from training_configs import Bench, bench_at

from trainmaster import cli
from trainmaster.budget.budgets import Budget

HOUSES = (Path(__file__).parents[2] / "model" / "data" / "house_data.csv").read_bytes()
LINES = """
import time
for number in range(1, 2000):
    print(f"line {number} of 2000", flush=True)
    time.sleep(0.1)
"""
"""Writes for longer than any of these tests, so that it has to be stopped."""


@pytest.fixture(scope="module")
def bench(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_at(tmp_path_factory.mktemp("train-command"), embedded.environment) as bench:
        yield bench


@pytest.fixture(scope="module")
def environment(client_environment: dict[str, str], bench: Bench) -> dict[str, str]:
    """That of a user in a shell of her own."""
    state = {"TRAINMASTER_STATE_DIR": str(bench.shelves.settings.state_dir), "TRAINMASTER_USER_ID": str(bench.user_id)}
    return {**client_environment, **state}


@pytest.fixture
def train(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """In this process, since loading everything takes seconds."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Said:
        try:
            code = cli.main(["train", *arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """In a process of its own that may be interrupted and killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def houses(bench: Bench) -> str:
    """Where there is a table to train on."""
    folder = f"train-command-{uuid4().hex[:8]}"
    bench.desk.client("s3").put_object(Bucket=bench.bucket, Key=f"{folder}/houses.csv", Body=HOUSES)
    return f"s3://{bench.bucket}/{folder}/"


@pytest.fixture(scope="module")
def quick(bench: Bench) -> str:
    """A training config whose job is done in no time."""
    return bench.config({"trainer": bench.program("print('done')")}, [bench.dataset("quick")], name="is quick")


@pytest.fixture(scope="module")
def writer(bench: Bench) -> str:
    """A training config whose job writes to its log until it is stopped."""
    return bench.config({"trainer": bench.program(LINES)}, [bench.dataset("lines")], name="writes lines")


@dataclass(frozen=True)
class Trained:
    """How a model of house prices came to be, in processes of their own."""

    job: str
    asked: list[str]
    planned: Said
    started: Said
    again: Said


@pytest.fixture(scope="module")
def trained(environment: dict[str, str], houses: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    asked = ["--data-uri", houses, "--model-name", a_new_name(), "--max-runtime-seconds", "3600", "--budget-limit", "1"]
    folder = tmp_path_factory.mktemp("shell")

    def run(*arguments: str) -> Said:
        ended = subprocess.run(
            [*COMMAND, *arguments, *asked],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return Said(ended.returncode, ended.stdout, ended.stderr)

    planned, started, again = run("plan"), run("start", "--follow"), run("start")
    assert started.code == 0, started.err
    found = re.search(r"Training job (\S+) launched\.", started.out)
    assert found, started.out
    return Trained(found[1], asked, planned, started, again)


@pytest.fixture
def job(trained: Trained) -> str:
    """One that has completed."""
    return trained.job


def a_new_name() -> str:
    return f"cli-{uuid4().hex[:8]}"


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def jobs_named(embedded: EmbeddedAws, name: str) -> list[str]:
    found = embedded.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    return [job["TrainingJobName"] for job in found]


def test_from_a_plan_to_a_model_in_processes_of_their_own(embedded: EmbeddedAws, trained: Trained) -> None:
    job, planned, started, again = trained.job, trained.planned, trained.started, trained.again
    assert planned.code == 0, planned.err
    assert "At worst" in planned.out
    assert job in planned.out
    shown = (f"#/jobs/{job}", f"trainmaster train stop {job}", "r2=", f"{job}: completed", "billed of", "model.tar.gz")
    assert [said for said in shown if said not in started.out] == []
    assert started.err.count(f"{job}: Training, ") == 1  # off a terminal each state is told once
    assert "Traceback" not in started.err
    assert (again.code, jobs_named(embedded, job.rsplit("-", 2)[0])) == (0, [job])
    assert f"{job} was launched before; it is the same job" in again.out


class TestPlan:
    def test_nothing_is_launched_written_or_reserved(
        self, train: Callable[..., Said], embedded: EmbeddedAws, bench: Bench, houses: str
    ) -> None:
        def left() -> tuple[list[str], int, int]:
            tally: dict[str, int] = embedded.control("GET", "tally")["calls"]
            changing = [
                name for name in tally if not name.startswith(("Describe", "List", "Get", "Head", "POST", "GET"))
            ]
            objects = bench.desk.client("s3").list_objects_v2(Bucket=bench.bucket)["KeyCount"]
            rows = len(list(bench.desk.deployments.open_jobs())) + len(bench.desk.ledger.open_reservations())
            return sorted(f"{name} {tally[name]}" for name in changing), objects, rows

        before = left()
        planned = train("plan", "--data-uri", houses, "--model-name", a_new_name(), "--json")
        assert planned.code == 0, planned.err
        assert left() == before
        plan = planned.json
        assert plan["create_training_job"]["TrainingJobName"] == plan["job_name"]
        assert {"worst_case_usd", "likely_usd", "budgets", "quotas", "notes"} < set(plan)

    def test_the_request_is_shown_when_it_is_asked_for(self, train: Callable[..., Said], houses: str) -> None:
        asked = ["plan", "--data-uri", houses, "--model-name", a_new_name()]
        short, whole = train(*asked), train(*asked, "--show-request")
        assert "StoppingCondition" not in short.out
        assert json.loads(whole.out.split("CreateTrainingJob", 1)[1])["StoppingCondition"]
        assert whole.out.startswith(short.out.rstrip("\n"))

    def test_everything_that_is_wrong_is_told_at_once_and_what_to_do(self, train: Callable[..., Said]) -> None:
        wrong = ["--data-uri", "s3://there-is-no-such-bucket/x/", "--instance-type", "ml.nope", "--subnets", "subnet-1"]
        wrong += ["--hyperparameters", "api_key=sk-0123456789abcdef0123", "--max-wait-seconds", "60"]
        refused = train("plan", *wrong)
        assert (refused.code, refused.out) == (1, "")
        for said in ("was not launched", "\n  1. ", "\n  5. ", "'ml.nope'", "subnet-1", "api_key", "max_wait_seconds"):
            assert said in refused.err
        assert "sk-0123456789abcdef0123" not in refused.err
        problems = train("plan", *wrong, "--json").json["problems"]
        assert {"instance_type", "network", "secret", "spot", "datasets"} <= {one["kind"] for one in problems}
        assert all(one["remedy"] for one in problems)

    def test_what_is_typed_wrongly_is_told_by_its_option(self, train: Callable[..., Said]) -> None:
        for arguments, said in (
            (["--instance-count", "0"], "--instance-count cannot be '0': give 1 to 20."),
            (["--budget-limit", "much"], "--budget-limit cannot be 'much': give US dollars, such as 12.50."),
            (["--environment", "NAME"], "'NAME' is not KEY=VALUE"),
            (["--on-over-budget", "beg"], "cannot be 'beg': choose"),
            (["--request", "/not/there.json"], "--request /not/there.json: No such file"),
            (["--user", "me"], "--user cannot be 'me'"),
        ):
            refused = train("plan", *arguments)
            assert (refused.code, refused.out) == (2, ""), refused
            assert said in refused.err


class TestStart:
    def test_twice_is_once(self, train: Callable[..., Said], embedded: EmbeddedAws, bench: Bench, quick: str) -> None:
        name = a_new_name()
        asked = ["start", "--training-config-id", quick, "--model-name", name, "--json"]
        first, second = train(*asked), train(*asked)
        assert (first.code, first.json["launch"]) == (0, "created"), first.err
        assert second.json["launch"] == "found"
        job = first.json["job_name"]
        assert (second.json["job_name"], jobs_named(embedded, name)) == (job, [job])
        assert bench.desk.deployments.find(job).job.handed_over  # type: ignore[union-attr]

    def test_a_request_in_a_file_is_as_good_and_options_go_before_it(
        self, train: Callable[..., Said], houses: str, tmp_path: Path
    ) -> None:
        file, name = tmp_path / "request.json", a_new_name()
        file.write_text(
            json.dumps({"data_uri": houses, "model_name": name, "budget_limit": "2.00", "tags": {"a": "b"}})
        )
        plan = train("plan", "--request", str(file), "--budget-limit", "1", "--tags", "c=d", "--json").json
        assert plan["budget_limit_usd"] == "1.00"
        tags = {one["Key"]: one["Value"] for one in plan["create_training_job"]["Tags"]}
        assert (tags["a"], tags["c"]) == ("b", "d")

    def test_a_failed_job_says_why_and_what_to_do(self, train: Callable[..., Said], houses: str) -> None:
        asked = ["--data-uri", houses, "--model-name", a_new_name(), "--hyperparameters", "validation-fraction=7"]
        failed = train("start", *asked, "--follow", "--json")
        assert failed.code == 1
        assert (failed.json["status"], failed.json["is_billed"]) == ("failed", True)
        assert failed.json["likely_cause"]["kind"] == "code"
        assert "validation-fraction is 7" in failed.err  # its log, out of the way of the JSON
        shown = train("status", failed.json["job_name"])
        assert shown.code == 0
        for said in (": failed.", "validation-fraction is 7", "The training program failed."):
            assert said in shown.out
        found = train("start", *asked)
        assert found.code == 1
        assert "one more --attempt" in found.err

    def test_without_capacity_the_next_machines_are_taken(
        self, train: Callable[..., Said], embedded: EmbeddedAws, quick: str
    ) -> None:
        fault = {"operation": "CreateTrainingJob", "error": "ResourceLimitExceeded", "count": 1}
        embedded.control("POST", "faults", fault)
        try:
            asked = ["--training-config-id", quick, "--model-name", a_new_name(), "--instance-types", "ml.c5.xlarge"]
            started = train("start", *asked, "--json")
        finally:
            embedded.control("DELETE", "faults")
        assert started.code == 0, started.err
        assert "AWS has no capacity" in started.err
        assert started.json["request"]["instance_type"] == "ml.c5.xlarge"


class TestOverBudget:
    @pytest.fixture
    def poor(self, bench: Bench) -> str:
        """A team with two cents left."""
        team = f"team-{uuid4().hex[:8]}"
        bench.desk.ledger.set_limit(Budget("team", team), Decimal("0.02"), set_by="a test")
        return team

    def test_it_is_refused_with_both_numbers_and_nothing_is_left_behind(
        self, train: Callable[..., Said], embedded: EmbeddedAws, bench: Bench, quick: str, poor: str
    ) -> None:
        name = a_new_name()
        asked = ["start", "--training-config-id", quick, "--model-name", name, "--team", poor]
        for ask in ([], ["--on-over-budget", "ask"]):  # there is no terminal to ask in
            refused = train(*asked, *ask)
            assert refused.code == 1
            assert re.search(r"\$2\.92; .*\$0\.02 of .*'s \$0\.02 of team", refused.err), refused.err
        assert jobs_named(embedded, name) == []
        assert name not in train("list").out
        assert not [one for one in bench.desk.ledger.open_reservations() if one.charge.payer.team == poor]

    def test_in_a_terminal_somebody_is_asked_and_kept_in_the_books(
        self, environment: dict[str, str], bench: Bench, quick: str, poor: str, tmp_path: Path
    ) -> None:
        asked = ["start", "--training-config-id", quick, "--model-name", a_new_name(), "--team", poor]
        asked += ["--on-over-budget", "ask"]
        answers = {"Launch it all the same? [y/N] ": "y", "Up to how many dollars?": "0.50", "Who approves it?": "Anna"}
        approved = in_a_terminal(asked, answers, environment, tmp_path)
        assert approved.code == 0, approved.out
        job = approved.out.split("Training job ")[1].split()[0]
        assert f"Anna, for {job}" in [one.subject for one in bench.desk.ledger.history() if one.what == "allowed"]
        reserved = bench.desk.ledger.find(job)
        assert reserved is not None
        assert Decimal("0.02") < reserved.charge.amount <= Decimal("0.50")


class TestFollowing:
    def test_whoever_is_interrupted_or_killed_the_job_goes_on_and_its_log_is_kept_line_for_line(
        self, train: Callable[..., Said], start: Callable[..., subprocess.Popen[str]], embedded: EmbeddedAws, writer: str,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        name, file = a_new_name(), tmp_path / "job.log"
        asked = ["start", "--training-config-id", writer, "--model-name", name, "--follow"]
        first = start(*asked)
        assert first.stdout is not None
        job = next(line.split()[2] for line in first.stdout if line.startswith("Training job"))
        next(line for line in first.stdout if line.startswith("line 3 "))
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=PATIENCE)
        assert first.returncode == 130
        assert f"Training job {job} goes on" in said
        assert f"trainmaster train stop {job}" in said
        assert "Traceback" not in said
        for more, ending, code in ((5, signal.SIGTERM, 143), (20, signal.SIGKILL, -9)):
            follower = start(*asked, "--log-file", str(file))
            eventually(lambda: file.exists() and len(file.read_text().splitlines()) > more)  # noqa: B023
            follower.send_signal(ending)
            assert follower.wait(PATIENCE) == code
        last = start("logs", job, "--follow", "--log-file", str(file))
        eventually(lambda: len(file.read_text().splitlines()) > 40)
        assert train("status", job).out.startswith(f"Training job {job}: training (Training).")
        stopped = train("stop", name, "--reason", "seen enough", "--json")  # the beginning of its name is enough
        assert (stopped.code, stopped.json["status"]) == (0, "stopped")
        assert stopped.json["stop"]["why"] == "seen enough"
        _, said = last.communicate(timeout=PATIENCE)
        assert last.returncode == 1
        logged = [line["text"] for line in train("logs", job, "--json").json["lines"]]
        assert [line.split(" ", 2)[2] for line in file.read_text().splitlines()] == logged
        assert logged[:2] == ["line 1 of 2000", "line 2 of 2000"]
        assert jobs_named(embedded, name) == [job]
        again = train("stop", job, "--reason", "to be sure")
        assert (again.code, "seen enough" in again.out) == (0, True)
        assert embedded.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"

    def test_on_an_interrupt_the_job_is_stopped_if_that_was_asked_for(
        self, start: Callable[..., subprocess.Popen[str]], embedded: EmbeddedAws, writer: str
    ) -> None:
        process = start(
            "start", "--training-config-id", writer, "--model-name", a_new_name(), "--follow", "--stop-on-interrupt"
        )
        assert process.stdout is not None
        job = next(line.split()[2] for line in process.stdout if line.startswith("Training job"))
        next(line for line in process.stdout if line.startswith("line 1 "))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert f"Training job {job}: stopped." in out
        assert embedded.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"


class TestJobs:
    def test_a_job_is_found_by_its_name_the_beginning_of_it_or_its_id(
        self, train: Callable[..., Said], job: str
    ) -> None:
        known = train("status", job, "--json").json
        assert (known["status"], known["is_billed"], known["problem"]) == ("completed", True, None)
        assert known["metrics"]["validation:r2"] > 0
        assert train("status", job[:14], "--json").json == known
        assert train("status", known["id"], "--json").json == known

    def test_one_there_is_not_is_told_with_those_that_may_be_meant(self, train: Callable[..., Said], job: str) -> None:
        for command in (["status"], ["logs"], ["stop", "--reason", "x"]):
            refused = train(command[0], f"x{job[1:]}", *command[1:])
            assert (refused.code, refused.out) == (1, "")
            assert job in refused.err
        stranger = str(uuid4())
        refused = train("status", job, "--user", stranger)
        assert (refused.code, f"User {stranger} has no training job" in refused.err) == (1, True)
        assert job not in refused.err.replace(f"'{job}'", "")

    def test_the_log_is_there_whole_or_its_end(self, train: Callable[..., Said], job: str) -> None:
        whole = train("logs", job)
        assert "r2=" in whole.out
        assert train("logs", job, "--tail", "1").out == whole.out.splitlines(keepends=True)[-1]
        lines = train("logs", job, "--json").json["lines"]
        assert [line["text"] for line in lines] == whole.out.splitlines()

    def test_where_it_cannot_be_kept_is_told(self, train: Callable[..., Said], job: str, tmp_path: Path) -> None:
        for arguments, said in (
            (["--log-file", "x.log"], "--log-file goes with --follow."),
            (["--follow", "--log-file", str(tmp_path)], f"{tmp_path}: Is a directory."),
        ):
            refused = train("logs", job, *arguments)
            assert (refused.code, refused.out, refused.err.splitlines()[-1]) == (2, "", said)

    def test_followed_from_its_end_on_only_that_is_shown(self, train: Callable[..., Said], job: str) -> None:
        whole, end = train("logs", job).out.splitlines(), train("logs", job, "--follow", "--tail", "1").out.splitlines()
        assert end[:2] == [whole[-1], f"Training job {job}: completed."]

    def test_a_job_that_has_ended_is_not_stopped_again(self, train: Callable[..., Said], job: str) -> None:
        said = train("stop", job, "--reason", "late", "--json")
        assert (said.code, said.json["status"], said.json["stop"]) == (0, "completed", None)

    def test_jobs_are_listed_newest_first_in_pages(self, train: Callable[..., Said], bench: Bench, job: str) -> None:
        everything = train("list", "--limit", "200", "--json").json["jobs"]
        assert everything[0]["job_name"] == job or len(everything) > 1
        created = [one["created_at"] for one in everything]
        assert created == sorted(created, reverse=True)
        first = train("list", "--limit", "1", "--json").json
        assert [one["job_name"] for one in first["jobs"]] == [everything[0]["job_name"]]
        if len(everything) > 1:
            second = train("list", "--limit", "1", "--cursor", first["cursor"], "--json").json
            assert [one["job_name"] for one in second["jobs"]] == [everything[1]["job_name"]]
        assert job in train("list", "--status", "completed").out
        assert train("list", "--status", "queued").out == ""
        table = train("list", "--all-users").out.splitlines()
        assert table[0].split() == [
            "CREATED",
            "(UTC)",
            "STATUS",
            *(["BY"] if "BY" in table[0] else []),
            "COST",
            "MACHINES",
            "USER",
            "JOB",
        ]
        assert str(bench.user_id) in table[1]

    def test_when_there_are_none_the_next_step_is_said(self, train: Callable[..., Said]) -> None:
        said = train("list", "--user", str(uuid4()))
        assert (said.code, said.out) == (0, "")
        assert "`trainmaster train start` launches it" in said.err

    def test_without_aws_a_job_is_shown_as_it_stood_last(
        self, train: Callable[..., Said], embedded: EmbeddedAws, job: str
    ) -> None:
        embedded.control("POST", "faults", {"operation": "DescribeTrainingJob", "error": "AccessDeniedException"})
        try:
            shown, known = train("status", job), train("status", job, "--json").json
        finally:
            embedded.control("DELETE", "faults")
        assert shown.code == 0
        assert "AWS could not be asked, so this is how it stood last" in shown.out
        assert (known["status"], known["is_billed"]) == ("completed", True)
        assert "AccessDenied" in known["problem"]

    def test_what_is_not_set_up_is_told(self, train: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TRAINMASTER_USER_ID")
        said = train("list")
        assert (said.code, "TRAINMASTER_USER_ID is not set" in said.err) == (1, True)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        said = train("plan", "--data-uri", "s3://bucket-of-mine/x/")
        assert said.code == 1
        assert "no AWS credentials were found" in said.err
        assert "`trainmaster embedded --print-env`" in said.err
