"""Bring a trained model into service behind an endpoint, and prove that it answers.
Started from the Prefect UI or by `train-and-serve`; the same request again changes nothing.
Leaves the endpoint serving the model; or, when that fails, whatever served before, and nothing new beside it.
"""

from __future__ import annotations

from prefect import flow

from tasks.endpoints import bring_up, desire_endpoint, inspect_model, smoke_test, undo_deployment
from tasks.reports import report_endpoint
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import ServedModel
from trainmaster.errors import DeploymentFailedError
from trainmaster.settings import Settings


@flow(name="deploy-endpoint", flow_run_name="deploy {request.endpoint_name}")
def deploy_endpoint(request: EndpointRequest) -> ServedModel:
    settings = Settings()
    package = inspect_model(request.model_uri, settings)
    desired = desire_endpoint(request, package, settings)
    try:
        steps = bring_up(desired, settings)
        tested = smoke_test(desired, package, settings)
    except DeploymentFailedError as error:
        raise DeploymentFailedError(f"{error}\n{undo_deployment(desired, settings)}") from error
    served = ServedModel(
        endpoint_name=desired.endpoint_name,
        config_name=desired.config_name,
        model_name=desired.model_name,
        model_uri=package.uri,
        hourly_cost=desired.hourly_cost,
        steps=steps,
        smoke_test=tested,
    )
    report_endpoint(served)
    return served
