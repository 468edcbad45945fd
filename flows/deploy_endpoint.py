"""Bring a trained model into service behind an endpoint, prove that it answers, and keep the last few to go back to.
Started from the Prefect UI or by `train-and-serve`; the same request again changes nothing, and a dry run only says what would be.
Leaves the endpoint serving the model and its first hours reserved; or, when that fails, whatever served before, and a note of what failed.
"""

from prefect import flow

from tasks.endpoint_hours import meter_hours
from tasks.endpoints import (
    approve_endpoint,
    bring_up,
    choose_models,
    desire_endpoint,
    plan_endpoint,
    prune_versions,
    rehearse,
    reserve_first_hours,
    smoke_test,
    undone_on_failure,
)
from tasks.public_api import follow_with_api
from tasks.reports import report_deployment, report_endpoint
from tasks.telling import say_why
from trainmaster.budget.budgets import Payer
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import PlannedDeployment, ServedModel, planned_deployment, served_model
from trainmaster.settings import Settings


@flow(name="deploy-endpoint", flow_run_name="deploy {request.endpoint_name}", on_failure=[say_why])
def deploy_endpoint(request: EndpointRequest) -> ServedModel | PlannedDeployment:
    settings = Settings()
    approve_endpoint(request, settings)
    models = choose_models(request, settings)
    desired = desire_endpoint(request, models, settings)
    plan = plan_endpoint(desired, settings)
    if request.dry_run:
        planned = planned_deployment(desired, models.main, plan)
        report_deployment(planned)
        return planned
    payer = request.payer(Payer(settings.user_id, settings.team))
    reserve_first_hours(desired, plan, payer, settings)
    with undone_on_failure(desired, settings):
        if plan.rehearses:
            rehearse(desired, models, payer, settings)
        bring_up(desired, plan, payer, settings)
        tested = smoke_test(desired, models, settings)
    prune_versions(desired, settings, return_state=True)  # what is left the next deployment removes
    meter_hours(desired.endpoint_name, settings, return_state=True)  # what fails here reconcile does
    served = served_model(desired, models.main, plan.steps, tested)
    report_endpoint(served, settings, return_state=True)  # a report that fails spoils no deployment
    follow_with_api(desired.endpoint_name, settings)
    return served
