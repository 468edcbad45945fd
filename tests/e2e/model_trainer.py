"""A program a user of the SageMaker Python SDK might write: ModelTrainer runs a script of its own on numbers in S3.

Its last line is what came of the jobs, as JSON. Runs where `sagemaker-train` is installed.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core.utils.exceptions import FailedStatusError
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import (
    CheckpointConfig,
    Compute,
    InputData,
    MetricDefinition,
    SourceCode,
    StoppingCondition,
)

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
SCRIPT = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--factor", type=int)
factor = parser.parse_args().factor
numbers = pathlib.Path(os.environ["SM_CHANNEL_TRAINING"], "numbers.csv").read_text().split()
total = factor * sum(map(int, numbers))
print(f"total={total};")
if total < 0:
    raise ValueError("below zero")
pathlib.Path(os.environ["SM_MODEL_DIR"], os.environ["SM_CURRENT_HOST"]).write_text(str(total))
"""


def trained(name: str, source: Path, factor: int, data: str, compute: Compute, **options: Any) -> dict[str, Any]:
    trainer = ModelTrainer(
        training_image=IMAGE,
        role=os.environ["TRAINMASTER_EXECUTION_ROLE_ARN"],
        base_job_name=name,
        source_code=SourceCode(source_dir=str(source), entry_script="train.py", requirements="requirements.txt"),
        compute=compute,
        hyperparameters={"factor": factor},
        **options,
    ).with_metric_definitions([MetricDefinition(name="total", regex="total=([-0-9]+);")])
    failure = ""
    try:
        trainer.train(input_data_config=[InputData(channel_name="training", data_source=data)])
    except FailedStatusError as error:
        failure = str(error)
    job = trainer._latest_training_job.refresh()  # the SDK has no public name for it
    return {
        "status": job.training_job_status,
        "total": [metric.value for metric in job.final_metric_data_list],
        "failure": failure,
    }


def main() -> None:
    one = Compute(instance_type="ml.m5.large", instance_count=1)
    two_of_spot = Compute(instance_type="ml.m5.large", instance_count=2, enable_managed_spot_training=True)
    bucket = os.environ["TRAINMASTER_BUCKET"]
    boto3.client("s3").put_object(Bucket=bucket, Key="numbers/numbers.csv", Body=b"1\n2\n3\n")
    with tempfile.TemporaryDirectory() as folder:
        source, numbers = Path(folder, "source"), Path(folder, "numbers")
        source.mkdir()
        numbers.mkdir()
        (source / "train.py").write_text(SCRIPT)
        (source / "requirements.txt").write_text("joblib\n")
        (numbers / "numbers.csv").write_text("4\n5\n")
        said = {
            "from S3": trained("from-s3", source, 3, f"s3://{bucket}/numbers/", one),
            "from here, two hosts, spot": trained(
                "from-here", source, 1, str(numbers), two_of_spot,
                stopping_condition=StoppingCondition(max_runtime_in_seconds=100, max_wait_time_in_seconds=200),
                checkpoint_config=CheckpointConfig(),
            ),
            "failing": trained("failing", source, -1, str(numbers), one),
        }  # fmt: skip
    print(f"\n{json.dumps(said)}")


if __name__ == "__main__":
    main()
