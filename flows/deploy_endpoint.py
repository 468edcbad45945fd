"""Bring a trained model into service behind an endpoint, and prove that it answers.
Started from the Prefect UI or by `train-and-serve`; the same request again changes nothing.
Leaves the endpoint serving the model and its first hours reserved; or, when that fails, whatever served before, and nothing new.
"""

from prefect import flow

from tasks.endpoints import (
    approve_endpoint_cost,
    bring_up,
    desire_endpoint,
    inspect_model,
    meter_hours,
    plan_endpoint,
    reserve_first_hours,
    smoke_test,
    undone_on_failure,
)
from tasks.reports import report_endpoint
from trainmaster.budget.budgets import Payer
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import ServedModel, served_model
from trainmaster.settings import Settings


@flow(name="deploy-endpoint", flow_run_name="deploy {request.endpoint_name}")
def deploy_endpoint(request: EndpointRequest) -> ServedModel:
    settings = Settings()
    approve_endpoint_cost(request, settings)
    package = inspect_model(request.model_uri, settings)
    desired = desire_endpoint(request, package, settings)
    steps = plan_endpoint(desired, settings)
    payer = request.payer(Payer(settings.user_id, settings.team))
    reserve_first_hours(desired, steps, payer, settings)
    with undone_on_failure(desired, settings):
        bring_up(desired, steps, payer, settings)
        tested = smoke_test(desired, package, settings)
    meter_hours(desired.endpoint_name, settings, return_state=True)  # what fails here reconcile does
    served = served_model(desired, package, steps, tested)
    report_endpoint(served, return_state=True)  # a report that fails spoils no deployment
    return served
