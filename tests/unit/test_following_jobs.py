"""What each Describe means, whatever is in it; and a follower that outlives faults, and a stop that is asked for until it shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from scripted_logs import JOB, ScriptedLogs, aws_error

from trainmaster.aws.clients import Clients
from trainmaster.aws.polling import Patience
from trainmaster.budget.approval import Rate
from trainmaster.catalog.tables import STATUSES
from trainmaster.errors import StorageUnavailableError, WaitTimedOutError
from trainmaster.training.following import FINISHED, Cadence, Update, follow_training, next_step
from trainmaster.training.logs import LogReader
from trainmaster.training.stopping import await_stopped, stop_training

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = Rate(Decimal("3.60"))
CADENCE = Cadence(30, 600)
MODEL = boto3.client("sagemaker", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x").meta.service_model
PRIMARY = [*MODEL.shape_for("TrainingJobStatus").enum, "Hibernating", ""]  # type: ignore[attr-defined]
SECONDARY = [*MODEL.shape_for("SecondaryStatus").enum, "Meditating", ""]  # type: ignore[attr-defined]


def expected_state(status: str, secondary: str) -> str:
    """The rule, written a second time."""
    ended = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
    if status == "Deleting":
        return ended.get(secondary, "stopped")
    if status in ended:
        return ended[status]
    if status == "Stopping":
        return "stopping"
    return "training" if secondary in ("Training", "Uploading") else "starting"


@pytest.mark.parametrize("status", PRIMARY)
@pytest.mark.parametrize("secondary", SECONDARY)
def test_every_pair_of_statuses_known_or_not_is_a_state_of_the_applications_table(status: str, secondary: str) -> None:
    transitions = [{"Status": secondary, "StartTime": NOW - timedelta(seconds=100)}]
    step = next_step(
        {
            "TrainingJobStatus": status, "SecondaryStatus": secondary, "TrainingStartTime": NOW - timedelta(seconds=100),
            "SecondaryStatusTransitions": transitions,
        },
        NOW, CADENCE, RATE,
    )  # fmt: skip
    assert step.state == expected_state(status, secondary)
    assert step.state in STATUSES
    assert step.finished == (status in ("Completed", "Failed", "Stopped", "Deleting"))
    assert 30 <= step.delay <= 120
    assert 0 <= step.percent <= 100
    assert step.cost >= 0


def walked(*statuses: tuple[str, int], **members: Any) -> dict[str, Any]:
    """A job that has been in these statuses for so many seconds each, until now."""
    moment = NOW - timedelta(seconds=sum(seconds for _, seconds in statuses))
    transitions: list[dict[str, Any]] = []
    for status, seconds in statuses:
        transitions.append({"Status": status, "StartTime": moment, "EndTime": moment + timedelta(seconds=seconds)})
        moment += timedelta(seconds=seconds)
    del transitions[-1]["EndTime"]
    return {
        "TrainingJobStatus": "InProgress", "SecondaryStatus": statuses[-1][0], "SecondaryStatusTransitions": transitions,
        "TrainingStartTime": transitions[0]["StartTime"], "CreationTime": transitions[0]["StartTime"], **members,
    }  # fmt: skip


def test_waiting_for_spot_instances_costs_nothing() -> None:
    job = walked(("Downloading", 50), ("Training", 450), ("Interrupted", 90_000), ("Starting", 9000), ("Training", 500))
    step = next_step(job, NOW, CADENCE, RATE)
    assert (step.seconds, step.cost, step.starts, step.interruptions) == (1000, 1, 2, 1)


@pytest.mark.parametrize(
    ("waited", "poll", "delay"), [(5, 30, 30), (600, 30, 60), (90_000, 30, 120), (5, 0.5, 0.5), (90_000, 0.5, 2)]
)
def test_the_longer_a_job_waits_for_instances_the_rarer_it_is_looked_at(waited: int, poll: float, delay: float) -> None:
    job = walked(("Training", 9000), ("Interrupted", 1), ("Pending", waited))
    assert next_step(job, NOW, Cadence(poll, 600), RATE).delay == delay
    assert next_step(walked(("Training", waited)), NOW, Cadence(poll, 600), RATE).delay == poll


@pytest.mark.parametrize(
    ("job", "overdue"),
    [
        (walked(("Training", 9000), StoppingCondition={"MaxRuntimeInSeconds": 6000}), False),  # it may be uploading
        (walked(("Training", 9700), StoppingCondition={"MaxRuntimeInSeconds": 6000}), True),
        (
            walked(("Training", 9700), StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 6200}),
            False,
        ),
        (
            walked(("Training", 9900), StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 6200}),
            True,
        ),
        (walked(("Pending", 80_000), StoppingCondition={"MaxRuntimeInSeconds": 600}, TrainingStartTime=None), False),
        (walked(("Pending", 100_000), StoppingCondition={"MaxRuntimeInSeconds": 600}, TrainingStartTime=None), True),
        (walked(("Training", 9_000_000), CreationTime=None), False),  # nothing is known: another clock ends that wait
        (walked(("Stopped", 9_000_000), TrainingJobStatus="Stopped"), False),
    ],
)
def test_a_job_is_overdue_when_sagemaker_should_have_ended_it(job: dict[str, Any], overdue: bool) -> None:
    assert next_step(job, NOW, CADENCE, RATE).overdue == overdue


JUNK = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(10**30), 10**30)
    | st.text(max_size=4)
    | st.datetimes()
    | st.just(NOW)
)
MEMBERS = ["TrainingStartTime", "TrainingEndTime", "CreationTime", "TrainingTimeInSeconds", "BillableTimeInSeconds"]


@given(
    st.dictionaries(st.sampled_from(MEMBERS), JUNK),
    st.lists(st.dictionaries(st.sampled_from(["Status", "StartTime", "EndTime"]), JUNK), max_size=4),
    st.dictionaries(st.sampled_from(["MaxRuntimeInSeconds", "MaxWaitTimeInSeconds", "MaxPendingTimeInSeconds"]), JUNK),
    st.sampled_from(PRIMARY),
    st.sampled_from(SECONDARY),
)
def test_times_that_are_missing_or_none_bring_nothing_down(
    members: dict[str, Any], transitions: list[dict[str, Any]], limits: dict[str, Any], status: str, secondary: str
) -> None:
    job = {**members, "SecondaryStatusTransitions": transitions, "StoppingCondition": limits}
    step = next_step({**job, "TrainingJobStatus": status, "SecondaryStatus": secondary}, NOW, CADENCE, RATE)
    assert step.seconds >= 0
    assert step.cost >= 0
    assert math.isfinite(step.delay)
    next_step({}, NOW, CADENCE, RATE)


class ScriptedAws(ScriptedLogs):
    """A job too: each Describe gives the next status or error, the last one for ever; a stop does what `on_stop` does."""

    def __init__(self, *script: str | Exception) -> None:
        super().__init__()
        self.script = list(script)
        self.walk: list[str] = []
        self.stops = 0
        self.on_stop: Callable[[], None] = lambda: self.script.__setitem__(slice(None), ["Stopped"])
        self.created = datetime.now(UTC)
        self.on_describe: Callable[[str], None] = lambda _secondary: None

    def describe_training_job(self, **_: str) -> dict[str, Any]:
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Exception):
            raise said
        self.on_describe(said)
        if not self.walk or self.walk[-1] != said:
            self.walk.append(said)
        ended = said in FINISHED
        return {
            "TrainingJobName": JOB, "TrainingJobStatus": said if ended or said == "Stopping" else "InProgress",
            "SecondaryStatus": said, "CreationTime": self.created, "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            "TrainingStartTime": self.created,
            "SecondaryStatusTransitions": [{"Status": one, "StartTime": self.created} for one in self.walk],
        }  # fmt: skip

    def stop_training_job(self, **_: str) -> None:
        self.stops += 1
        self.on_stop()


def followed(aws: ScriptedAws, client: Any = None, outage: float = 60.0, **reading: Any) -> list[Update]:
    reader = LogReader(client or aws, JOB, reading.pop("hosts", 1), **reading)
    return list(follow_training(client or aws, reader, RATE, Cadence(0.001, outage), sleep=lambda _: None))


def told(updates: list[Update]) -> list[str]:
    return [str(line) for update in updates for line in update.lines]


def test_lines_after_an_interruption_are_read_from_the_new_streams() -> None:
    aws = ScriptedAws("Starting", "Training", "Training", "Interrupted", "Restarting", "Training", "Completed")
    aws.say("algo-1", "first", at=1)
    aws.on_describe = lambda said: aws.say("algo-1", "again", at=2, begun=200) if said == "Restarting" else None
    updates = followed(aws)
    assert told(updates) == ["first", "again"]
    assert updates[-1].step.finished
    assert updates[-1].step.interruptions == 1


def test_an_interruption_between_two_looks_is_noticed_too() -> None:
    aws = ScriptedAws("Training", "Training", "Completed")
    aws.say("algo-1", "first", at=1)
    looks = iter(range(10))

    def interrupted_meanwhile(_said: str) -> None:
        if next(looks) == 1:
            aws.walk += ["Interrupted", "Starting"]
            aws.say("algo-1", "again", at=2, begun=200)

    aws.on_describe = interrupted_meanwhile
    assert told(followed(aws)) == ["first", "again"]


def test_the_end_is_said_at_once_and_late_lines_come_after_it() -> None:
    aws = ScriptedAws("Training", "Completed")
    aws.say("algo-1", "early", at=1)
    reads = iter(range(100))

    def late(operation: str, _stream: str) -> None:
        if operation == "GetLogEvents" and next(reads) == 4:  # after a quiet one
            aws.say("algo-1", "late", at=2)

    aws.fail = late
    updates = followed(aws)
    first_end = next(place for place, update in enumerate(updates) if update.step.finished)
    assert "late" in told(updates[first_end + 1 :])
    assert told(updates) == ["early", "late"]
    assert updates[-1].tail == ("early", "late")


def test_a_log_that_may_not_be_read_is_told_of_and_the_job_followed_to_its_end() -> None:
    aws = ScriptedAws("Training", "Training", "Completed")

    def refuse(_operation: str, _stream: str) -> None:
        raise aws_error("AccessDeniedException")

    aws.fail = refuse
    updates = followed(aws)
    assert updates[-1].step.finished
    assert all("cannot be read" in update.log_problem for update in updates)


def test_a_log_that_is_throttled_at_the_end_is_read_when_it_is_not_any_more() -> None:
    aws = ScriptedAws("Training", "Completed")
    aws.say("algo-1", "last words")
    throttles = [aws_error("ThrottlingException") for _ in range(40)]

    def throttle(_operation: str, _stream: str) -> None:
        if throttles:
            raise throttles.pop()

    aws.fail = throttle
    assert told(followed(aws)) == ["last words"]


def test_a_sink_that_is_away_for_a_while_misses_nothing() -> None:
    class Away:
        def __init__(self) -> None:
            self.lines: list[str] = []
            self.failures = 30

        def tell(self, lines: Any) -> None:
            self._fail()
            self.lines += [line.text for line in lines]

        def told_since(self, _since: Any) -> list[Any]:
            self._fail()
            return []

        def _fail(self) -> None:
            self.failures -= 1
            if self.failures > 0:
                raise StorageUnavailableError("Prefect does not answer.")

    aws, sink = ScriptedAws("Training", "Training", "Completed"), Away()
    aws.say("algo-1", "a", "b")
    updates = followed(aws, sink=sink)
    assert sink.lines == ["a", "b"]
    assert any("cannot be told: Prefect does not answer." in update.log_problem for update in updates)


def test_progress_is_read_from_the_lines_of_the_job() -> None:
    aws = ScriptedAws("Training", "Training", "Completed")
    aws.say("algo-1", "step=0/4; loss=4;", "step=1/4; loss=2;")
    updates = followed(aws)
    assert updates[0].percent == 25
    assert updates[0].course.curve.series["loss"] == ((0.0, 4.0), (1.0, 2.0))
    assert updates[-1].percent == 100


def test_faults_that_pass_are_outlived_and_a_refusal_ends_the_following() -> None:
    cut = EndpointConnectionError(endpoint_url="http://x")
    aws = ScriptedAws(aws_error("ThrottlingException"), cut, "Training", aws_error("InternalFailure", 500), "Completed")
    assert followed(aws)[-1].step.finished
    with pytest.raises(ClientError, match="AccessDenied"):
        followed(ScriptedAws("Training", aws_error("AccessDeniedException"), "Completed"))
    with pytest.raises(ClientError, match="Throttling"):
        followed(ScriptedAws("Training", aws_error("ThrottlingException")), outage=0.05)


def test_an_expired_token_has_the_clients_made_anew() -> None:
    made: list[str] = []

    class Expiring(ScriptedAws):
        """Its third client on, tokens are good."""

        def _check(self) -> None:
            if set(made) and made.count("sagemaker") < 3:
                raise aws_error("ExpiredTokenException")

        def describe_training_job(self, **asked: str) -> dict[str, Any]:
            self._check()
            return super().describe_training_job(**asked)

    aws = Expiring("Training", "Completed")
    aws.say("algo-1", "a")

    def make(service: str) -> Any:
        made.append(service)
        return aws

    expired = [aws_error("ExpiredTokenException")]

    def expire(operation: str, _stream: str) -> None:
        if operation == "GetLogEvents" and expired:
            raise expired.pop()

    aws.fail = expire
    assert told(followed(aws, Clients(make))) == ["a"]
    assert made == ["sagemaker", "sagemaker", "sagemaker", "logs", "sagemaker", "logs"]


def test_a_client_that_cannot_be_made_anew_now_is_used_on_and_made_anew_later() -> None:
    answers: list[Any] = ["first", OSError("no network"), "second"]

    def make(_service: str) -> Any:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    client = Clients(make)
    assert [client("s3"), client("s3")] == ["first", "first"]
    client.renew()
    assert [client("s3"), client("s3"), client("s3")] == ["first", "second", "second"]


def test_a_job_that_says_nothing_of_itself_gets_on_by_the_time_it_may_take() -> None:
    job = walked(("Training", 3000), StoppingCondition={"MaxRuntimeInSeconds": 6000})
    assert next_step(job, NOW, CADENCE, RATE).percent == 70


def test_a_job_that_outlives_its_limits_is_stopped_and_its_end_awaited() -> None:
    aws = ScriptedAws("Training")
    aws.created = datetime.now(UTC) - timedelta(hours=3)
    with pytest.raises(WaitTimedOutError, match="it is Stopped now"):
        followed(aws)
    assert aws.stops == 1


def test_a_stop_is_asked_for_until_describe_shows_it() -> None:
    lost, throttled = EndpointConnectionError(endpoint_url="http://x"), aws_error("ThrottlingException")
    aws = ScriptedAws("Training", throttled, "Training", "Stopping")
    answers: list[Any] = [throttled, lost, None, aws_error("InternalFailure", 500), None, None]

    def answer() -> None:
        if answers and isinstance(said := answers.pop(0), Exception):
            raise said

    aws.on_stop = answer
    assert stop_training(aws, JOB, sleep=lambda _: None) is True  # type: ignore[arg-type]
    assert aws.stops == 7


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped", "Deleting"])
def test_a_job_that_has_ended_is_not_stopped_which_is_no_error(status: str) -> None:
    aws = ScriptedAws(status)

    def refuse() -> None:
        raise aws_error("ValidationException")

    aws.on_stop = refuse
    assert stop_training(aws, JOB) is False  # type: ignore[arg-type]
    unknown = ScriptedAws(aws_error("ValidationException"))
    unknown.on_stop = refuse
    assert stop_training(unknown, JOB) is False  # type: ignore[arg-type]


def test_a_stop_that_is_refused_is_raised_at_once_and_one_that_fails_still_after_a_while() -> None:
    aws = ScriptedAws("Training")

    def fail(error: Exception) -> Callable[[], None]:
        def raise_it() -> None:
            raise error

        return raise_it

    aws.on_stop = fail(aws_error("AccessDeniedException"))
    with pytest.raises(ClientError, match="AccessDenied"):
        stop_training(aws, JOB)  # type: ignore[arg-type]
    aws.on_stop = fail(aws_error("ThrottlingException"))
    with pytest.raises(ClientError, match="Throttling"):
        stop_training(aws, JOB, ask_seconds=0.01, sleep=lambda _: None)  # type: ignore[arg-type]
    aws.on_stop = lambda: None
    with pytest.raises(WaitTimedOutError, match="is InProgress still"):
        stop_training(aws, JOB, ask_seconds=0.01, sleep=lambda _: None)  # type: ignore[arg-type]


def test_the_end_of_a_stopped_job_is_awaited_but_not_for_ever() -> None:
    aws = ScriptedAws("Stopping", aws_error("ThrottlingException"), "Stopping", "Stopped")
    patience = Patience(0.001, 5, 5)
    assert await_stopped(lambda _: aws, JOB, patience, sleep=lambda _: None)["TrainingJobStatus"] == "Stopped"
    for_ever = ScriptedAws("Stopping")
    with pytest.raises(WaitTimedOutError, match="had not ended"):
        await_stopped(lambda _: for_ever, JOB, Patience(0.001, 5, 0.02), sleep=lambda _: None)


def test_the_end_is_awaited_beyond_the_life_of_the_credentials() -> None:
    expired, fresh = ScriptedAws(aws_error("ExpiredTokenException")), ScriptedAws("Stopping", "Stopped")
    made = iter([expired, fresh])
    ended = await_stopped(Clients(lambda _: next(made)), JOB, Patience(0.001, 5, 5), sleep=lambda _: None)
    assert ended["TrainingJobStatus"] == "Stopped"
