"""A program a user of the SageMaker Python SDK might write: `python sagemaker_resources.py FOLDER` with FOLDER an S3 address
that has `data/` and `sourcedir.tar.gz`. Its last line is what it was told, as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from typing import Any

from botocore.exceptions import ClientError
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, Tag, TrainingJob
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    Channel,
    ContainerDefinition,
    DataSource,
    MetricDefinition,
    OutputDataConfig,
    ProductionVariant,
    ResourceConfig,
    S3DataSource,
    StoppingCondition,
)
from sagemaker.core.utils.exceptions import FailedStatusError

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
ROLE = os.environ["TRAINMASTER_EXECUTION_ROLE_ARN"]
HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1500, "year_built": 1995}
MARK = uuid.uuid4().hex[:8]


def train(folder: str, name: str, *command: str, **members: Any) -> TrainingJob:
    return TrainingJob.create(
        training_job_name=f"{name}-{MARK}",
        algorithm_specification=AlgorithmSpecification(
            training_image=IMAGE,
            training_input_mode="File",
            container_entrypoint=list(command) or None,
            metric_definitions=[MetricDefinition(name="r2", regex="r2=([-+0-9.eE]+);")],
        ),
        role_arn=ROLE,
        output_data_config=OutputDataConfig(s3_output_path=f"{folder}/out"),
        resource_config=ResourceConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=100),
        **members,
    )


def jobs(folder: str) -> dict[str, Any]:
    """Train the house prices; meanwhile one job fails and another is stopped."""
    data = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"{folder}/data/")
    trained = train(
        folder,
        "trained",
        hyper_parameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": f"{folder}/sourcedir.tar.gz"},
        input_data_config=[Channel(channel_name="training", data_source=DataSource(s3_data_source=data))],
        tags=[Tag(key="team", value="houses")],
    )
    failing = train(folder, "failing", "sh", "-c", "echo no luck today > /opt/ml/output/failure; exit 3")
    stopped = train(folder, "stopped", "sh", "-c", "trap exit TERM; sleep 600 & wait")
    stopped.stop()
    trained.wait(poll=1, logs=True)
    stopped.wait(poll=1)
    found = TrainingJob.get_all(name_contains=MARK)
    return {
        "trained": {
            "status": trained.training_job_status,
            "found again": TrainingJob.get(trained.training_job_name).refresh().training_job_status,
            "r2": trained.final_metric_data_list[0].value,
            "artifact": trained.model_artifacts.s3_model_artifacts,
            "tags": {tag.key: tag.value for tag in Tag.get_all(resource_arn=trained.training_job_arn)},
        },
        "failing": failure(failing),
        "stopped": stopped.training_job_status,
        "listed": {bare(each.training_job_name): each.training_job_status for each in found},
        "missing": missing(),
    }


def failure(job: TrainingJob) -> str:
    try:
        job.wait(poll=1)
    except FailedStatusError as error:
        return str(error)
    return ""


def missing() -> Any:
    try:
        TrainingJob.get(f"nobody-{MARK}")
    except ClientError as error:
        return error.response["Error"]
    return None


def bare(name: str) -> str:
    return name.removesuffix(f"-{MARK}")


def deployed(artifact: str) -> dict[str, Any]:
    """Deploy, ask, update and remove."""
    container = ContainerDefinition(image=IMAGE, model_data_url=artifact)
    model = Model.create(model_name=f"model-{MARK}", primary_container=container, execution_role_arn=ROLE)
    configs = [
        EndpointConfig.create(
            endpoint_config_name=f"config-{version}-{MARK}",
            production_variants=[
                ProductionVariant(
                    variant_name="All",
                    model_name=model.model_name,
                    initial_instance_count=1,
                    instance_type="ml.m5.large",
                )
            ],
        )
        for version in (1, 2)
    ]
    endpoint = Endpoint.create(endpoint_name=f"endpoint-{MARK}", endpoint_config_name=configs[0].endpoint_config_name)
    endpoint.wait_for_status("InService", poll=1)
    answer = endpoint.invoke(body=json.dumps(HOUSE), content_type="application/json")
    price = json.loads(answer.body.read())["predicted_price"]
    endpoint.endpoint_config_name = configs[1].endpoint_config_name
    endpoint.update()
    endpoint.wait_for_status("InService", poll=1)
    updated_to = bare(endpoint.endpoint_config_name)
    endpoint.delete()
    endpoint.wait_for_delete(poll=1)
    for config in configs:
        config.delete()
    model.delete()
    left = [each for kind in (Endpoint, EndpointConfig, Model) for each in kind.get_all(name_contains=MARK)]
    return {
        "price": price,
        "variant": answer.invoked_production_variant,
        "updated to": updated_to,
        "left": [each.get_name() for each in left],
    }


def main(folder: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    said = {"bucket": Session().default_bucket(), **jobs(folder)}
    said["endpoint"] = deployed(said["trained"]["artifact"])
    print(f"\n{json.dumps(said)}")  # the SDK's panels end without a line end


if __name__ == "__main__":
    main(sys.argv[1])
