"""Take a table of houses to a model that answers: check, upload, train within budget, deploy, prove.
Started by `make run`, from the Prefect UI, or by `python -m flows.train_and_serve`; the same request again repeats nothing that was done.
Leaves the data and model in S3, an endpoint in service, public where asked, and a summary of what it did and cost; cancelled, no job.
"""

from prefect import flow

from flows.deploy_endpoint import deploy_endpoint
from flows.publish_api import publish_api
from flows.train_model import train_model
from tasks.cancelling import stop_jobs_of_cancelled
from tasks.data import check_data, upload_data
from tasks.endpoints import approve_endpoint
from tasks.reports import report_main_job
from tasks.telling import say_why
from trainmaster.endpoints.api.stack import PlannedApi
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import ServedModel
from trainmaster.main_job import TrainAndServeRequest, TrainedAndServed
from trainmaster.settings import Settings


@flow(
    name="train-and-serve",
    flow_run_name="train and serve {request.training.model_name}",
    on_cancellation=[stop_jobs_of_cancelled],
    on_failure=[say_why],
)
def train_and_serve(request: TrainAndServeRequest) -> TrainedAndServed:
    settings = Settings()
    endpoint = request.serving()
    approve_endpoint(endpoint, settings)  # before training is paid for
    checked = check_data(request.data, request.training.validation_fraction)
    table = upload_data(request.data, checked, request.training.model_name, settings)
    training = train_model(request.training.request(table.uri)).completed
    served = deploy_endpoint(EndpointRequest(model_uri=training.model_uri, **endpoint.model_dump()))
    assert isinstance(served, ServedModel)  # noqa: S101 - no dry run was asked for
    published = publish_api(request.publishing()) if request.public else None
    assert not isinstance(published, PlannedApi)  # noqa: S101 - nor was one of the API
    result = TrainedAndServed(table=table, training=training, served=served, published=published)
    report_main_job(result, settings, return_state=True)  # a report that fails spoils nothing of it
    return result
