"""The work pool, its queues, and the limits that runs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.set_up.job_templates import Template, default_template
from deployments.set_up.server import Server
from trainmaster.errors import NotConfiguredError
from trainmaster.setup.plan import Facts, Found
from trainmaster.setup.wanted import LIMITS, POOL, POOL_TYPE, POOLS, QUEUES, PoolType


@dataclass(frozen=True)
class Jobs:
    """What a pool's runs are carried out as."""

    pool_type: PoolType
    template: Template


class WorkPools:
    """Ours alone. Where it is not said what its runs are carried out as, type and job template of one that is there stay what they are."""

    name = "work pool"
    enforced: frozenset[str] = frozenset()

    def __init__(self, server: Server, jobs: Jobs | None = None) -> None:
        self._server, self._jobs = server, jobs

    def wanted(self) -> Mapping[str, Facts]:
        said = {"base_job_template": self._jobs.template} if self._jobs else {}
        return {name: {**facts, **said} for name, facts in POOLS.items()}

    def found(self) -> Mapping[str, Found]:
        """Raises NotConfiguredError for one of another type: Prefect cannot change it."""
        there = {name: one for name in POOLS if (one := self._server.get(f"/work_pools/{name}"))}
        for name, one in there.items():
            if self._jobs and one["type"] != self._jobs.pool_type:
                raise NotConfiguredError(
                    f"Work pool {name} is of type {one['type']}, not {self._jobs.pool_type}, and no pool can become one of another type."
                    f" Once its runs have ended, `prefect work-pool delete {name}`, and run the same again."
                )
        return {name: _pool(one, with_template=self._jobs is not None) for name, one in there.items()}

    def create(self, name: str, facts: Facts) -> None:
        jobs = self._jobs or Jobs(POOL_TYPE, default_template(POOL_TYPE))
        self._server.create(
            "/work_pools/", {"name": name, "type": jobs.pool_type, "base_job_template": jobs.template, **facts}
        )

    def update(self, name: str, facts: Facts) -> None:
        self._server.update(f"/work_pools/{name}", dict(facts))

    def remove(self, name: str) -> None:
        self._server.remove(f"/work_pools/{name}")


def _pool(there: dict[str, Any], *, with_template: bool) -> Found:
    notes = (f"is of type {there['type']}",) if there["type"] != POOL_TYPE else ()
    paused = ("is paused, and stays so: none of its runs begin",) if there.get("is_paused") else ()
    facts = {"description": there.get("description") or ""}
    template = {"base_job_template": there["base_job_template"]} if with_template else {}
    return Found(facts | template, notes=notes + paused)


class WorkQueues:
    """Of our pool."""

    name = "work queue"
    enforced: frozenset[str] = frozenset()
    _path = f"/work_pools/{POOL}/queues"

    def __init__(self, server: Server) -> None:
        self._server = server

    def wanted(self) -> Mapping[str, Facts]:
        return QUEUES

    def found(self) -> Mapping[str, Found]:
        return {one["name"]: _queue(one) for one in self._server.all(f"{self._path}/filter")}

    def create(self, name: str, facts: Facts) -> None:
        if self._server.create(self._path, {"name": name, **facts}) is None:  # `default` comes with the pool
            self._server.update(f"{self._path}/{name}", dict(facts))
        self._put_in_order()

    def update(self, name: str, facts: Facts) -> None:
        self._server.update(f"{self._path}/{name}", dict(facts))
        self._put_in_order()

    def remove(self, name: str) -> None:
        self._server.remove(f"{self._path}/{name}")

    def _put_in_order(self) -> None:
        """Prefect moves the others of a pool when one is given a priority: each in its turn, the first last, leaves them as wanted."""
        there = self.found()
        for name, facts in sorted(QUEUES.items(), key=lambda item: -int(item[1]["priority"])):
            if name in there:
                self._server.update(f"{self._path}/{name}", {"priority": facts["priority"]})


def _queue(there: dict[str, Any]) -> Found:
    notes = ("is paused, and stays so: none of its runs begin",) if there.get("is_paused") else ()
    return Found({"priority": there.get("priority"), "description": there.get("description") or ""}, notes=notes)


class Limits:
    """How fast all runs together may do something."""

    name = "concurrency limit"
    enforced: frozenset[str] = frozenset()

    def __init__(self, server: Server) -> None:
        self._server = server

    def wanted(self) -> Mapping[str, Facts]:
        return LIMITS

    def found(self) -> Mapping[str, Found]:
        return {name: _limit(there) for name in LIMITS if (there := self._server.get(f"/v2/concurrency_limits/{name}"))}

    def create(self, name: str, facts: Facts) -> None:
        self._server.create("/v2/concurrency_limits/", {"name": name, "active": True, **facts})

    def update(self, name: str, facts: Facts) -> None:
        self._server.update(f"/v2/concurrency_limits/{name}", dict(facts))

    def remove(self, name: str) -> None:
        self._server.remove(f"/v2/concurrency_limits/{name}")


def _limit(there: dict[str, Any]) -> Found:
    notes = () if there.get("active", True) else ("is switched off, and stays so",)
    return Found({"limit": there["limit"], "slot_decay_per_second": there["slot_decay_per_second"]}, notes=notes)
