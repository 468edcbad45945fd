"""`make test-production`: an installation of two Prefect servers, PostgreSQL, Redis, a proxy and three workers, each killed in its turn.

While trainings are followed, whatever carries them is killed with SIGKILL and started again. Every request is then looked for: one run, one
job, one bill. Nothing is simulated but AWS. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from embedded_aws import EmbeddedAws
from parts import ENVIRONMENT, ROOT, Part, is_healthy, postgres, proxy, redis, server, shared_settings, worker
from postgres import BEFORE, ROLES, run
from pydantic import SecretStr

from trainmaster.budget.ledger import open_ledger
from trainmaster.catalog.schema import apply, lacking

HOUSES = ROOT / "model" / "data" / "house_data.csv"
WITHIN = 350.0
"""Seconds of the whole: it ends by itself before six minutes are over, on a machine that does nothing else."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
T = TypeVar("T")


class Installation:
    """All parts, and what anybody asks of them by the proxy's address alone."""

    def __init__(self, folder: Path, aws: EmbeddedAws, within: float) -> None:
        self.aws, self._began = aws, time.monotonic()
        self._deadline = self._began + within
        self.database, address = postgres(folder)
        self.redis, redis_url = redis(folder)
        self.database.start()
        self.redis.start()
        for part in (self.database, self.redis):
            part.wait()
        self.books = address("trainmaster")
        _make_databases(address)
        clean = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        shared = {
            **clean, **shared_settings(),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": address("prefect").replace("postgresql://", "postgresql+asyncpg://"),
            "PREFECT_REDIS_MESSAGING_URL": f"{redis_url}/0",
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"{redis_url}/0",
            "PREFECT_SERVER_DOCKET_URL": f"{redis_url}/1",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }  # fmt: skip
        _prefect(["server", "database", "upgrade", "-y"], {**shared, "PREFECT_HOME": str(folder / "migrating")})
        servers = [server(f"prefect-{number}", folder, shared) for number in (1, 2)]
        self.servers = [one for one, _ in servers]
        self.ports = [port for _, port in servers]
        self.proxy, port = proxy(folder, self.ports)
        for part in (*self.servers, self.proxy):  # one after the other, as in the Compose file
            part.start()
            part.wait()
        self.api_url = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **clean, **aws.environment,
            "DATABASE_URL": self.books, "PREFECT_API_URL": self.api_url, "PREFECT_WORKER_QUERY_SECONDS": "3",
            "PYTHONPATH": str(ROOT), "PWD": str(ROOT), "MPLCONFIGDIR": str(folder / "matplotlib"),
        }  # fmt: skip
        self._deploy(folder)
        self.workers = [worker(f"worker-{number}", folder, self.environment) for number in (1, 2, 3)]
        for each in self.workers:
            each.start()
        self.started = round(time.monotonic() - self._began, 1)

    @property
    def parts(self) -> list[Part]:
        return [*self.workers, self.proxy, *self.servers, self.redis, self.database]

    def until(self, condition: Callable[[], T], why: str) -> T:
        """What the condition says once it holds. Raises RuntimeError when it never does."""
        while not (found := condition()):
            if time.monotonic() > self._deadline:
                raise RuntimeError(why)
            time.sleep(0.5)
        return found

    def ask(self, path: str, body: Any = None) -> Any:
        """By way of the proxy, again while nobody answers: everything asked here may be asked twice."""

        def answer() -> httpx.Response | None:
            url = f"{self.api_url}/{path}"
            try:
                said = httpx.get(url, timeout=30, trust_env=False) if body is None else httpx.post(url, json=body, timeout=30, trust_env=False)  # fmt: skip
            except httpx.HTTPError:
                return None
            return None if said.status_code >= 500 else said

        return self.until(answer, f"{path}: nobody answers").raise_for_status().json()

    def submit(self, name: str) -> str:
        """A training of its own user; the id of its run. Asked twice it is one run."""
        bucket = self.aws.environment["TRAINMASTER_BUCKET"]
        self.aws.client("s3").put_object(Bucket=bucket, Key=f"{name}/data.csv", Body=HOUSES.read_bytes())
        request = {"model_name": name, "data_uri": f"s3://{bucket}/{name}/", "budget_limit": 1.00, "user_id": str(uuid4()), "max_runtime_seconds": 3600}  # fmt: skip
        body = {
            "parameters": {"request": request},
            "state": {"type": "SCHEDULED"},
            "idempotency_key": name,
            "name": name,
        }
        return str(self.ask(f"deployments/{self.deployment}/create_flow_run", body)["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"flow_runs/{run_id}")["state"]
        return found

    def set_state(self, run_id: str, kind: str, **state: Any) -> None:
        self.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": kind, **state}, "force": True})

    def jobs(self, name: str) -> list[str]:
        found = self.aws.client("sagemaker").list_training_jobs(NameContains=name, MaxResults=100)
        names = [one["TrainingJobName"] for one in found["TrainingJobSummaries"]]
        return [each for each in names if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{10}}-\d+", each)]

    @contextmanager
    def jobs_that_wait(self) -> Iterator[None]:
        """For machines, until the block ends: their runs follow them all the while."""
        self.aws.control("POST", "faults", {"operation": "LaunchingMLInstances", "error": "CapacityError"})
        try:
            yield
        finally:
            self.aws.control("DELETE", "faults")

    def close(self) -> None:
        for part in self.parts:
            part.close()

    def _deploy(self, folder: Path) -> None:
        environment = {**self.environment, "PREFECT_HOME": str(folder / "deploying")}
        for arguments in (
            ["work-pool", "create", "trainmaster", "--type", "process"],
            ["deploy", "--name", "train-model"],
        ):
            _prefect(["--no-prompt", *arguments], environment)
        [deployment] = self.ask("deployments/filter", {"deployments": {"name": {"any_": ["train-model"]}}})
        self.deployment = deployment["id"]


def _prefect(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises RuntimeError with all it said."""
    command = [str(ENVIRONMENT / "prefect"), *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def _make_databases(address: Callable[[str], str]) -> None:
    for name in ("prefect", "trainmaster"):
        run(address("postgres"), f"create database {name}")
    for role in ROLES:
        run(address("postgres"), f"create role {role} nologin")
    run(address("trainmaster"), BEFORE.read_text(encoding="utf-8"))
    url = SecretStr(address("trainmaster"))
    list(apply(url, lacking(url)))


def survive(installation: Installation) -> dict[str, Any]:
    """Kill each part once while trainings are followed. What was asked for, by name, and how long each part was missed."""
    runs: dict[str, str] = {}
    missed: dict[str, float] = {}
    with installation.jobs_that_wait():
        for name in ("first", "second", "third"):
            runs[name] = installation.submit(name)
        for name in runs:
            installation.until(lambda name=name: installation.jobs(name), f"{name} was never launched")  # type: ignore[misc]
        for part in (*installation.servers, installation.redis, installation.database):
            began = time.monotonic()
            part.kill()
            name = f"while-{part.name}-is-gone"
            if part in installation.servers:  # the other one takes it
                runs[name] = installation.submit(name)
                part.start()
                part.wait()
            else:
                part.start()
                part.wait()
                runs[name] = installation.submit(name)
            missed[part.name] = round(time.monotonic() - began, 1)
            say(f"{part.name} was killed and is back after {missed[part.name]} s; a training was asked for meanwhile")
        for name in runs:
            installation.until(lambda name=name: installation.jobs(name), f"{name} was never launched")  # type: ignore[misc]
        say(f"all {len(runs)} trainings are launched")
        lost = _lose_a_worker(installation, runs)
    return {"runs": runs, "missed": missed, "lost": lost}


def _lose_a_worker(installation: Installation, runs: Mapping[str, str]) -> list[str]:
    """The one that carries most, with its runs; they are buried and tried again as the automation and a person would. Which they were."""
    held = {name: installation.ask(f"flow_runs/{run_id}")["infrastructure_pid"] or "" for name, run_id in runs.items()}
    by_worker = {
        each.name: [name for name, pid in held.items() if _carries(each, pid)] for each in installation.workers
    }
    victim = max(installation.workers, key=lambda each: len(by_worker[each.name]))
    victim.kill()
    names = by_worker[victim.name]
    if not names:
        raise RuntimeError(f"no worker carries anything: {held}")
    for name in names:
        installation.set_state(runs[name], "CRASHED", message="Its machine is gone.")
        installation.set_state(runs[name], "SCHEDULED", name="AwaitingRetry")
    say(f"{victim.name} was killed with {len(names)} runs; they are tried again")
    victim.start()
    return names


def _carries(worker_: Part, infrastructure_pid: str) -> bool:
    """Whether a run's process is below the worker's."""
    pid = int(infrastructure_pid.rpartition(":")[2] or 0)
    while pid > 1:
        if pid == worker_.pid:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            return False
    return False


def look(installation: Installation, runs: Mapping[str, str]) -> dict[str, Any]:
    """Every request: its run completed, its one job, its one bill, and the event that says so."""
    for name, run_id in runs.items():
        installation.until(lambda run_id=run_id: installation.state(run_id)["type"] in ENDED, f"{name} never ended")  # type: ignore[misc]
    states = Counter(installation.state(run_id)["name"] for run_id in runs.values())
    there = installation.ask(
        "flow_runs/filter", {"deployments": {"id": {"any_": [installation.deployment]}}, "limit": 200}
    )
    jobs = {name: installation.jobs(name) for name in runs}
    with open_ledger(
        SecretStr(installation.books), Path(installation.aws.environment["TRAINMASTER_STATE_DIR"])
    ) as ledger:
        billed = [name for name, (job, *_) in jobs.items() if (one := ledger.find(job)) and one.bill is not None]
    completed = {"filter": {"event": {"name": ["prefect.flow-run.Completed"]}}, "limit": 50}

    def told() -> set[str]:
        events = installation.ask("events/filter", completed)["events"]
        return {one["resource"]["prefect.resource.id"].rpartition(".")[2] for one in events} & set(runs.values())

    installation.until(lambda: len(told()) == len(runs), "events of runs that completed were lost")
    return {
        "requests": len(runs),
        "runs": len(there),
        "states": dict(states),
        "jobs": sum(len(each) for each in jobs.values()),
        "billed": len(billed),
        "completed_events": len(told()),
    }


def say(line: str) -> None:
    """To whoever watches."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Start, kill, look; exit code 1 unless nothing was doubled or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--within", type=float, default=WITHIN, help="seconds it may take once AWS is there (default %(default)s)"
    )
    args = parser.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="trainmaster-production-", ignore_cleanup_errors=True)
            )
        )
        folder.chmod(0o755)  # PostgreSQL and the proxy are somebody else when we are root
        aws = EmbeddedAws(folder / "aws")
        stack.callback(aws.stop)
        installation = Installation(folder, aws, args.within)
        stack.callback(installation.close)
        say(f"two servers, PostgreSQL, Redis, a proxy and three workers are up after {installation.started} s")
        survived = survive(installation)
        found = look(installation, survived["runs"])
        both = [is_healthy(port) for port in installation.ports]
    count = found["requests"]
    well = found["states"] == {"Completed": count} and [found[each] for each in ("runs", "jobs", "billed", "completed_events")] == [count] * 4  # fmt: skip
    facts = {"well": well and all(both), **found, "tried_again": len(survived["lost"]), "seconds_missed": survived["missed"], "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
    print(json.dumps(facts))
    sys.exit(not facts["well"])


if __name__ == "__main__":
    main()
