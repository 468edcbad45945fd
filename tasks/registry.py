"""Steps of the model registry: what was trained becomes a version, and a version is approved or not."""

from __future__ import annotations

from prefect import get_run_logger

from tasks.aws import client, step
from trainmaster.endpoints.models.approving import ApprovalRequest, Decided, decide_on_version
from trainmaster.endpoints.models.registering import register_job
from trainmaster.endpoints.models.registry import Registered
from trainmaster.errors import ModelRefusedError
from trainmaster.settings import Settings


@step(task_run_name="register {job_name}")
def register_model(job_name: str, settings: Settings) -> Registered | None:
    """The version that the job's model is in its group; None of a model that no endpoint could serve, which the log says why."""
    try:
        registered = register_job(client(settings, "sagemaker"), client(settings, "s3"), job_name)
    except ModelRefusedError as error:  # what is no model for an endpoint is trained all the same
        get_run_logger().warning("%s left no model for the registry: %s", job_name, error)
        return None
    get_run_logger().info("%s trained %s (%s).", job_name, registered, registered.status)
    return registered


@step(task_run_name="{request.decision} version {request.model_version} of {request.model_group}")
def decide_on_model(request: ApprovalRequest, settings: Settings) -> Decided:
    """Write the decision into the registry; a version that could not be deployed is not approved."""
    decided = decide_on_version(client(settings, "sagemaker"), client(settings, "s3"), request)
    get_run_logger().info("%s", decided.sentence())
    return decided
