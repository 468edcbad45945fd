"""Carrying out a plan, step by step. Every step is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of
from trainmaster.aws.polling import Patience, answers
from trainmaster.endpoints.alarms import delete_alarms, put_alarm
from trainmaster.endpoints.deploying import (
    TRIES,
    delete_endpoint,
    find_config,
    find_endpoint,
    find_model,
    tag_config,
    tag_list,
    tags_of,
)
from trainmaster.endpoints.described import Client
from trainmaster.endpoints.plan import (
    DEPLOYED_TAG,
    ENDPOINT_TAG,
    EXPIRES_TAG,
    HOURS_TAG,
    IDLE_TAG,
    PROOF_TAG,
    REPLACES_TAG,
    SCALING_TAG,
    Desired,
    Kind,
    Step,
    lifetime_tags,
)
from trainmaster.endpoints.rollout import KEEPING_COUNTS, deployment_config
from trainmaster.endpoints.scaling import register_scaling, scaling_tag, stop_scaling
from trainmaster.training.plan import INSTALLATION_TAG

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def apply_plan(client: Client, desired: Desired, steps: Sequence[Step], patience: Patience) -> None:
    """Carry out the steps in order, none of which is a rehearsal. What another run of the same plan did already counts as done.

    `client` makes the boto3 client of a service. Steps of AFTERWARDS take an endpoint in service.
    """
    for step in steps:
        _STEPS[step.kind](_Doing(client, desired, step, patience))


@dataclass(frozen=True)
class _Doing:
    """One step that is being carried out."""

    client: Client
    desired: Desired
    step: Step
    patience: Patience

    @property
    def sagemaker(self) -> SageMakerClient:
        sagemaker: SageMakerClient = self.client("sagemaker")
        return sagemaker

    def create_model(self) -> None:
        model = next(one for one in self.desired.models if one["ModelName"] == self.step.name)
        _create(
            lambda: self.sagemaker.create_model(**model),
            lambda: find_model(self.sagemaker, self.step.name) is not None,
            self.patience,
        )

    def create_config(self) -> None:
        _create(
            lambda: self.sagemaker.create_endpoint_config(**self.desired.config),
            lambda: find_config(self.sagemaker, self.step.name) is not None,
            self.patience,
        )

    def put_alarm(self) -> None:
        alarm = next(one for one in self.desired.alarms if one.name == self.step.name)
        put_alarm(self.client("cloudwatch"), alarm)

    def delete_alarm(self) -> None:
        delete_alarms(self.client("cloudwatch"), [self.step.name])

    def stop_scaling(self) -> None:
        stop_scaling(self.client("application-autoscaling"), self.desired.endpoint_name, self.step.name)

    def scale(self) -> None:
        if self.desired.scaling is None:
            return
        autoscaling = self.client("application-autoscaling")
        register_scaling(autoscaling, self.desired.endpoint_name, self.step.name, self.desired.scaling)
        tag_config(self.sagemaker, self.desired.config_name, {SCALING_TAG: scaling_tag(self.desired.scaling)})

    def remember(self) -> None:
        """Before the endpoint is touched: what it goes back to, and that this has yet to prove itself."""
        arn = self.sagemaker.describe_endpoint_config(EndpointConfigName=self.desired.config_name)["EndpointConfigArn"]
        before = tags_of(self.sagemaker, arn)
        proof = "new" if before.get(PROOF_TAG, "new") in {"new", "failed"} else "again"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        since = before.get(DEPLOYED_TAG, now) if self.desired.earlier else now
        told = {REPLACES_TAG: self.step.name, PROOF_TAG: proof, DEPLOYED_TAG: since}
        origin = {tag["Key"]: tag["Value"] for tag in self.desired.config["Tags"]}
        self.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list({**origin, **told}))

    def delete_endpoint(self) -> None:
        delete_endpoint(self.sagemaker, self.desired.endpoint_name, self.patience)

    def create_endpoint(self) -> None:
        name, config = self.desired.endpoint_name, self.desired.config_name
        ours = {ENDPOINT_TAG: name, **({INSTALLATION_TAG: whose} if (whose := self.desired.installation) else {})}
        tags = {**self.desired.tags, **ours, **lifetime_tags(self.desired), **self._expires()}
        _create(
            lambda: self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tag_list(tags)),
            lambda: find_endpoint(self.sagemaker, name) is not None,
            self.patience,
        )

    def update_endpoint(self) -> None:
        name, config = self.desired.endpoint_name, self.desired.config_name
        how = dict(KEEPING_COUNTS) if self.step.keeps_counts else {}
        if rollout := deployment_config(self.desired.rollout, [alarm.name for alarm in self.desired.alarms]):
            how["DeploymentConfig"] = rollout
        _create(
            lambda: self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **how),
            self._is_updated,
            self.patience,
        )

    def _is_updated(self) -> bool:
        """Or is being: to this configuration, and not by AWS itself or by another run to another."""
        found = find_endpoint(self.sagemaker, self.desired.endpoint_name) or {}
        pending = found.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        begun = pending is None and found.get("EndpointStatus") in {"Updating", "RollingBack"}
        return begun or self.desired.config_name in (pending, found.get("EndpointConfigName"))

    def set_lifetime(self) -> None:
        """Its hours to live begin anew; what was set before and is not any more goes."""
        arn = self.sagemaker.describe_endpoint(EndpointName=self.desired.endpoint_name)["EndpointArn"]
        wanted = {**lifetime_tags(self.desired), **self._expires()}
        self.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(wanted))
        over = [key for key in (EXPIRES_TAG, HOURS_TAG, IDLE_TAG) if key not in wanted]
        if over:
            self.sagemaker.delete_tags(ResourceArn=arn, TagKeys=over)

    def set_tags(self) -> None:
        arn = self.sagemaker.describe_endpoint(EndpointName=self.desired.endpoint_name)["EndpointArn"]
        self.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(self.desired.tags))

    def _expires(self) -> dict[str, str]:
        hours = self.desired.lifetime.hours
        over = datetime.now(UTC) + timedelta(hours=hours or 0)
        return {EXPIRES_TAG: over.isoformat(timespec="seconds")} if hours else {}


_STEPS: dict[Kind, Callable[[_Doing], None]] = {
    "create-model": _Doing.create_model,
    "create-config": _Doing.create_config,
    "put-alarm": _Doing.put_alarm,
    "stop-scaling": _Doing.stop_scaling,
    "remember": _Doing.remember,
    "delete-endpoint": _Doing.delete_endpoint,
    "create-endpoint": _Doing.create_endpoint,
    "update-endpoint": _Doing.update_endpoint,
    "scale": _Doing.scale,
    "set-lifetime": _Doing.set_lifetime,
    "set-tags": _Doing.set_tags,
    "delete-alarm": _Doing.delete_alarm,
}


def _create(create: Callable[[], Any], done: Callable[[], bool], patience: Patience) -> None:
    """Do it, unless a look shows that it was done: by another run, or by a call whose answer was lost.

    AWS may not see yet what was written a moment ago and refuse by ValidationException: that is tried a few times.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            create()
        except ClientError as error:
            if done():
                return
            if code_of(error) != "ValidationException" or not tries_left:
                raise
            time.sleep(min(patience.poll_seconds, 5.0))
        else:
            _await(done, patience)
            return


def _await(done: Callable[[], bool], patience: Patience) -> None:
    """What was just created may not be seen for a moment; a minute later it is somebody else's doing."""
    pause = Patience(min(patience.poll_seconds, 2.0), patience.outage_seconds, 60.0)
    for seen in answers(done, pause):
        if seen:
            return
