"""The endpoint operations, and the statuses an endpoint walks through."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker import listing
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import Operation
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.serving.artifact import DeploymentError
from trainmaster.embedded.sagemaker.serving.description import described
from trainmaster.embedded.sagemaker.serving.fleet import DRAIN_SECONDS, Fleet, FleetClosedError
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.serving.plan import VariantPlan, check_quota, planned, restored, stored
from trainmaster.embedded.sagemaker.serving.router import MODEL_SECONDS, Router
from trainmaster.embedded.sagemaker.wire import Json, invalid, not_found

KIND = "endpoint"
CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class EndpointService:
    """Safe to share between threads. Creations, updates and deletions go on in the background, as on AWS."""

    def __init__(
        self, account: Account, faults: Faults, isolation: Isolation, *, model_seconds: float = MODEL_SECONDS
    ) -> None:
        self._account, self._faults, self._isolation = account, faults, isolation
        self._folder = account.state / "endpoints"
        self._router = Router(account, model_seconds)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._starting: set[Fleet] = set()
        self._changes: dict[str, threading.Thread] = {}
        """The newest change to each endpoint; it begins when the one before has ended."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateEndpoint": self._create,
            "UpdateEndpoint": self._update,
            "UpdateEndpointWeightsAndCapacities": self._update_weights_and_capacities,
            "DescribeEndpoint": self._describe,
            "ListEndpoints": self._list,
            "DeleteEndpoint": self._delete,
        }

    def invoke(self, name: str, invocation: Invocation) -> InvocationAnswer:
        """Raises AwsError: ValidationError, ModelError with the model's own status and body, ServiceUnavailable."""
        return self._router.invoke(name, invocation)

    def recover(self) -> None:
        """Bring back, in the background, what was there when the last process ended: serving, or on its way to."""
        shutil.rmtree(self._folder, ignore_errors=True)  # whatever ran there ended with the process that started it
        for body in self._account.records.all(KIND):
            name, status = body["EndpointName"], body["EndpointStatus"]
            if status == "Deleting":
                self._account.records.delete(KIND, name)
            elif status == "Creating":
                self._begin(name, self._deploy)
            elif status != "Failed":
                self._router.expect(name)
                self._begin(name, self._serve_again)

    def close(self) -> None:
        """Stop every model server at once; the records keep their statuses for the next `recover`."""
        self._closing.set()
        fleets = self._router.close()
        with self._lock:
            fleets += self._starting
            changes = list(self._changes.values())
        closing = [threading.Thread(target=fleet.close, kwargs={"drain_seconds": 0, "grace": 1}) for fleet in fleets]
        for thread in closing:
            thread.start()
        for thread in [*closing, *changes]:
            thread.join(CLOSE_SECONDS)  # a download may go on for longer; it ends with this process

    def _create(self, request: Json) -> Json:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        plans, deployment = planned(self._account, config), _deployment_config(request)
        check_quota(self._account, name, plans)
        arn, now = self._account.arn(KIND, name), self._account.now()
        body: Json = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": config,
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
            "Plan": [],
            "Pending": _pending(config, plans, now, deployment=deployment),
        }
        with self._account.records.transaction():
            alike = [
                each["EndpointArn"] for each in self._account.records.all(KIND) if _same(each["EndpointName"], name)
            ]
            if alike:
                raise invalid(f'Cannot create already existing endpoint "{alike[0]}".')
            self._account.records.create(KIND, name, arn, body, request.get("Tags"))
        self._begin(name, self._deploy)
        return {"EndpointArn": arn}

    def _update(self, request: Json) -> Json:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        with self._in_service(name) as body:
            plans = planned(self._account, config)
            if request.get("RetainAllVariantProperties"):
                excluded = {item["VariantPropertyType"] for item in request.get("ExcludeRetainedVariantProperties", [])}
                plans = _retained(plans, restored(body["Plan"]), excluded)
            check_quota(self._account, name, plans)
            kept = body.get("LastDeploymentConfig") if request.get("RetainDeploymentConfig") else None
            deployment = _deployment_config(request) or kept
            body["Pending"] = _pending(config, plans, self._account.now(), deployment=deployment)
        self._begin(name, self._deploy)
        return {"EndpointArn": self._account.arn(KIND, name)}

    def _update_weights_and_capacities(self, request: Json) -> Json:
        name = request["EndpointName"]
        with self._in_service(name) as body:
            plans = {plan.name: plan for plan in restored(body["Plan"])}
            for wanted in request["DesiredWeightsAndCapacities"]:
                plan = plans.get(wanted["VariantName"])
                if plan is None:
                    config = self._account.arn("endpoint-config", body["EndpointConfigName"])
                    raise invalid(
                        f'Could not find variant "{wanted["VariantName"]}" in endpoint configuration "{config}".'
                    )
                plans[plan.name] = _resized(plan, wanted)
            check_quota(self._account, name, plans.values())
            body["Pending"] = _pending(
                body["EndpointConfigName"], list(plans.values()), self._account.now(), resize=True
            )
        self._begin(name, self._resize)
        return {"EndpointArn": self._account.arn(KIND, name)}

    def _describe(self, request: Json) -> Json:
        body = self._account.records.get(KIND, request["EndpointName"])
        if body is None:
            raise self._not_found(request["EndpointName"])
        return described(body)

    def _list(self, request: Json) -> Json:
        records = self._account.records.all(KIND)
        return listing.page(records, request, name="EndpointName", summaries="Endpoints", status="EndpointStatus")

    def _delete(self, request: Json) -> Json:
        name = request["EndpointName"]
        with self._changing(name) as body:
            if body["EndpointStatus"] in ("Creating", "Updating", "Deleting"):
                raise self._in_progress(name)
            body["EndpointStatus"] = "Deleting"
        self._begin(name, self._remove)
        return {}

    def _deploy(self, name: str) -> None:
        """Bring the pending plan into service: blue/green, so what served before serves on if that fails."""
        pending = self._pending(name)
        fleet = self._launched(name, restored(pending["Plan"]))
        before = self._router.serve(name, fleet)
        if before:
            policy = (pending["DeploymentConfig"] or {}).get("BlueGreenUpdatePolicy") or {}
            baking = policy.get("TrafficRoutingConfiguration", {}).get("WaitIntervalInSeconds", 0)
            self._closing.wait(baking + policy.get("TerminationWaitInSeconds", 0))
            before.close(drain_seconds=0 if self._closing.is_set() else DRAIN_SECONDS)
        self._settle(name)

    def _resize(self, name: str) -> None:
        fleet = self._router.fleet(name)
        if fleet is None:
            raise FleetClosedError(name)
        fleet.resize(restored(self._pending(name)["Plan"]))
        self._settle(name)

    def _serve_again(self, name: str) -> None:
        """After a restart: what was deployed, then whatever change was under way."""
        body = self._account.records.get(KIND, name)
        assert body is not None
        try:
            self._router.serve(name, self._launched(name, restored(body["Plan"])))
        except DeploymentError as error:
            self._router.remove(name)
            with self._changing(name) as body:
                body.update(EndpointStatus="OutOfService", FailureReason=str(error), Pending=None)
            return
        if body["Pending"]:
            self._deploy(name)
        elif body["EndpointStatus"] != "InService":
            self._settle(name)

    def _remove(self, name: str) -> None:
        fleet = self._router.remove(name)
        if fleet:
            fleet.close(drain_seconds=DRAIN_SECONDS)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._account.records.delete(KIND, name)

    def _launched(self, name: str, plans: list[VariantPlan]) -> Fleet:
        fault = self._faults.take("LaunchingMLInstances")
        if fault:
            self._closing.wait(fault.latency)
            if fault.error or fault.reset:
                raise DeploymentError(fault.message)
        fleet = Fleet(self._account, self._isolation, name, plans, self._folder / name)
        with self._lock:
            if self._closing.is_set():
                raise FleetClosedError(name)
            self._starting.add(fleet)
        try:
            fleet.start()
        finally:
            with self._lock:
                self._starting.discard(fleet)
        return fleet

    def _settle(self, name: str, failure: str | None = None) -> None:
        """End a change: the pending plan is the endpoint's, or is dropped for the reason given."""
        if self._closing.is_set():
            return  # as if killed: the next process takes the change up again
        with self._changing(name) as body:
            pending, body["Pending"] = body["Pending"], None
            if failure is None:
                body["EndpointStatus"] = "InService"
                body.pop("FailureReason", None)
                if pending:
                    body.update(EndpointConfigName=pending["EndpointConfigName"], Plan=pending["Plan"])
                    body.update(DeployedTime=pending["StartTime"])
                    if pending["DeploymentConfig"]:
                        body["LastDeploymentConfig"] = pending["DeploymentConfig"]
            else:
                body["EndpointStatus"] = "InService" if body["Plan"] else "Failed"
                body["FailureReason"] = failure[:1024]

    def _begin(self, name: str, change: Callable[[str], None]) -> None:
        with self._lock:
            before = self._changes.get(name)
            thread = threading.Thread(
                target=self._run, args=(name, change, before), name=f"endpoint {name}", daemon=True
            )
            self._changes[name] = thread
            thread.start()

    def _run(self, name: str, change: Callable[[str], None], before: threading.Thread | None) -> None:
        if before:
            before.join()
        try:
            change(name)
        except DeploymentError as error:
            self._settle(name, failure=str(error))
        except FleetClosedError:
            pass  # only closing does that: the next process takes the change up again
        except Exception:  # noqa: BLE001  # whatever went wrong, an endpoint must not stay in Updating for ever
            _log.exception("The change to endpoint %s failed.", name)
            self._settle(name, failure="InternalServerError: the embedded AWS failed; its own log says how.")
        finally:
            with self._lock:
                if self._changes.get(name) is threading.current_thread():
                    del self._changes[name]

    def _pending(self, name: str) -> Json:
        body = self._account.records.get(KIND, name)
        assert body is not None
        pending: Json = body["Pending"]
        return pending

    @contextmanager
    def _changing(self, name: str) -> Iterator[Json]:
        with ExitStack() as stack:
            try:
                body = stack.enter_context(self._account.records.changing(KIND, name))
            except KeyError:
                raise self._not_found(name) from None
            yield body
            body["LastModifiedTime"] = self._account.now()

    @contextmanager
    def _in_service(self, name: str) -> Iterator[Json]:
        """The record of an endpoint that may be updated; it is Updating when the block ends well."""
        with self._changing(name) as body:
            status = body["EndpointStatus"]
            if status in ("Creating", "Updating", "Deleting"):
                raise self._in_progress(name)
            if status != "InService":
                raise invalid(f'Cannot update endpoint "{body["EndpointArn"]}" with status "{status}".')
            yield body
            body["EndpointStatus"] = "Updating"
            body.pop("FailureReason", None)

    def _in_progress(self, name: str) -> Exception:
        return invalid(f'Cannot update in-progress endpoint "{self._account.arn(KIND, name)}".')

    def _not_found(self, name: str) -> Exception:
        return not_found(f'Could not find endpoint "{self._account.arn(KIND, name)}".')


def _same(one: str, other: str) -> bool:
    """AWS lets no two endpoints have names that differ in case only."""
    return one.lower() == other.lower()


def _pending(
    config: str, plans: list[VariantPlan], now: float, *, deployment: Json | None = None, resize: bool = False
) -> Json:
    return {
        "EndpointConfigName": config,
        "Plan": stored(plans),
        "StartTime": now,
        "DeploymentConfig": deployment,
        "Resize": resize,
    }


def _deployment_config(request: Json) -> Json | None:
    """The request's; raises AwsError for a kind of rollout that is not embedded."""
    config: Json | None = request.get("DeploymentConfig")
    policy = (config or {}).get("BlueGreenUpdatePolicy") or {}
    routing = policy.get("TrafficRoutingConfiguration", {}).get("Type", "ALL_AT_ONCE")
    if config and (
        routing != "ALL_AT_ONCE" or "RollingUpdatePolicy" in config or "AutoRollbackConfiguration" in config
    ):
        raise invalid(
            "The embedded AWS rolls out blue/green, ALL_AT_ONCE and without alarms; leave other policies out."
        )
    return config


def _retained(plans: list[VariantPlan], before: list[VariantPlan], excluded: set[str]) -> list[VariantPlan]:
    """The new plans with the weights and instance counts the variants have now, as RetainAllVariantProperties asks."""
    now = {plan.name: plan for plan in before}
    kept = []
    for plan in plans:
        old = now.get(plan.name, plan)
        weight = plan.weight if "DesiredWeight" in excluded else old.weight
        instances = plan.instances if "DesiredInstanceCount" in excluded or plan.serverless else old.instances
        kept.append(replace(plan, weight=weight, instances=instances))
    return kept


def _resized(plan: VariantPlan, wanted: Json) -> VariantPlan:
    count = wanted.get("DesiredInstanceCount", plan.instances)
    if "ServerlessUpdateConfig" in wanted or (plan.serverless and count != plan.instances):
        raise invalid(f"Production variant {plan.name}: the embedded AWS runs a serverless variant as one instance.")
    if count < 1:
        raise invalid(f"Production variant {plan.name}: DesiredInstanceCount must be at least 1.")
    return replace(plan, weight=wanted.get("DesiredWeight", plan.weight), instances=count)
