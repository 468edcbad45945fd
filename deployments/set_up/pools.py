"""The work pool, its queues, and the limits that runs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.workers.process import ProcessWorker

from deployments.set_up.server import Server
from trainmaster.setup.plan import Facts, Found
from trainmaster.setup.wanted import LIMITS, POOL, POOL_TYPE, POOLS, QUEUES


class WorkPools:
    """Ours alone; of one that is there its type, job template and limit are whoever made it's."""

    name = "work pool"
    enforced: frozenset[str] = frozenset()

    def __init__(self, server: Server) -> None:
        self._server = server

    def wanted(self) -> Mapping[str, Facts]:
        return POOLS

    def found(self) -> Mapping[str, Found]:
        return {name: _pool(there) for name in POOLS if (there := self._server.get(f"/work_pools/{name}"))}

    def create(self, name: str, facts: Facts) -> None:
        template = ProcessWorker.get_default_base_job_template()
        self._server.create("/work_pools/", {"name": name, "type": POOL_TYPE, "base_job_template": template, **facts})

    def update(self, name: str, facts: Facts) -> None:
        self._server.update(f"/work_pools/{name}", dict(facts))

    def remove(self, name: str) -> None:
        self._server.remove(f"/work_pools/{name}")


def _pool(there: dict[str, Any]) -> Found:
    notes = (f"is of type {there['type']}",) if there["type"] != POOL_TYPE else ()
    paused = ("is paused, and stays so: none of its runs begin",) if there.get("is_paused") else ()
    return Found({"description": there.get("description") or ""}, notes=notes + paused)


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
