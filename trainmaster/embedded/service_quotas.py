"""AWS's Service Quotas for SageMaker's training jobs: what this account may run at once, and the API that tells and asks.

What is allowed at first is in `quotas.csv` beside this file, by family or type, the more particular row first. It is as an account
of some standing has it: plenty of processors, a few of the smaller GPUs, none of the larger. `quotas.json` in the state folder
holds what was applied since.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker import wire
from trainmaster.embedded.sagemaker.wire import AwsError, Json

SERVICE = "sagemaker"
LONGEST_RUNTIME = "Longest run time for a training job"
_AWS_CODES = {LONGEST_RUNTIME: "L-33A961FD", "Number of instances across all training jobs": "L-00C91CB5"}
"""The codes of the others are made up, but the same for ever."""
_PAGE = 100
_OPEN = ("PENDING", "CASE_OPENED")


@dataclass(frozen=True)
class Quota:
    """What AWS allows by default of what the name says; `unit` is of one instance, or seconds."""

    name: str
    default: float
    unit: str = "None"
    listed: bool = True
    """Whether a value is applied to the account from the start; of the others only the default is known."""

    @property
    def code(self) -> str:
        made_up = "L-" + hashlib.sha256(self.name.encode()).hexdigest()[:8].upper()
        return _AWS_CODES.get(self.name, made_up)


class Quotas:
    """The quotas in force, and what more was asked for. Safe to share between threads; changes are on disk at once."""

    def __init__(self, state: Path) -> None:
        self._path, self._lock = state / "quotas.json", threading.Lock()
        try:
            kept = json.loads(self._path.read_text())
        except FileNotFoundError:
            kept = {}
        self._applied: dict[str, float] = kept.get("applied", {})
        self._requests: list[Json] = kept.get("requests", [])

    def value(self, name: str) -> float | None:
        """What is allowed of what the name says; None for what there is no quota of."""
        known = defaults().get(name)
        return None if known is None else self._applied.get(name, known.default)

    def applied(self) -> dict[str, float]:
        """By name, those that are not the defaults."""
        with self._lock:
            return dict(self._applied)

    def listed(self) -> list[tuple[Quota, float]]:
        """Those with a value applied to the account."""
        with self._lock:
            return [
                (each, self._applied.get(each.name, each.default))
                for each in defaults().values()
                if each.listed or each.name in self._applied
            ]

    def apply(self, name: str, value: float) -> None:
        """Allow so much from now on, as AWS does when it grants a request. Raises AwsError for an unknown name."""
        if name not in defaults():
            raise AwsError("NoSuchResourceException", f"There is no quota {name!r}.")
        if value < 0:
            raise AwsError("IllegalArgumentException", f"A quota of {value} cannot be.")
        with self._lock:
            self._applied[name] = value
            for request in self._requests:
                if request["QuotaName"] == name and request["Status"] in _OPEN and request["DesiredValue"] <= value:
                    request.update(Status="APPROVED", LastUpdated=time.time())
            self._keep()

    def reset(self) -> None:
        """Back to the defaults."""
        with self._lock:
            self._applied.clear()
            self._keep()

    def ask(self, request: Json) -> None:
        """Keep what somebody asked for. Raises AwsError when it was asked for already."""
        with self._lock:
            if any(each["QuotaName"] == request["QuotaName"] and each["Status"] in _OPEN for each in self._requests):
                raise AwsError(
                    "ResourceAlreadyExistsException",
                    "Only one open service quota increase request is allowed per quota.",
                )
            self._requests.append(request)
            self._keep()

    def requests(self) -> list[Json]:
        """What was asked for, newest first."""
        with self._lock:
            return [dict(request) for request in reversed(self._requests)]

    def _keep(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"applied": self._applied, "requests": self._requests}, indent=1))
        new.replace(self._path)


@cache
def defaults() -> Mapping[str, Quota]:
    """Every quota by its name, in the order they are listed in."""
    return {quota.name: quota for quota in _defaults()}


def _defaults() -> Iterator[Quota]:
    for kind in ("", "spot "):
        yield Quota(f"Number of instances across all {kind}training jobs", 100)
        yield Quota(f"Maximum number of instances per {kind}training job", 20, listed=False)
    yield Quota(LONGEST_RUNTIME, 432_000, unit="Second", listed=False)
    with files("trainmaster.embedded").joinpath("quotas.csv").open(encoding="utf-8") as file:
        allowed = {row["instances"]: row for row in csv.DictReader(file)}
    for instance_type in wire.service_model().shape_for("TrainingInstanceType").enum:  # type: ignore[attr-defined]
        bare = instance_type.removeprefix("ml.")
        row = allowed.get(bare) or allowed.get(bare.partition(".")[0]) or allowed["*"]
        yield Quota(f"{instance_type} for training job usage", float(row["training"]))
        yield Quota(f"{instance_type} for spot training job usage", float(row["spot"]))
        yield Quota(f"{instance_type} for training warm pool usage", float(row["warm_pool"]))


@dataclass(frozen=True)
class ServiceQuotasApi:
    """Answers calls of Service Quotas about SageMaker."""

    quotas: Quotas
    region: str
    account_id: str

    @staticmethod
    def concerns(call: Call) -> bool:
        """False for calls about other services' quotas, which are moto's."""
        try:
            request = json.loads(call.request.get_data() or b"{}")
        except ValueError:
            return True
        return not isinstance(request, dict) or request.get("ServiceCode", SERVICE) == SERVICE

    def answer(self, call: Call) -> Response:
        """Raises AwsError for a bad request and for an operation AWS or we do not have."""
        operations: dict[str, Callable[[Json], Json]] = {
            "ListServiceQuotas": self._list,
            "ListAWSDefaultServiceQuotas": self._list_defaults,
            "GetServiceQuota": self._get,
            "GetAWSDefaultServiceQuota": self._get_default,
            "RequestServiceQuotaIncrease": self._request,
            "GetRequestedServiceQuotaChange": self._requested,
            "ListRequestedServiceQuotaChangeHistory": self._history,
            "ListRequestedServiceQuotaChangeHistoryByQuota": self._history,
        }
        if call.operation not in operations:
            raise AwsError(
                "NotImplementedException", f"The embedded AWS does not have servicequotas:{call.operation}.", status=501
            )
        answer = operations[call.operation](_checked(call))
        return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")

    def _list(self, request: Json) -> Json:
        wanted = request.get("QuotaCode")
        found = [self._said(each, value) for each, value in self.quotas.listed() if wanted in (None, each.code)]
        return _page("Quotas", found, request)

    def _list_defaults(self, request: Json) -> Json:
        return _page("Quotas", [self._said(each, each.default) for each in defaults().values()], request)

    def _get(self, request: Json) -> Json:
        for each, value in self.quotas.listed():
            if each.code == request["QuotaCode"]:
                return {"Quota": self._said(each, value)}
        raise _no_such()

    def _get_default(self, request: Json) -> Json:
        known = _of_code(request["QuotaCode"])
        return {"Quota": self._said(known, known.default)}

    def _request(self, request: Json) -> Json:
        known, desired = _of_code(request["QuotaCode"]), float(request["DesiredValue"])
        now = self.quotas.value(known.name) or 0.0
        if desired <= now:
            raise _illegal(f"You must provide a quota value greater than the current quota value, {now:g}.")
        at = time.time()
        asked = {
            **{name: value for name, value in self._said(known, now).items() if name not in ("Value", "Adjustable")},
            "Id": uuid.uuid4().hex,
            "DesiredValue": desired,
            "Status": "PENDING",
            "Created": at,
            "LastUpdated": at,
            "Requester": json.dumps({"accountId": self.account_id}),
        }
        self.quotas.ask(asked)
        return {"RequestedQuota": asked}

    def _requested(self, request: Json) -> Json:
        for each in self.quotas.requests():
            if each["Id"] == request["RequestId"]:
                return {"RequestedQuota": each}
        raise _no_such()

    def _history(self, request: Json) -> Json:
        asked = {"QuotaCode": request.get("QuotaCode"), "Status": request.get("Status")}
        found = [
            each for each in self.quotas.requests() if all(value in (None, each[name]) for name, value in asked.items())
        ]
        return _page("RequestedQuotas", found, request)

    def _said(self, quota: Quota, value: float) -> Json:
        return {
            "ServiceCode": SERVICE,
            "ServiceName": "Amazon SageMaker",
            "QuotaArn": f"arn:aws:servicequotas:{self.region}:{self.account_id}:{SERVICE}/{quota.code}",
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": value,
            "Unit": quota.unit,
            "Adjustable": True,
            "GlobalQuota": False,
        }


def _checked(call: Call) -> Json:
    try:
        request = json.loads(call.request.get_data() or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The request body is not JSON.") from None
    try:
        return wire.checked(wire.service_model("service-quotas").operation_model(call.operation), request)
    except AwsError as error:
        if error.code == "ValidationException":
            raise _illegal(error.message) from None
        raise


def _of_code(code: str) -> Quota:
    for quota in defaults().values():
        if quota.code == code:
            return quota
    raise _no_such()


def _page(name: str, everything: list[Any], request: Json) -> Json:
    start, size = _start(request.get("NextToken"), name), request.get("MaxResults", _PAGE)
    page: Json = {name: everything[start : start + size]}
    if start + size < len(everything):
        page["NextToken"] = base64.b64encode(f"{name}:{start + size}".encode()).decode()
    return page


def _start(token: str | None, name: str) -> int:
    if token is None:
        return 0
    try:
        given, _, place = base64.b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        given, place = "", ""
    if given != name or not place.isdecimal():
        raise AwsError("InvalidPaginationTokenException", "Invalid pagination token was used.")
    return int(place)


def _no_such() -> AwsError:
    return AwsError("NoSuchResourceException", "The request failed because the specified service quota does not exist.")


def _illegal(message: str) -> AwsError:
    return AwsError("IllegalArgumentException", message)
