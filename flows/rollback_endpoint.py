"""Take an endpoint back to a version that has proven itself before, without downtime, and prove it again.
Started from the Prefect UI; by default it goes to the one that was deployed last before what serves, so twice leads further back.
Leaves the endpoint serving that version and its first hours reserved; or, when that fails, whatever served before.
"""

from prefect import flow

from tasks.endpoint_hours import meter_hours
from tasks.endpoints import (
    bring_up,
    desire_earlier,
    plan_endpoint,
    reserve_first_hours,
    smoke_test,
    undone_on_failure,
)
from tasks.public_api import follow_with_api
from tasks.reports import report_deployment, report_endpoint
from tasks.telling import say_why
from trainmaster.budget.budgets import Payer
from trainmaster.endpoints.request import RollbackRequest
from trainmaster.endpoints.results import PlannedDeployment, ServedModel, planned_deployment, served_model
from trainmaster.settings import Settings


@flow(name="rollback-endpoint", flow_run_name="roll {request.endpoint_name} back", on_failure=[say_why])
def rollback_endpoint(request: RollbackRequest) -> ServedModel | PlannedDeployment:
    settings = Settings()
    desired, models = desire_earlier(request, settings)
    plan = plan_endpoint(desired, settings)
    if request.dry_run:
        planned = planned_deployment(desired, models.main, plan)
        report_deployment(planned)
        return planned
    payer = request.payer(Payer(settings.user_id, settings.team))
    reserve_first_hours(desired, plan, payer, settings)
    with undone_on_failure(desired, settings):
        bring_up(desired, plan, payer, settings)
        tested = smoke_test(desired, models, settings)
    meter_hours(desired.endpoint_name, settings, return_state=True)  # what fails here reconcile does
    served = served_model(desired, models.main, plan.steps, tested)
    report_endpoint(served, settings, return_state=True)  # a report that fails spoils no deployment
    follow_with_api(desired.endpoint_name, settings)
    return served
