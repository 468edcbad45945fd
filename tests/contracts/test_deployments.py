"""Rows of training jobs, on both databases: begun once, changed by many at a time, and the application's part left as it is."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from catalogues import Place, at_once
from postgres import Postgres
from sqlalchemy import insert, select, text, update

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.deployments import Deployment, Deployments, Job, Stop, deployment_id_of
from trainmaster.catalog.tables import cloud_deployments, training_configs
from trainmaster.errors import NameConflictError, UnknownChoiceError

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
D = Decimal


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def deployments(catalogue: Catalogue) -> Deployments:
    return catalogue.deployments


def new(user: uuid.UUID, job: dict[str, Any] | None = None, **changed: Any) -> Deployment:
    name = changed.pop("deployment_id", None) or f"cats-{uuid.uuid4().hex[:10]}-1"
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"
    values = {
        "id": deployment_id_of(arn),
        "user_id": user,
        "deployment_id": name,
        "status": "creating",
        "created_at": NOON,
        "job": Job(**{"arn": arn, "request": {"budget_limit": "1.00"}, "runs": ("run-1",), **(job or {})}),
        "estimated_cost": D("0.131354"),
        "budget_limit": D("1.00"),
    }
    return Deployment(**values | changed)


def as_the_application(catalogue: Catalogue, deployment: Deployment, **columns: Any) -> None:
    with catalogue.database.writing() as connection:
        changed = update(cloud_deployments).where(cloud_deployments.c.id == deployment.id).values(**columns)
        assert connection.execute(changed).rowcount == 1


def config_of(catalogue: Catalogue, deployment: Deployment) -> str:
    """As the database writes it."""
    kind = "text" if catalogue.database.kind == "postgresql" else "char"
    with catalogue.database.reading() as connection:
        id_ = deployment.id if catalogue.database.kind == "postgresql" else deployment.id.hex
        query = text(f"select cast(config as {kind}) from cloud_deployments where id = :id")  # noqa: S608 - two constants
        return str(connection.execute(query, {"id": id_}).scalar_one())


class TestBeginning:
    def test_what_is_begun_comes_back_exactly_and_again_is_the_same(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        config_id = uuid.uuid4()
        with catalogue.database.writing() as connection:
            connection.execute(insert(training_configs).values(id=config_id, user_id=user, name="c", config_json={}))
        given = new(user, estimated_cost=D("12345678901234567890.123456"), training_config_id=config_id)
        assert deployments.begin(given) == given
        assert deployments.find(given.deployment_id) == given
        assert deployments.begin(replace(given, status="training", budget_limit=D(7))) == given
        assert deployments.find(given.deployment_id, user) == given
        assert deployments.find(given.deployment_id, uuid.uuid4()) is None
        assert deployments.find("no-such-job") is None

    def test_another_run_that_begins_it_joins_and_another_user_does_not(
        self, deployments: Deployments, user: uuid.UUID
    ) -> None:
        first = deployments.begin(new(user))
        again = deployments.begin(replace(first, job=replace(first.job, runs=("run-2",))))
        assert again.job.runs == ("run-1", "run-2")
        assert deployments.find(first.deployment_id) == again
        with pytest.raises(NameConflictError, match="another user's"):
            deployments.begin(replace(first, user_id=uuid.uuid4()))
        assert deployments.find(first.deployment_id) == again

    def test_twenty_that_begin_it_at_once_make_one_row_that_knows_them_all(
        self, deployments: Deployments, user: uuid.UUID
    ) -> None:
        one = new(user)
        at_once(20, lambda n: deployments.begin(replace(one, job=replace(one.job, runs=(f"run-{n}",)))))
        [kept] = deployments.page(user).deployments
        assert sorted(kept.job.runs) == sorted(f"run-{n}" for n in range(20))

    def test_a_launch_that_was_refused_is_begun_anew(self, deployments: Deployments, user: uuid.UUID) -> None:
        first = deployments.begin(new(user))
        refused = deployments.give_up(first.id, "ResourceLimitExceeded: no quota")
        assert (refused.status, refused.error_message, refused.has_ended) == (
            "failed",
            "ResourceLimitExceeded: no quota",
            True,
        )
        assert list(deployments.open_jobs(page=1000)).count(refused) == 0
        later = new(user, {"runs": ("run-2",)}, deployment_id=first.deployment_id, budget_limit=D("2.00"))
        again = deployments.begin(replace(later, created_at=NOON + timedelta(days=1)))
        assert (again.status, again.error_message, again.completed_at) == ("creating", None, None)
        assert (again.job.runs, again.job.given_up, again.budget_limit) == (("run-1", "run-2"), False, D("2.00"))
        assert deployments.find(first.deployment_id) == again

    def test_a_job_that_ran_or_was_to_be_stopped_is_not_begun_anew(
        self, deployments: Deployments, user: uuid.UUID
    ) -> None:
        ran = deployments.begin(new(user))
        ended = deployments.change(
            ran.id, status="failed", completed_at=NOON, actual_cost=D(0), error_message="it fell"
        )
        assert deployments.begin(ran) == ended
        assert deployments.give_up(ran.id, "no") == ended
        stopped = deployments.begin(new(user))
        deployments.ask_stop(stopped.id, "Anna", "wrong data")
        gone = deployments.give_up(stopped.id, "stopped before it was launched")
        assert gone.status == "stopped"
        assert deployments.begin(stopped) == gone

    def test_a_row_that_lost_what_is_ours_is_a_conflict_and_left_alone(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        one = deployments.begin(new(user))
        as_the_application(catalogue, one, config={"theirs": 1})
        assert deployments.find(one.deployment_id) is None
        with pytest.raises(NameConflictError, match="its config lost what stood under `trainmaster`"):
            deployments.begin(one)
        with pytest.raises(UnknownChoiceError, match="no deployment"):
            deployments.change(one.id, status="training")
        assert json.loads(config_of(catalogue, one)) == {"theirs": 1}


class TestChanging:
    def test_fields_of_the_row_and_of_the_job_are_set_and_the_rest_stays(
        self, deployments: Deployments, user: uuid.UUID
    ) -> None:
        begun = deployments.begin(new(user))
        changed = deployments.change(
            begun.id, status="training", handed_over=True, actual_cost=D("0.100000000000000001")
        )
        expected = replace(
            begun, status="training", actual_cost=D("0.100000000000000001"), job=replace(begun.job, handed_over=True)
        )
        assert changed == expected
        assert deployments.find(begun.deployment_id) == expected
        ended = deployments.change(
            begun.id,
            status="completed",
            completed_at=NOON,
            logs="a\nb",
            metrics={"loss": 0.5},
            checkpoint_urls=("s3://b/c",),
        )
        assert deployments.find(begun.deployment_id) == ended
        assert deployments.change(begun.id, status="failed", logs="other") == ended

    @pytest.mark.parametrize("wrong", ["colour", "id", "user_id", "deployment_id", "platform", "created_at", "job"])
    def test_what_is_no_field_or_says_which_row_it_is_is_a_mistake(
        self, deployments: Deployments, user: uuid.UUID, wrong: str
    ) -> None:
        begun = deployments.begin(new(user))
        with pytest.raises(TypeError, match=wrong):
            deployments.change(begun.id, status="training", **{wrong: "x"})
        assert deployments.find(begun.deployment_id) == begun

    def test_a_row_there_is_not_is_said(self, deployments: Deployments) -> None:
        for change in (deployments.change, lambda id_: deployments.join(id_, "run")):
            with pytest.raises(UnknownChoiceError, match="There is no deployment"):
                change(uuid.uuid4())

    def test_changes_of_different_fields_at_once_lose_nothing(self, deployments: Deployments, user: uuid.UUID) -> None:
        one = deployments.begin(new(user))

        def change(number: int) -> None:
            deployments.join(one.id, f"run-{number + 2}")
            if number % 4 == 0:
                deployments.change(one.id, status="training")
            elif number % 4 == 1:
                deployments.change(one.id, progress={"epoch": 3})
            elif number % 4 == 2:
                deployments.change(one.id, started_at=NOON)
            else:
                deployments.ask_stop(one.id, f"user {number}", "enough")

        at_once(16, change)
        found = deployments.find(one.deployment_id)
        assert found
        assert set(found.job.runs) == {f"run-{number}" for number in range(1, 18)}
        assert (found.status, found.started_at, found.job.progress) == ("training", NOON, {"epoch": 3})
        assert found.job.stop
        assert found.job.stop.why == "enough"

    def test_numbers_and_text_that_no_database_keeps_spoil_no_row(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        one = deployments.begin(new(user))
        wild = {
            "loss": float("nan"),
            "best": float("-inf"),
            "cost": D("0.10"),
            "at": NOON,
            "seen": (1, [2.5, float("inf")]),
        }
        deployments.change(one.id, progress=wild, metrics=wild, logs="a\0b \ud800", error_message="\0")
        found = deployments.find(one.deployment_id)
        assert found
        kept = {"loss": None, "best": None, "cost": "0.10", "at": NOON.isoformat(), "seen": [1, [2.5, None]]}
        assert (found.job.progress, found.metrics) == (kept, kept)
        assert (found.logs, found.error_message) == ("a\ufffdb ?", "\ufffd")
        assert "NaN" not in config_of(catalogue, found)


class TestTheApplication:
    CONFIG = '{"gpu": "a100", "exact": 1.50, "big": 12345678901234567890123, "nested": {"trainmaster": [null, "ü"]}}'

    def test_what_it_keeps_in_the_config_stays_to_the_digit(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        one = deployments.begin(new(user))
        sqlite = catalogue.database.kind == "sqlite"
        merged = "json_patch(config, :theirs)" if sqlite else "config || cast(:theirs as jsonb)"
        with catalogue.database.writing() as connection:
            statement = text(f"update cloud_deployments set config = {merged} where id = :id")  # noqa: S608 - two constants
            connection.execute(statement, {"theirs": self.CONFIG, "id": one.id.hex if sqlite else one.id})
        deployments.change(one.id, status="training", progress={"epoch": 1}, url="https://x")
        deployments.join(one.id, "run-2")
        written = config_of(catalogue, one)
        for exactly in ("1.50", "12345678901234567890123", "a100"):
            assert exactly in written
        config = json.loads(written)
        assert config["nested"] == {"trainmaster": [None, "ü"]}
        assert config["trainmaster"]["runs"] == ["run-1", "run-2"]

    def test_its_own_rows_and_those_of_other_platforms_are_never_ours(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        ours = deployments.begin(new(user))
        theirs = [
            {"platform": platform, "config": config}
            for platform in ("sagemaker", "runpod")
            for config in (None, {}, [], "text", 7, {"trainmaster": None}, {"trainmaster": "x"}, {"trainmaster": {}})
        ]
        theirs.append({"platform": "runpod", "config": {"trainmaster": {"arn": "x", "runs": ["run-1"]}}})
        rows = [
            {"id": uuid.uuid4(), "user_id": user, "deployment_id": ours.deployment_id, "status": "cancelled", **one,
             "created_at": NOON + timedelta(hours=1)}
            for one in theirs
        ]  # fmt: skip
        with catalogue.database.writing() as connection:
            for row in rows:
                connection.execute(insert(cloud_deployments).values(row))
        assert deployments.find(ours.deployment_id) == ours
        assert deployments.page(user).deployments == [ours]
        assert [one for one in deployments.open_jobs() if one.user_id == user] == [ours]
        assert [one for one in deployments.of_run("run-1") if one.user_id == user] == [ours]
        for row in rows:
            with pytest.raises(UnknownChoiceError):
                deployments.change(row["id"], status="training")
        with catalogue.database.reading() as connection:
            query = select(cloud_deployments.c.status).where(cloud_deployments.c.user_id == user)
            assert sorted(connection.execute(query).scalars()) == ["cancelled"] * len(rows) + ["creating"]

    @pytest.mark.parametrize("asked", ["cancelled", "stopping"])
    def test_a_job_it_cancels_is_to_be_stopped_whoever_changes_the_row_meanwhile(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID, asked: str
    ) -> None:
        one = deployments.begin(new(user))
        as_the_application(catalogue, one, status=asked)
        for changes in ({"status": "training"}, {"progress": {"epoch": 2}}, {"status": "starting"}):
            deployments.change(one.id, **changes)
            found = deployments.find(one.deployment_id)
            assert found
            assert (found.status, found.stop_asked, found.has_ended) == (asked, True, False)
        assert one.id in {each.id for each in deployments.open_jobs()}
        ended = deployments.change(one.id, status="stopped", completed_at=NOON)
        assert (ended.status, ended.has_ended) == ("cancelled" if asked == "cancelled" else "stopped", True)

    def test_a_job_that_completed_before_it_could_be_stopped_is_said_to_have(
        self, catalogue: Catalogue, deployments: Deployments, user: uuid.UUID
    ) -> None:
        one = deployments.begin(new(user))
        as_the_application(catalogue, one, status="cancelled")
        assert deployments.change(one.id, status="completed", completed_at=NOON).status == "completed"


class TestStopping:
    def test_the_first_stop_is_kept(self, deployments: Deployments, user: uuid.UUID) -> None:
        one = deployments.begin(new(user))
        first = deployments.ask_stop(one.id, "Anna", "wrong data")
        assert first.stop_asked
        assert first.job.stop
        assert (first.job.stop.by, first.job.stop.why) == ("Anna", "wrong data")
        assert abs(first.job.stop.at - datetime.now(UTC)) < timedelta(minutes=5)
        assert deployments.ask_stop(one.id, "Ben", "late") == first
        assert deployments.change(one.id, stop=Stop("Cleo", "later", NOON)) == first
        assert deployments.find(one.deployment_id) == first

    def test_one_of_many_that_stop_it_at_once_is_the_first(self, deployments: Deployments, user: uuid.UUID) -> None:
        one = deployments.begin(new(user))
        seen = at_once(12, lambda n: deployments.ask_stop(one.id, f"user {n}", "enough").job.stop)
        found = deployments.find(one.deployment_id)
        assert found
        assert set(seen) == {found.job.stop}

    def test_an_ended_job_is_not_stopped(self, deployments: Deployments, user: uuid.UUID) -> None:
        one = deployments.begin(new(user))
        ended = deployments.change(one.id, status="completed", completed_at=NOON)
        assert deployments.ask_stop(one.id, "Anna", "late") == ended
        assert not ended.stop_asked


class TestRuns:
    def test_runs_join_once_and_leave(self, deployments: Deployments, user: uuid.UUID) -> None:
        one = deployments.begin(new(user))
        deployments.join(one.id, "run-2")
        assert deployments.join(one.id, "run-2").job.runs == ("run-1", "run-2")
        assert deployments.leave(one.id, "run-1").job.runs == ("run-2",)
        assert deployments.leave(one.id, "run-1").job.runs == ("run-2",)
        assert deployments.join(one.id, "run-1").job.runs == ("run-2", "run-1")

    def test_the_open_jobs_of_a_run_are_found_and_nobody_elses(self, deployments: Deployments, user: uuid.UUID) -> None:
        run, other = str(uuid.uuid4()), str(uuid.uuid4())
        first = deployments.begin(new(user, {"runs": (run,)}))
        second = deployments.begin(new(user, {"runs": (other, run)}, created_at=NOON + timedelta(seconds=1)))
        deployments.begin(new(user, {"runs": (other,), "request": {"note": run}}))
        ended = deployments.begin(new(user, {"runs": (run,)}))
        deployments.change(ended.id, status="completed", completed_at=NOON)
        assert deployments.of_run(run) == [first, second]
        assert deployments.of_run(run[:8]) == []


class TestPaging:
    @pytest.fixture
    def some(self, deployments: Deployments, user: uuid.UUID) -> list[Deployment]:
        """Newest first; some at the very same moment."""
        given = [deployments.begin(new(user, created_at=NOON + timedelta(seconds=number // 3))) for number in range(10)]
        deployments.begin(new(uuid.uuid4()))
        return sorted(given, key=lambda one: (one.created_at, one.id.int), reverse=True)

    def test_every_one_is_shown_once_newest_first(
        self, deployments: Deployments, user: uuid.UUID, some: list[Deployment]
    ) -> None:
        seen: list[Deployment] = []
        cursor = None
        while True:
            page = deployments.page(user, limit=3, cursor=cursor)
            seen += page.deployments
            deployments.begin(new(user, created_at=NOON + timedelta(days=1)))  # newer: on no later page
            if (cursor := page.next_cursor) is None:
                break
        assert seen == some

    def test_one_state_or_everybodys_can_be_had(
        self, deployments: Deployments, user: uuid.UUID, some: list[Deployment]
    ) -> None:
        changed = deployments.change(some[4].id, status="training")
        assert deployments.page(user, status="training").deployments == [changed]
        assert {one.user_id for one in deployments.page(limit=200).deployments} > {user}

    @pytest.mark.parametrize("wrong", [{"status": "asleep"}, {"limit": 0}, {"limit": 201}, {"cursor": "nowhere"}])
    def test_what_there_is_not_is_refused(self, deployments: Deployments, wrong: dict[str, Any]) -> None:
        with pytest.raises(UnknownChoiceError):
            deployments.page(**wrong)

    def test_open_jobs_come_oldest_first_once_each_whatever_ends_or_begins_on_the_way(
        self, deployments: Deployments, user: uuid.UUID, some: list[Deployment]
    ) -> None:
        expected = [one.id for one in reversed(some)]
        seen = []
        for one in deployments.open_jobs(page=2):
            if one.user_id != user or one.created_at > NOON + timedelta(hours=1):
                continue
            seen.append(one.id)
            deployments.change(one.id, status="completed", completed_at=NOON)
            deployments.begin(new(user, created_at=NOON + timedelta(days=1)))
            if len(seen) > 20:
                break
        assert seen == expected


def test_a_training_config_deleted_meanwhile_is_said(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.migrated()
    opened = Place(url, tmp_path).open()
    with pytest.raises(UnknownChoiceError, match="deleted"):
        opened.deployments.begin(new(uuid.uuid4(), training_config_id=uuid.uuid4()))
    opened.close()
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def many(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue of 100,000 open jobs among as many that ended."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    url = postgres.migrated() if postgres else None
    opened = Place(url, tmp_path).open()
    sqlite = postgres is None
    series = (
        "with recursive g(n) as (select 1 union all select n + 1 from g where n < 200000) select"
        if sqlite
        else "with g(n) as (select generate_series(1, 200000)) select"
    )
    hexadecimal = "printf('%%032x', {})" if sqlite else "cast(lpad(to_hex({}), 32, '0') as uuid)"
    moment = "'2026-11-21T12:00:00.000000+00:00'" if sqlite else "timestamptz '2026-11-21 12:00:00Z'"
    ours = """'{"trainmaster": {"arn": "arn", "runs": ["run-' || n || '"]}}'"""
    statement = f"""insert into cloud_deployments
        (id, user_id, platform, deployment_id, status, config, created_at, completed_at)
        {series} {hexadecimal.format("n")}, {hexadecimal.format("n % 100")}, 'sagemaker', 'job-' || n, 'training',
        {ours if sqlite else f"cast({ours} as jsonb)"}, {moment}, case when n % 2 = 0 then null else {moment} end from g"""
    with opened.database.writing() as connection:
        connection.exec_driver_sql(statement.replace("%%", "%") if sqlite else statement.replace("%", "%%"))
        if not sqlite:
            connection.exec_driver_sql("analyze cloud_deployments")
    yield opened
    opened.close()
    if postgres and url:
        postgres.drop(url)


def test_a_hundred_thousand_open_jobs_are_walked_a_page_at_a_time_and_found_by_index(many: Catalogue) -> None:
    deployments = many.deployments
    walk = deployments.open_jobs()
    next(walk)  # what is imported and prepared once is not counted
    tracemalloc.start()
    names = {one.deployment_id for one in islice(walk, 9_999)}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(names) == 9_999
    assert peak < 6 << 20
    assert [one.deployment_id for one in deployments.of_run("run-77778")] == ["job-77778"]
    assert deployments.of_run("run-77777") == []  # it has ended
    assert deployments.find("job-77777")
    explain = "explain query plan" if many.database.kind == "sqlite" else "explain"
    queries = {
        "cloud_deployments_job_idx": "select * from cloud_deployments where deployment_id = 'job-7' and platform = 'sagemaker'"
        " order by created_at desc, id desc limit 1",
        "cloud_deployments_open_idx": "select * from cloud_deployments where platform = 'sagemaker' and completed_at is null"
        " order by created_at, id limit 200",
        "cloud_deployments_listing_idx": "select * from cloud_deployments"
        " where user_id = '00000000-0000-0000-0000-000000000007'"
        " order by created_at desc, id desc limit 50",
    }
    with many.database.reading() as connection:
        for index, query in queries.items():
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {query}"))
            assert index in plan, plan
