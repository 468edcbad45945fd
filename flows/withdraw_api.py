"""Take an endpoint's public API away: its address, its key, its function and their logs.
Started from the Prefect UI; by default it only says what it would remove.
Leaves the endpoint serving, and billed, as before; `publish-api` brings an API back, with another key.
"""

from prefect import flow

from tasks.public_api import find_api, withdraw_stack
from tasks.reports import summarise
from trainmaster.endpoints.api.request import WithdrawRequest
from trainmaster.endpoints.api.stack import Withdrawal
from trainmaster.settings import Settings


@flow(name="withdraw-api", flow_run_name="withdraw {request.endpoint_name}")
def withdraw_api(request: WithdrawRequest) -> Withdrawal:
    settings = Settings()
    found = find_api(request.endpoint_name, settings)
    withdrawn = found if request.dry_run else withdraw_stack(found, settings)
    summarise(f"Public API of {request.endpoint_name}", [withdrawn.sentence()])
    return withdrawn
