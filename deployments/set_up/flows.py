"""The deployments of `prefect.yaml` and their schedules, as `prefect deploy` makes them, and no more than has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.set_up.server import Server
from trainmaster.errors import NotConfiguredError
from trainmaster.setup.plan import Facts, Found

ROOT = Path(__file__).parents[2]
LIST = ROOT / "prefect.yaml"
OURS = "trainmaster"
"""The tag of every deployment of ours."""
_WHERE_DEPLOYED = "{{ $PWD }}"


class Deployments:
    """By name, which is that of the flow as well. `code` is where the code lies on the workers."""

    name = "deployment"
    enforced = frozenset({"entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema"})

    def __init__(self, server: Server, code: Path) -> None:
        self._server, self._code = server, code

    @cached_property
    def listed(self) -> Sequence[Mapping[str, Any]]:
        """What prefect.yaml says of each."""
        found: Sequence[Mapping[str, Any]] = yaml.safe_load(LIST.read_text(encoding="utf-8"))["deployments"]
        return found

    def wanted(self) -> Mapping[str, Facts]:
        return {one["name"]: self._facts(one) for one in self.listed}

    @cached_property
    def there(self) -> Mapping[str, dict[str, Any]]:
        """What the server says of those that bear our tag or a name of ours."""
        names = {one["name"] for one in self.listed}
        flows = {one["id"]: one["name"] for one in self._server.all("/flows/filter")}
        return {
            one["name"]: one
            for one in self._server.all("/deployments/filter")
            if flows.get(one["flow_id"]) == one["name"] and (one["name"] in names or OURS in one["tags"])
        }

    def found(self) -> Mapping[str, Found]:
        return {name: _deployment(there) for name, there in self.there.items()}

    def create(self, name: str, facts: Facts) -> None:
        flow = self._server.create("/flows/", {"name": name})
        self._server.create("/deployments/", {"name": name, "flow_id": flow["id"], **_body(facts)})
        self.read_anew()

    def update(self, name: str, facts: Facts) -> None:
        self._server.update(f"/deployments/{self.there[name]['id']}", _body(facts))
        self.read_anew()

    def remove(self, name: str) -> None:
        self._server.remove(f"/deployments/{self.there[name]['id']}")
        self.read_anew()

    def read_anew(self) -> None:
        """Ask the server again when `there` is wanted next."""
        self.__dict__.pop("there", None)

    def _facts(self, listed: Mapping[str, Any]) -> Facts:
        flow = load_flow_from_entrypoint(f"{ROOT / listed['entrypoint']}")
        limit = listed.get("concurrency_limit") or {}
        return {
            "concurrency_limit": limit.get("limit"),
            "collision_strategy": limit.get("collision_strategy"),
            "description": listed["description"],
            "enforce_parameter_schema": listed.get("enforce_parameter_schema", True),
            "entrypoint": listed["entrypoint"],
            "parameter_openapi_schema": parameter_schema(flow).model_dump(mode="json", exclude_unset=True),
            "parameters": listed.get("parameters") or {},
            "pull_steps": self._pull_steps(),
            "tags": sorted(listed["tags"]),
            "work_pool": listed["work_pool"]["name"],
            "work_queue": listed["work_pool"].get("work_queue_name") or "default",
        }

    def _pull_steps(self) -> list[Any]:
        steps = yaml.safe_load(LIST.read_text(encoding="utf-8")).get("pull") or []
        found: list[Any] = _with(steps, _WHERE_DEPLOYED, str(self._code))
        return found


def _with(value: Any, placeholder: str, instead: str) -> Any:
    match value:
        case dict():
            return {key: _with(inner, placeholder, instead) for key, inner in value.items()}
        case list():
            return [_with(inner, placeholder, instead) for inner in value]
        case str():
            said = value.replace(placeholder, instead)
            if "{{ $" in said:
                raise NotConfiguredError(f"{LIST.name}: setting up knows nothing of {said!r} but {placeholder}.")
            return said
        case _:
            return value


def _deployment(there: Mapping[str, Any]) -> Found:
    limit = there.get("global_concurrency_limit") or {}
    facts = {
        "concurrency_limit": limit.get("limit"),
        "collision_strategy": (there.get("concurrency_options") or {}).get("collision_strategy"),
        "work_pool": there.get("work_pool_name"),
        "work_queue": there.get("work_queue_name"),
        "tags": sorted(there["tags"]),
    }
    as_they_are = (
        "description", "enforce_parameter_schema", "entrypoint", "parameter_openapi_schema", "parameters", "pull_steps",
    )  # fmt: skip
    facts |= {name: there.get(name) for name in as_they_are}
    ours = OURS in there["tags"] and (there.get("entrypoint") or "").startswith("flows/")
    return Found(facts, ours, ("is paused, and stays so: its schedules start nothing",) if there.get("paused") else ())


def _body(facts: Facts) -> dict[str, Any]:
    """As Prefect's API wants what is to be set."""
    body = dict(facts)
    if "collision_strategy" in body:
        strategy = body.pop("collision_strategy")
        body["concurrency_options"] = {"collision_strategy": strategy} if strategy else None
    if "work_pool" in body or "work_queue" in body:
        for ours, theirs in (("work_pool", "work_pool_name"), ("work_queue", "work_queue_name")):
            if ours in body:
                body[theirs] = body.pop(ours)
    return body


class Schedules:
    """Of the deployments, as `deployment: slug`. Those without a slug are people's own and none of ours."""

    name = "schedule"
    enforced: frozenset[str] = frozenset()

    def __init__(self, server: Server, deployments: Deployments) -> None:
        self._server, self._deployments = server, deployments

    def wanted(self) -> Mapping[str, Facts]:
        return {
            f"{listed['name']}: {schedule['slug']}": {
                "cron": schedule["cron"],
                "timezone": schedule.get("timezone", "UTC"),
                "parameters": schedule.get("parameters") or {},
            }
            for listed in self._deployments.listed
            for schedule in listed.get("schedules") or []
        }

    def found(self) -> Mapping[str, Found]:
        return {f"{deployment}: {one['slug']}": _schedule(one) for deployment, one in self._there()}

    def create(self, name: str, facts: Facts) -> None:
        deployment, _, slug = name.partition(": ")
        body = {"slug": slug, "active": True, "schedule": _cron(facts), "parameters": facts["parameters"]}
        self._server.create(f"/deployments/{self._deployments.there[deployment]['id']}/schedules", [body])

    def update(self, name: str, facts: Facts) -> None:
        found = self.found()[name].facts | dict(facts)
        self._server.update(self._path(name), {"schedule": _cron(found), "parameters": found["parameters"]})

    def remove(self, name: str) -> None:
        if name in self.found():
            self._server.remove(self._path(name))

    def _path(self, name: str) -> str:
        for deployment, one in self._there():
            if f"{deployment}: {one['slug']}" == name:
                return f"/deployments/{self._deployments.there[deployment]['id']}/schedules/{one['id']}"
        raise KeyError(name)

    def _there(self) -> Iterator[tuple[str, dict[str, Any]]]:
        self._deployments.read_anew()
        for name, there in self._deployments.there.items():
            yield from ((name, one) for one in there.get("schedules") or [] if one.get("slug"))


def _schedule(there: Mapping[str, Any]) -> Found:
    schedule = there["schedule"]
    facts = {
        "cron": schedule.get("cron"),
        "timezone": schedule.get("timezone"),
        "parameters": there.get("parameters") or {},
    }
    return Found(facts, notes=() if there["active"] else ("is switched off, and stays so",))


def _cron(facts: Facts) -> dict[str, Any]:
    return {"cron": facts["cron"], "timezone": facts["timezone"]}
