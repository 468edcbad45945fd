"""`trainmaster setup` on a Prefect server of this module's own, by its command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.set_up.applying import SetUp, kinds_of
from deployments.set_up.flows import Deployments, Schedules
from deployments.set_up.job_templates import job_template
from deployments.set_up.pools import Jobs, WorkPools
from deployments.set_up.server import Server
from tasks.turns import wait_for_turn
from trainmaster.doctor.prefect import prefect as prefect_findings
from trainmaster.errors import NotConfiguredError
from trainmaster.prefect_server import PrefectServer
from trainmaster.setup.infrastructure import Infrastructure, read_infrastructure
from trainmaster.setup.notifying import sender_of
from trainmaster.setup.plan import Action, Step
from trainmaster.setup.telling import MESSAGES
from trainmaster.setup.wanted import POOL_TYPES, PoolType

ROOT = Path(__file__).parents[2]
WITHIN = 300
HOOK = "https://example.com/hook?token=s3cret"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    started = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        started.wait_until_healthy()
        with temporary_settings({PREFECT_API_URL: started.api_url}):
            yield started
    finally:
        started.close()


@pytest.fixture
def server(prefect: PrefectServer) -> Iterator[Server]:
    with get_client(sync_client=True) as client:
        yield Server(client)


def run(prefect: PrefectServer, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINMASTER_", "PREFECT_"))}
    return subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "setup", *options],
        env={**clean, **prefect.environment, **variables},
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip


def steps_done(server: Server, address: str) -> list[Step]:
    """Of a set-up in this process, which has imported everything already."""
    set_up = SetUp(server, kinds_of(server, ROOT, sender_of(address)))
    return list(set_up.carry_out(set_up.plan()))


@pytest.mark.timeout(900)
def test_two_at_once_set_a_new_server_up_and_a_third_finds_nothing_to_do(
    prefect: PrefectServer, server: Server
) -> None:
    """Everything of one story on one server: a set-up takes seconds, most of them Prefect's import."""
    told = {"TRAINMASTER_NOTIFY_URL": HOOK}
    asked = run(prefect, **told)
    assert asked.returncode == 2
    assert "nobody can be asked here: add --yes, or --dry-run" in asked.stderr
    assert server.get("/work_pools/trainmaster") is None

    with ThreadPoolExecutor(2) as two:
        both = [one.result() for one in [two.submit(run, prefect, "--yes", **told) for _ in range(2)]]
    assert [one.returncode for one in both] == [0, 0], both
    assert "s3cret" not in "".join(one.stdout + one.stderr for one in both)
    third = run(prefect, **told)
    assert third.returncode == 0
    assert third.stdout.startswith("Prefect server: nothing to do,")

    queues = {one["name"]: one["priority"] for one in server.all("/work_pools/trainmaster/queues/filter")}
    assert queues == {"paid": 1, "default": 2, "background": 3}
    assert sorted(one["name"] for one in server.all("/automations/filter")) == sorted(
        [*MESSAGES, "Trainmaster: a run that fell silent has crashed"]
    )
    [block] = server.all("/block_documents/filter", include_secrets=False)
    assert "s3cret" not in json.dumps(block)
    assert server.get("/v2/concurrency_limits/trainmaster-launches")["limit"] == 3

    _by_hand(server)
    steps = {(step.kind, step.name): step for step in steps_done(server, HOOK)}
    deployment = steps["deployment", "reconcile"]
    assert (deployment.changed, deployment.kept) == (("entrypoint",), ("concurrency_limit",))
    schedule = steps["schedule", "reconcile: every-five-minutes"]
    assert (schedule.changed, schedule.kept, schedule.notes) == ((), ("cron",), ("is switched off, and stays so",))
    assert steps["automation", "Trainmaster: runs are late"].notes == ("is paused, and stays so",)

    said = {one.subject: one for one in prefect_findings({"PREFECT_API_URL": prefect.api_url})}
    said.pop("late runs")  # no worker: by now there may be some
    assert {subject: one.verdict.value for subject, one in said.items()} == {
        "Prefect": "ok", "work pool": "ok", "workers": "fail", "deployments": "ok", "schedules": "warn", "automations": "warn",
        "limits": "ok",
    }  # fmt: skip
    assert said["schedules"].says == "reconcile never run by themselves: paused or switched off"
    assert said["automations"].says == "paused: runs are late"

    elsewhere = "mailtos://me:s3cret@smtp.example.com?to=you@example.com"
    doing = [step for step in steps_done(server, elsewhere) if step.does_something]
    assert [step.action for step in doing if step.kind == "notification block"] == ["create", "remove"]
    resent = [step.name for step in doing if (step.action, step.changed) == ("update", ("sends_to",))]
    assert sorted(resent) == sorted(MESSAGES)
    assert [step for step in steps_done(server, elsewhere) if step.does_something] == []


def _by_hand(server: Server) -> None:
    """As people do it in the UI."""
    [reconcile] = server.all("/deployments/filter", deployments={"name": {"any_": ["reconcile"]}})
    path = f"/deployments/{reconcile['id']}"
    server.update(path, {"concurrency_limit": 2, "entrypoint": "flows/nowhere.py:nothing"})
    [schedule] = reconcile["schedules"]
    cron = {"cron": "*/7 * * * *", "timezone": "UTC"}
    server.update(f"{path}/schedules/{schedule['id']}", {"schedule": cron, "active": False})
    [late] = (one for one in server.all("/automations/filter") if one["name"] == "Trainmaster: runs are late")
    server.update(f"/automations/{late['id']}", {"enabled": False})


def test_what_an_older_version_deployed_goes_and_what_is_somebody_elses_stays(server: Server) -> None:
    flow = server.create("/flows/", {"name": "an-older-one"})["id"]
    ours = {"name": "an-older-one", "flow_id": flow, "tags": ["trainmaster"], "entrypoint": "flows/an_older_one.py:it"}
    theirs = {"name": "theirs", "flow_id": flow, "tags": ["trainmaster"], "entrypoint": "flows/an_older_one.py:it"}
    for each in (ours, theirs):
        server.create("/deployments/", each)
    deployments = Deployments(server, ROOT)
    set_up = SetUp(server, [deployments, Schedules(server, deployments)])
    planned = set_up.plan()
    assert [step.name for step in planned if step.action is Action.REMOVE] == ["an-older-one"]
    list(set_up.carry_out(planned))
    names = {one["name"] for one in server.all("/deployments/filter")}
    assert "an-older-one" not in names
    assert "theirs" in names


def test_what_was_done_before_a_failure_is_done_and_the_next_goes_on_from_there(server: Server) -> None:
    class Breaking(Schedules):
        def create(self, name: str, facts: Any) -> None:
            if name.startswith("reconcile"):
                raise ConnectionError(name)
            super().create(name, facts)

    deployments = Deployments(server, ROOT)
    set_up = SetUp(server, [deployments, Schedules(server, deployments)])
    list(set_up.carry_out(set_up.plan()))
    for one in server.all("/deployments/filter"):
        for schedule in one["schedules"]:
            server.remove(f"/deployments/{one['id']}/schedules/{schedule['id']}")
    broken = SetUp(server, [Deployments(server, ROOT), Breaking(server, Deployments(server, ROOT))])
    with pytest.raises(ConnectionError):
        list(broken.carry_out(broken.plan()))
    left = [step for step in set_up.plan() if step.does_something]
    assert "reconcile: every-five-minutes" in [step.name for step in left]
    assert "stop-idle: every-ten-minutes" not in [step.name for step in left]
    list(set_up.carry_out(left))
    assert [step for step in set_up.plan() if step.does_something] == []


@pytest.mark.parametrize("pool_type", POOL_TYPES)
def test_a_pool_of_each_type_is_made_from_the_file_and_then_there_is_nothing_to_do(
    server: Server, pool_type: PoolType
) -> None:
    server.remove("/work_pools/trainmaster")
    shipped = read_infrastructure(ROOT / "deployments" / "work-pool.yaml")

    def done(infrastructure: Infrastructure, *, reset: bool = False) -> list[Step]:
        set_up = SetUp(server, [WorkPools(server, Jobs(pool_type, job_template(pool_type, infrastructure)))])
        return [step for step in set_up.carry_out(set_up.plan(reset=reset)) if step.does_something or step.kept]

    assert [step.action for step in done(shipped)] == ["create"]
    assert server.get("/work_pools/trainmaster")["type"] == pool_type
    assert done(shipped) == []

    [changed] = done(shipped.model_copy(update={"labels": {"team": "vision"}}))
    assert (changed.action, changed.changed) == ("update", ("base_job_template",))
    there = server.get("/work_pools/trainmaster")["base_job_template"]
    assert there["variables"]["properties"]["labels"]["default"] == {"team": "vision"}

    there["variables"]["properties"]["labels"]["default"] = {"by": "hand"}
    server.update("/work_pools/trainmaster", {"base_job_template": there})
    assert [step.kept for step in done(shipped)] == [("base_job_template",)]
    assert [step.changed for step in done(shipped, reset=True)] == [("base_job_template",)]

    another: PoolType = "ecs" if pool_type == "kubernetes" else "kubernetes"
    with pytest.raises(NotConfiguredError, match=f"is of type {pool_type}, not {another}"):
        WorkPools(server, Jobs(another, job_template(another, shipped))).found()
    server.remove("/work_pools/trainmaster")


def test_type_and_file_of_a_pool_go_together(prefect: PrefectServer) -> None:
    ended = run(prefect, "--dry-run", "--pool-type", "ecs")
    assert ended.returncode == 2
    assert "--pool-type and --pool-file go together" in ended.stderr


def test_a_run_takes_its_turn_where_there_is_a_limit_and_goes_on_where_there_is_none(server: Server) -> None:
    wait_for_turn("a-limit-nobody-made")
    server.create("/v2/concurrency_limits/", {"name": "slow", "limit": 3, "slot_decay_per_second": 0.000001})
    for _ in range(2):
        wait_for_turn("slow")
    assert server.get("/v2/concurrency_limits/slow")["active_slots"] == 2


def test_a_server_that_is_away_is_said_with_what_to_do(prefect: PrefectServer) -> None:
    ended = run(prefect, "--yes", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "The Prefect server at http://127.0.0.1:9/api does not answer (ConnectError). Start it"
    )


def test_without_a_server_to_set_up_it_says_which_variable_to_set(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINMASTER_", "PREFECT_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "setup"],
        env={**clean, "PREFECT_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("PREFECT_API_URL is not set")
