"""Make the image that a template's workspaces start from: in CodeBuild and SageMaker for Studio, as an AMI for EC2.
Started from the Prefect UI; a template that has not changed is built once, and a dry run only says what would be made and at what cost.
Leaves the image where its workspaces find it; a run that was cut off leaves what the same request goes on with.
"""

from prefect import flow

from tasks.images import make_image, plan_image, report_image
from trainmaster.settings import Settings
from trainmaster.workspaces.images.request import CompileImageRequest
from trainmaster.workspaces.images.results import ImageResult


@flow(name="compile-image", flow_run_name="compile {request.template}")
def compile_image(request: CompileImageRequest) -> ImageResult:
    settings = Settings()
    planned = plan_image(request, settings)
    if request.dry_run:
        report_image(planned)
        return planned
    made = make_image(request, settings)
    report_image(made, return_state=True)  # a report that fails unmakes nothing
    return made
