"""The Prefect server, asked by HTTP: that it answers, fits our version, was set up, and has a worker that does its runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import yaml

from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.setup.notifying import BLOCK, VARIABLE
from trainmaster.setup.telling import MESSAGES, PREFIX
from trainmaster.setup.wanted import LIMITS, POOL

ROOT = Path(__file__).parents[2]
LATE = timedelta(minutes=2)
_SET_UP = "`trainmaster setup`"
_START = f"`prefect worker start --pool {POOL}` on a machine that always runs."
_SECONDS = httpx.Timeout(15, connect=5)
_PAGE = 200


def prefect(environment: Mapping[str, str]) -> Iterator[Finding]:
    """All there is to say of the server of PREFECT_API_URL, or of the active profile."""
    settings = _settings(environment)
    address = settings.get("PREFECT_API_URL", "").rstrip("/")
    if not address:
        yield failure(
            "Prefect",
            "PREFECT_API_URL is not set",
            "Set it to your server's, http://…:4200/api; on a laptop `make up` starts one.",
        )
        return
    with _client(address, settings) as client:
        try:
            answer = client.get("/health")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            said = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            fix = "Start it (`make up`, `prefect server start`), or correct PREFECT_API_URL; Prefect Cloud wants PREFECT_API_KEY."
            yield failure("Prefect", f"{address} does not answer ({said})", fix)
            return
        server = _Server(client)
        yield from server.versions(address)
        yield from server.pool()
        yield from server.deployments()
        yield from server.automations()
        yield from server.limits()
        yield from server.late_runs()


def _settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment over the active profile of Prefect's; read here, for importing Prefect takes seconds."""
    home = Path(environment.get("PREFECT_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".prefect")
    file = Path(environment.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        kept = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError:
        kept = {}
    profile = kept.get("profiles", {}).get(environment.get("PREFECT_PROFILE") or kept.get("active", ""), {})
    return {**{name: str(value) for name, value in profile.items()}, **{k: v for k, v in environment.items() if v}}


def _client(address: str, settings: Mapping[str, str]) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if (key := settings.get("PREFECT_API_KEY")) else {}
    name, _, password = settings.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return httpx.Client(
        base_url=address, headers=headers, auth=httpx.BasicAuth(name, password) if name else None, timeout=_SECONDS
    )


class _Server:
    """What it answers; httpx's errors are whoever asks'."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def versions(self, address: str) -> Iterator[Finding]:
        here = version("prefect")
        answer = self._client.get("/admin/version")
        if answer.is_error:  # Prefect Cloud, which is always the newest
            yield ok("Prefect", f"{address} answers")
            return
        there = str(answer.json())
        if there.split(".")[:2] == here.split(".")[:2]:
            yield ok("Prefect", f"{address} answers, version {there}; {here} here")
        else:
            fix = f"Let the server run {here}, which Trainmaster was tested with: `pip install prefect=={here}`."
            yield warning("Prefect", f"version {there} there, {here} here", fix)

    def pool(self) -> Iterator[Finding]:
        pool = self._find(f"/work_pools/{POOL}")
        if pool is None:
            yield failure("work pool", f"there is no pool {POOL}", f"{_SET_UP} makes it.")
            return
        if pool["is_paused"]:
            resume = f"`prefect work-pool resume {POOL}`, if that was not meant."
            yield warning("work pool", f"{POOL} is paused: no run begins", resume)
        else:
            yield ok("work pool", f"{POOL}, of type {pool['type']}")
        workers = self._all(f"/work_pools/{POOL}/workers/filter")
        alive = [one for one in workers if one["status"] == "ONLINE"]
        if alive:
            yield ok("workers", f"{len(alive)} alive: {', '.join(one['name'] for one in alive[:5])}")
        elif workers:
            last = max(str(one["last_heartbeat_time"]) for one in workers)
            yield failure("workers", f"none alive; the last was heard of at {last[:19]} UTC", _START)
        else:
            yield failure("workers", "there never was one: no run begins", _START)

    def deployments(self) -> Iterator[Finding]:
        listed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        there = {one["name"]: one for one in self._all("/deployments/filter")}
        if lacking := [one["name"] for one in listed if one["name"] not in there]:
            yield failure("deployments", f"{len(lacking)} are missing: {', '.join(lacking)}", f"{_SET_UP} makes them.")
        else:
            yield ok("deployments", f"all {len(listed)} are there")
        asleep = [
            one["name"]
            for one in listed
            if one.get("schedules") and one["name"] in there and not _is_scheduled(there[one["name"]])
        ]
        if asleep:
            fix = "Switch them on in the UI, if that was not meant: nothing is settled, stopped or swept meanwhile."
            yield warning("schedules", f"{', '.join(asleep)} never run by themselves: paused or switched off", fix)

    def automations(self) -> Iterator[Finding]:
        ours = [one for one in self._all("/automations/filter") if one["name"].startswith(PREFIX)]
        names = {one["name"] for one in ours}
        if not names - set(MESSAGES):
            yield failure(
                "automations", "runs whose machine is gone are never ended", f"{_SET_UP} makes what ends them."
            )
        elif lacking := [name.removeprefix(PREFIX) for name in MESSAGES if name not in names]:
            fix = f"Set {VARIABLE}, or save a notification block named {BLOCK}; then {_SET_UP}."
            when = (
                "; ".join(lacking) if len(lacking) < len(MESSAGES) else "a budget, a run or a machine needs attention"
            )
            yield warning("automations", f"nobody is told when {when}", fix)
        else:
            yield ok("automations", f"all {len(names)} are there")
        if paused := [one["name"].removeprefix(PREFIX) for one in ours if not one["enabled"]]:
            yield warning(
                "automations", f"paused: {', '.join(paused)}", "Resume them in the UI, if that was not meant."
            )

    def limits(self) -> Iterator[Finding]:
        lacking = [name for name in LIMITS if self._find(f"/v2/concurrency_limits/{name}") is None]
        if lacking:
            yield warning("limits", f"missing: {', '.join(lacking)}", f"{_SET_UP} makes them.")
        else:
            yield ok("limits", f"all {len(LIMITS)} are there")

    def late_runs(self) -> Iterator[Finding]:
        before = (datetime.now(UTC) - LATE).isoformat()
        late = {"state": {"name": {"any_": ["Late"]}}, "expected_start_time": {"before_": before}}
        answer = self._client.post(
            "/flow_runs/count", json={"flow_runs": late, "work_pools": {"name": {"any_": [POOL]}}}
        )
        if count := answer.raise_for_status().json():
            yield warning("late runs", f"{count} should have begun long ago", f"Start more workers: {_START}")
        else:
            yield ok("late runs", "none")

    def _find(self, path: str) -> Any:
        answer = self._client.get(path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self._client.post(path, json={"limit": _PAGE, "offset": len(found)})
            page = answer.raise_for_status().json()
            found += page
            if len(page) < _PAGE:
                return found


def _is_scheduled(deployment: Mapping[str, Any]) -> bool:
    return not deployment["paused"] and any(one["active"] for one in deployment["schedules"])
