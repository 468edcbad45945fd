"""Jobs followed to their end on the embedded AWS: every line once, through kills, interruptions, throttling and expired tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import mortal_followers
import pytest

from trainmaster.aws.clients import Clients
from trainmaster.aws.polling import Patience
from trainmaster.budget.approval import Approval, Rate
from trainmaster.errors import TrainingFailedError
from trainmaster.training.following import Cadence, Update, follow_training
from trainmaster.training.leftovers import leftovers
from trainmaster.training.log_sinks import FileSink
from trainmaster.training.logs import LogReader, last_lines
from trainmaster.training.outcome import outcome_of
from trainmaster.training.stopping import await_stopped, stop_training

RATE = Rate(Decimal("3.60"))
APPROVAL = Approval(RATE, Decimal("1.00"), 100, 100)
CADENCE = Cadence(0.05, 60)
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda operation, **rule: embedded.control("POST", "faults", {"operation": operation, **rule})
    embedded.control("DELETE", "faults")


def clients(embedded: Any) -> Clients:
    """Each tries once, so that every fault is ours to outlive."""
    return Clients(embedded.client)


def follow(
    embedded: Any, name: str, *, hosts: int = 1, client: Clients | None = None, **reading: Any
) -> Iterator[Update]:
    client = client or clients(embedded)
    return follow_training(client, LogReader(client, name, hosts, **reading), RATE, CADENCE)


def told(updates: list[Update]) -> list[str]:
    return [str(line) for update in updates for line in update.lines]


def numbered(count: int, pause: float) -> str:
    """A script that prints numbers on both its outputs: singly, and many at once; then one line without an end."""
    return f"""
import sys, time
for number in range({count}):
    print(number, file=sys.stderr if number % 7 == 0 else sys.stdout, flush=number % 40 == 0 or number % 7 < 2)
    if number % 40 == 0:
        time.sleep({pause})
sys.stdout.write("{count}"); sys.stdout.flush()
"""


def per_stream(log: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        _, stream, text = line.split(" ", 2)
        found.setdefault(stream.rsplit("-", 1)[0], []).append(text)
    return found


def test_a_follower_killed_again_and_again_tells_every_line_of_both_hosts_once(
    embedded: Any, jobs: Any, tmp_path: Path
) -> None:
    script = """
import itertools, signal, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("to end"))
for number in itertools.count():
    print(number, flush=True)
    if number % 5 == 0:
        time.sleep(0.05)
        if asked:
            break
"""
    name = jobs.python(script, instances=2, StoppingCondition={"MaxRuntimeInSeconds": 3600})
    run = subprocess.run(
        [sys.executable, mortal_followers.__file__, str(tmp_path), name, "2", "14", "7"],
        env={**os.environ, **embedded.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout) == dict.fromkeys(mortal_followers.STEPS, 2)
    assert jobs.describe(name)["SecondaryStatus"] == "Stopped"
    told = per_stream(tmp_path / "log")
    assert told == {host: jobs.lines(name, host) for host in ("algo-1", "algo-2")}
    for lines in told.values():
        assert lines == [str(number) for number in range(len(lines))]


def test_throttled_and_cut_on_every_third_call_it_follows_to_the_end(
    embedded: Any, jobs: Any, fault: Callable[..., Any], tmp_path: Path
) -> None:
    name = jobs.python(numbered(400, 0.1))
    for operation in ("DescribeTrainingJob", "GetLogEvents", "DescribeLogStreams"):
        fault(operation, error="ThrottlingException", rate=0.3)
        fault(operation, reset=True, rate=0.1)
        fault(operation, error="InternalFailure", rate=0.1)
    with FileSink(tmp_path / "log") as sink:
        updates = list(follow(embedded, name, sink=sink, positions=sink))
    assert updates[-1].step.state == "completed"
    assert any("cannot be read" in update.log_problem for update in updates)
    (lines,) = per_stream(tmp_path / "log").values()
    assert sorted(map(int, lines)) == list(range(401))
    assert [line for line in lines if int(line) % 7] == [str(number) for number in range(401) if number % 7]
    assert told(updates) == lines


def test_an_expired_session_is_renewed_wherever_it_ends(embedded: Any, jobs: Any, fault: Callable[..., Any]) -> None:
    made: list[str] = []

    def make(service: str) -> Any:
        made.append(service)
        return embedded.client(service)

    name = jobs.create("sh", "-c", "echo first; sleep 1; echo last")
    for operation in ("DescribeTrainingJob", "GetLogEvents", "DescribeLogStreams"):
        fault(operation, error="ExpiredTokenException", count=2)
    updates = list(follow(embedded, name, client=Clients(make)))
    assert told(updates) == ["first", "last"]
    assert made.count("sagemaker") >= 3
    assert made.count("logs") >= 3


def test_a_spot_job_that_is_interrupted_is_followed_through_its_restart(embedded: Any, jobs: Any) -> None:
    script = """
import os, sys, time
kept = "/opt/ml/checkpoints/step"
first = int(open(kept).read()) + 1 if os.path.exists(kept) else 0
print("begun at", first, flush=True)
for step in range(first, 60):
    print(f"step={step}/60; loss={1 / (step + 1)};", flush=True)
    open(kept + ".new", "w").write(str(step))
    os.replace(kept + ".new", kept)
    time.sleep(0.05 if first else 0.1)
"""
    checkpoints = f"s3://{jobs.bucket}/checkpoints/{uuid.uuid4().hex}"
    name = jobs.python(script, CheckpointConfig={"S3Uri": checkpoints}, **SPOT)
    updates: list[Update] = []
    interrupted = False
    for update in follow(embedded, name):
        updates.append(update)
        if not interrupted and any("step=12/" in str(line) for line in update.lines):
            interrupted = embedded.control("POST", "interrupt", {"training_job": name}) == {}
    assert interrupted
    assert told(updates) == jobs.lines(name)
    first, second = (line for line in told(updates) if "begun" in line)
    assert (first, int(second.rsplit(" ", 1)[1]) >= 12) == ("begun at 0", True)
    last = updates[-1]
    assert (last.step.state, last.step.interruptions, last.step.starts) == ("completed", 1, 2)
    assert [place for place, _ in last.course.curve.series["loss"]] == list(range(60))
    left = leftovers(jobs.s3, last.description)
    outcome = outcome_of(last.description, APPROVAL, found=False, log_tail=list(last.tail), left=left)
    assert (outcome.interruptions, outcome.savings_percent > 0, outcome.saved > 0) == (1, True, True)
    assert outcome.bill == (RATE.cost(last.description["BillableTimeInSeconds"])).quantize(Decimal("0.000001"))
    assert [key.rsplit("/", 1)[1] for key, _ in outcome.left.checkpoints.newest] == ["step"]


def test_lines_of_two_hosts_are_told_by_their_times(embedded: Any, jobs: Any) -> None:
    script = """
import json, time
host = json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"]
for number in range(10):
    print(host, number, flush=True)
    time.sleep(0.05)
"""
    name = jobs.python(script, instances=2)
    lines = [line for update in follow(embedded, name, hosts=2) for line in update.lines]
    assert sorted(map(str, lines)) == sorted(f"{host}: {host} {n}" for host in ("algo-1", "algo-2") for n in range(10))
    for host in ("algo-1", "algo-2"):
        assert [line.text for line in lines if line.host == host] == [f"{host} {n}" for n in range(10)]
    reread = LogReader(clients(embedded), name, 2).new_lines()
    assert [line.at for line in reread] == sorted(line.at for line in reread)


def test_a_log_of_five_thousand_lines_is_read_in_bounded_pieces(
    embedded: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmaster.training.logs.LINES_PER_READ", 800)
    name = jobs.python("print('\\n'.join(map(str, range(5_000))))")
    jobs.finished(name)
    updates = list(follow(embedded, name))
    assert told(updates) == [str(number) for number in range(5_000)]
    assert max(len(update.lines) for update in updates) <= 1600
    assert [line.text for line in last_lines(jobs.logs, name, most=3)] == ["4997", "4998", "4999"]


def test_an_aws_that_is_away_for_a_while_and_comes_back_with_its_logs_is_waited_for(
    start_embedded: Any, jobs_of: Any, tmp_path: Path
) -> None:
    aws = start_embedded()
    name = jobs_of(aws).create("sh", "-c", "seq 1 500; echo up; exec sleep 600")
    again: list[Any] = []
    restart = threading.Thread(target=lambda: again.append(start_embedded()))
    updates: list[Update] = []
    with FileSink(tmp_path / "log") as sink:
        for update in follow(aws, name, sink=sink, positions=sink):
            updates.append(update)
            if "up" in map(str, update.lines):
                aws.kill()
                restart.start()
    restart.join()
    assert again
    assert updates[-1].step.state == "failed"
    assert told(updates) == [*map(str, range(1, 501)), "up"]
    assert per_stream(tmp_path / "log") == {"algo-1": told(updates)}


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("raise MemoryError", "memory"),
        (
            "import os, signal, sys\nif not os.fork():\n    os.kill(os.getpid(), signal.SIGKILL)\nsys.exit(128 + os.wait()[1])",
            "memory",
        ),
        ("print('handles CUDA out of memory', flush=True); {}['label']", "code"),
        ("open('/opt/ml/input/data/training/train.jsonl')", "data"),
    ],
)
def test_what_a_job_failed_of_is_told_from_what_it_really_leaves(
    embedded: Any, jobs: Any, script: str, kind: str
) -> None:
    name = jobs.python(script)
    failed = jobs.finished(name)
    tail = [str(line) for line in last_lines(jobs.logs, name)]
    with pytest.raises(TrainingFailedError) as raised:
        outcome_of(failed, APPROVAL, found=False, log_tail=tail)
    assert raised.value.kind == kind


def test_a_stop_gets_through_faults_and_what_the_job_left_is_listed(
    embedded: Any, jobs: Any, fault: Callable[..., Any]
) -> None:
    checkpoints = f"s3://{jobs.bucket}/checkpoints/{uuid.uuid4().hex}"
    script = "mkdir -p /opt/ml/checkpoints; echo 12345 > /opt/ml/checkpoints/step-1; echo up; exec sleep 600"
    name = jobs.create("sh", "-c", script, CheckpointConfig={"S3Uri": checkpoints})
    jobs.until_logged(name, "up")
    jobs.s3.put_object(Bucket=jobs.bucket, Key=f"{checkpoints.split('/', 3)[3]}0/of-another-job", Body=b"x")
    fault("StopTrainingJob", error="ThrottlingException", count=2)
    fault("StopTrainingJob", reset=True, count=1)
    fault("StopTrainingJob", error="InternalFailure", count=1)
    fault("DescribeTrainingJob", error="ThrottlingException", rate=0.3)
    assert stop_training(jobs.sagemaker, name, sleep=lambda _: None) is True
    ended = await_stopped(lambda _: jobs.sagemaker, name, Patience(0.05, 60, 60))
    embedded.control("DELETE", "faults")
    assert ended["TrainingJobStatus"] == "Stopped"
    assert stop_training(jobs.sagemaker, name) is False
    assert stop_training(jobs.sagemaker, "nobody") is False
    left = leftovers(jobs.s3, ended)
    assert [(key.rsplit("/", 1)[1], size) for key, size in left.checkpoints.newest] == [("step-1", 6)]
    assert (left.checkpoints.count, left.checkpoints.size_bytes, left.checkpoints.is_complete) == (1, 6, True)
    with pytest.raises(TrainingFailedError, match=r"It left checkpoints: 1 object, 0\.0 MB, at s3://"):
        outcome_of(ended, APPROVAL, found=False, log_tail=[], left=left)


def test_what_cannot_be_listed_says_so_and_what_is_not_there_is_nothing(jobs: Any) -> None:
    job = {"TrainingJobName": "j", "OutputDataConfig": {"S3OutputPath": f"s3://{jobs.bucket}/nothing-here"}}
    assert leftovers(jobs.s3, job).sentence() == ""
    gone = {
        **job,
        "CheckpointConfig": {"S3Uri": "s3://no-such-bucket-of-ours/x"},
        "OutputDataConfig": {"S3OutputPath": "file:///x"},
    }
    assert "is not an S3 address" in leftovers(jobs.s3, gone).artifacts.problem
    assert leftovers(jobs.s3, gone).checkpoints.count == 0
