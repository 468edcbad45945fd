"""The endpoint operations, and the statuses an endpoint walks through."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from trainmaster.embedded.autoscaling import Autoscaling
from trainmaster.embedded.cloudwatch import Alarms
from trainmaster.embedded.faults import Fault, Faults
from trainmaster.embedded.sagemaker import listing
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import Operation
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.serving.artifact import DeploymentError
from trainmaster.embedded.sagemaker.serving.description import described
from trainmaster.embedded.sagemaker.serving.fleet import DRAIN_SECONDS, Fleet, FleetClosedError
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.serving.plan import (
    VariantPlan,
    captured,
    check_quota,
    planned,
    resized,
    restored,
    retained,
    stored,
)
from trainmaster.embedded.sagemaker.serving.rollout import Rollout
from trainmaster.embedded.sagemaker.serving.router import MODEL_SECONDS, Router
from trainmaster.embedded.sagemaker.wire import Json, invalid, not_found

KIND = "endpoint"
CLOSE_SECONDS = 5.0
ALARM_SECONDS = 0.25
"""Between two looks at the alarms of an update that bakes."""
IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")

_log = logging.getLogger(__name__)


class RollbackFailedError(DeploymentError):
    """Raised when an update that failed could not be taken back either."""


class EndpointService:
    """Safe to share between threads. Creations, updates and deletions go on in the background, as on AWS."""

    def __init__(
        self, account: Account, faults: Faults, isolation: Isolation, *, model_seconds: float = MODEL_SECONDS
    ) -> None:
        self._account, self._faults, self._isolation = account, faults, isolation
        self._folder = account.state / "endpoints"
        self._router = Router(account, model_seconds)
        self.alarms = Alarms(account, self._router.metrics)
        self.autoscaling = Autoscaling(account, self._router.metrics, self._instances, self._scale)
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
        self.autoscaling.start()

    def _instances(self, name: str, variant: str) -> int | None:
        body = self._account.records.get(KIND, name)
        if body is None or body["EndpointStatus"] != "InService":
            return None
        return next((plan.instances for plan in restored(body["Plan"]) if plan.name == variant), None)

    def _scale(self, name: str, variant: str, instances: int) -> None:
        wanted = {"VariantName": variant, "DesiredInstanceCount": instances}
        self._update_weights_and_capacities({"EndpointName": name, "DesiredWeightsAndCapacities": [wanted]})

    def _check_scaled(self, name: str, before: list[VariantPlan], plans: list[VariantPlan]) -> None:
        """Raises AWS's refusal to change the instance type of a variant that is scaled, or to take it away."""
        scaled = {target.variant for target in self.autoscaling.targets() if target.endpoint == name}
        kept = {(plan.name, plan.instance_type) for plan in plans}
        if lost := sorted(
            plan.name for plan in before if plan.name in scaled and (plan.name, plan.instance_type) not in kept
        ):
            raise invalid(
                f"The following variants are registered with Application Auto Scaling: {', '.join(lost)}. Deregister them "
                "as scalable targets before you change their instance type or remove them."
            )

    def close(self) -> None:
        """Stop every model server at once; the records keep their statuses for the next `recover`."""
        self._closing.set()
        self.autoscaling.close()
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
        plans, deployment = planned(self._account, config), request.get("DeploymentConfig")
        Rollout.of(deployment, plans)
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
            "Pending": _pending(config, plans, now, deployment=deployment, capture=captured(self._account, config)),
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
                plans = retained(plans, restored(body["Plan"]), excluded)
            check_quota(self._account, name, plans)
            self._check_scaled(name, restored(body["Plan"]), plans)
            kept = body.get("LastDeploymentConfig") if request.get("RetainDeploymentConfig") else None
            deployment = request.get("DeploymentConfig") or kept
            self._check_alarms(Rollout.of(deployment, plans))
            capture = captured(self._account, config)  # no property of a variant, so never retained
            body["Pending"] = _pending(config, plans, self._account.now(), deployment=deployment, capture=capture)
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
                plans[plan.name] = resized(plan, wanted)
            check_quota(self._account, name, plans.values())
            body["Pending"] = _pending(
                body["EndpointConfigName"], list(plans.values()), self._account.now(), resize=True
            )
        self._begin(name, self._resize)
        return {"EndpointArn": self._account.arn(KIND, name)}

    def _describe(self, request: Json) -> Json:
        name = request["EndpointName"]
        self._befall(name)
        body = self._account.records.get(KIND, name)
        if body is None:
            raise self._not_found(name)
        return described(body)

    def _list(self, request: Json) -> Json:
        records = self._account.records.all(KIND)
        return listing.page(records, request, name="EndpointName", summaries="Endpoints", status="EndpointStatus")

    def _delete(self, request: Json) -> Json:
        name = request["EndpointName"]
        with self._changing(name) as body:
            if body["EndpointStatus"] in IN_PROGRESS:
                raise self._in_progress(name)
            body["EndpointStatus"] = "Deleting"
        self._begin(name, self._remove)
        return {}

    def _deploy(self, name: str) -> None:
        """Bring the pending plan into service: blue/green, so what served before serves on if that fails."""
        pending = self._pending(name)
        plans = restored(pending["Plan"])
        if (serving := self._router.fleet(name)) is None:
            self._router.serve(name, self._launched(name, plans, pending.get("DataCapture")))
        elif failure := pending.get("Failure"):  # of the process before this one
            self._roll_back(name, failure)
            raise DeploymentError(failure)
        else:
            self._replace(name, serving, pending)
        self._settle(name)

    def _replace(self, name: str, serving: Fleet, pending: Json) -> None:
        plans = restored(pending["Plan"])
        rollout = Rollout.of(pending["DeploymentConfig"], plans)
        deadline = time.monotonic() + rollout.timeout
        coming: Fleet | None = None
        try:
            coming = self._launched(name, plans, pending.get("DataCapture"))
            self._watch(rollout)
            for share in rollout.steps:
                self._router.shift(name, coming, share)
                self._show(name, "Baking" if rollout.baking else "ActivatingTraffic")
                self._bake(rollout, rollout.baking, deadline)
            self._bake(rollout, rollout.termination_wait, deadline)
        except DeploymentError as error:
            self._roll_back(name, str(error))
            if coming:
                coming.close(drain_seconds=DRAIN_SECONDS)
            raise
        except FleetClosedError:
            if coming:  # the router may have been closed before it came there
                coming.close(drain_seconds=0, grace=1)
            raise
        self._router.serve(name, coming)
        serving.close(drain_seconds=0 if self._closing.is_set() else DRAIN_SECONDS)

    def _bake(self, rollout: Rollout, seconds: float, deadline: float) -> None:
        """Raises DeploymentError as soon as an alarm goes off, or when the update has taken too long."""
        until = time.monotonic() + seconds
        while True:
            self._watch(rollout)
            if time.monotonic() > deadline:
                raise DeploymentError(f"The deployment did not complete within {rollout.timeout:g} seconds.")
            left = until - time.monotonic()
            if left <= 0:
                return
            if self._closing.wait(min(left, ALARM_SECONDS)):
                raise FleetClosedError

    def _watch(self, rollout: Rollout) -> None:
        """Raises DeploymentError when an alarm is on."""
        if triggered := self.alarms.triggered(rollout.alarms):
            raise DeploymentError(
                "One or more configured alarm(s) for automatic rollback deployment are in ALARM state: "
                f"[{', '.join(triggered)}]"
            )

    def _roll_back(self, name: str, failure: str) -> None:
        """Send all traffic to what served before. Raises RollbackFailedError, and leaves the traffic as it is, when commanded to fail."""
        with self._changing(name) as body:
            body["EndpointStatus"] = "RollingBack"
            body["Pending"]["Failure"] = failure
        fault = self._faults.take("RollingBack", of=name)
        if fault:
            self._closing.wait(fault.latency)
            if fault.error:
                raise RollbackFailedError(f"{failure} The rollback failed as well: {fault.message}")
        self._router.withdraw(name)

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
            self._router.serve(name, self._launched(name, restored(body["Plan"]), body.get("DataCapture")))
        except DeploymentError as error:
            self._router.remove(name)
            with self._changing(name) as body:
                body.update(EndpointStatus="OutOfService", FailureReason=str(error), Pending=None)
            return
        if body["Pending"]:
            self._deploy(name)
        elif body["EndpointStatus"] not in ("InService", "UpdateRollbackFailed"):
            self._settle(name)

    def _remove(self, name: str) -> None:
        self.autoscaling.deregister(name)
        for fleet in self._router.remove(name):
            fleet.close(drain_seconds=DRAIN_SECONDS)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._account.records.delete(KIND, name)

    def _launched(self, name: str, plans: list[VariantPlan], capture: Json | None) -> Fleet:
        fault = self._faults.take("LaunchingMLInstances", of=name)
        if fault:
            self._closing.wait(fault.latency)
            if fault.error or fault.reset:
                raise DeploymentError(fault.message)
        fleet = Fleet(self._account, self._isolation, name, plans, self._folder / name, capture=capture)
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

    def _befall(self, name: str) -> None:
        """What a fault commands for an endpoint in service comes over it."""
        body = self._account.records.get(KIND, name)
        if body is None or body["EndpointStatus"] != "InService":
            return
        for status, change in (("SystemUpdating", self._be_updated), ("OutOfService", self._fall_out)):
            if fault := self._faults.take(status, of=name):
                with self._changing(name) as body:
                    body["EndpointStatus"] = status
                self._begin(name, partial(change, fault))
                return

    def _be_updated(self, fault: Fault, name: str) -> None:
        self._closing.wait(fault.latency)
        self._settle(name)

    def _fall_out(self, fault: Fault, name: str) -> None:
        fleets = self._router.remove(name)
        with self._changing(name) as body:
            body["FailureReason"] = fault.message
        for fleet in fleets:
            fleet.close(drain_seconds=0)

    def _settle(self, name: str, failure: str | None = None, status: str = "InService") -> None:
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
                    if not pending["Resize"]:
                        body["DataCapture"] = pending.get("DataCapture")
                    if pending["DeploymentConfig"]:
                        body["LastDeploymentConfig"] = pending["DeploymentConfig"]
            else:
                body["EndpointStatus"] = status if body["Plan"] else "Failed"
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
        except RollbackFailedError as error:
            self._settle(name, failure=str(error), status="UpdateRollbackFailed")
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

    def _show(self, name: str, status: str) -> None:
        """Let the variants on their way be described so."""
        with self._changing(name) as body:
            body["Pending"]["VariantStatus"] = status

    def _check_alarms(self, rollout: Rollout) -> None:
        if missing := self.alarms.missing(rollout.alarms):
            raise invalid(f"The alarms of AutoRollbackConfiguration do not exist: {', '.join(missing)}.")

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
            if status in IN_PROGRESS:
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
    config: str, plans: list[VariantPlan], now: float,
    *, deployment: Json | None = None, capture: Json | None = None, resize: bool = False,
) -> Json:  # fmt: skip
    return {
        "EndpointConfigName": config,
        "Plan": stored(plans),
        "StartTime": now,
        "DeploymentConfig": deployment,
        "DataCapture": capture,
        "Resize": resize,
    }
