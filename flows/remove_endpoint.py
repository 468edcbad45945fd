"""Take an endpoint out of service, with the configurations and models made for it.
Started from the Prefect UI; by default it only says what it would remove.
Leaves its hours billed, and the model artifacts in S3, from which `deploy-endpoint` brings it back.
"""

from prefect import flow

from tasks.endpoint_hours import meter_hours
from tasks.endpoints import find_belongings, remove_belongings
from tasks.reports import summarise
from trainmaster.endpoints.request import RemovalRequest
from trainmaster.endpoints.results import Removal
from trainmaster.settings import Settings


@flow(name="remove-endpoint", flow_run_name="remove {request.endpoint_name}")
def remove_endpoint(request: RemovalRequest) -> Removal:
    settings = Settings()
    found = find_belongings(request.endpoint_name, settings)
    if not request.dry_run:
        remove_belongings(found, settings)
        meter_hours(request.endpoint_name, settings)
    removal = Removal(found=found, removed=not request.dry_run)
    summarise(f"Endpoint {request.endpoint_name}", [removal.sentence()])
    return removal
