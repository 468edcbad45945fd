"""Publish an endpoint to the world as POST /predict, behind an API key, a rate and a daily quota.
Started from the Prefect UI or by `train-and-serve`; the same request again changes nothing, another model's ranges are taken over.
Leaves a CloudFormation stack that answers, and says how it is asked; or, when an update fails, what was published before.
"""

from prefect import flow

from tasks.public_api import desire_api, plan_publishing, publish_stack, report_api, report_plan
from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.api.stack import PlannedApi, PublishedApi
from trainmaster.settings import Settings


@flow(name="publish-api", flow_run_name="publish {request.endpoint_name}")
def publish_api(request: PublishRequest) -> PublishedApi | PlannedApi:
    settings = Settings()
    publication = desire_api(request, settings)
    steps = plan_publishing(publication, settings)
    if request.dry_run:
        return report_plan(publication, steps)
    published = publish_stack(publication, steps, settings)
    report_api(published, return_state=True)  # a report that fails takes no API back
    return published
