"""A fine-tuned model from its job to an endpoint that answers as it learned, through the registry, by the functions every deployment takes."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from fine_tunings import base_model, chats, dataset
from training_configs import Bench, bench_at

from trainmaster.budget.budgets import Payer
from trainmaster.commands.endpoints.deploying import carry_out, planned
from trainmaster.endpoints import deployment
from trainmaster.endpoints.api.plan import accepted_ranges
from trainmaster.endpoints.models.approving import ApprovalRequest, decide_on_version
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registering import register_job
from trainmaster.endpoints.models.smoke import invoke
from trainmaster.endpoints.removing import belongings, remove
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.errors import DeploymentFailedError, ModelRefusedError
from trainmaster.storage.address import S3Address
from trainmaster.training.launching import launch_training
from trainmaster.training.preparing import prepare_training

QUESTION = {"messages": [{"role": "user", "content": "What is the colour of the sky?"}]}


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


@pytest.fixture
def endpoint(bench: Bench) -> Iterator[str]:
    name = f"llm-{uuid4().hex[:8]}"
    yield name
    remove(bench.desk.client, belongings(bench.desk.client, name), deployment.patience_of(bench.desk.settings))


def trained(bench: Bench, folder: Path) -> str:
    """The name of a completed job that taught a tiny base model what is blue."""
    examples = chats()
    config = {
        "training_method": "sft", "model_name": base_model(bench, examples, folder), "finetuning_type": "full",
        "max_steps": 80, "learning_rate": 0.005, "gradient_checkpointing": False,
    }  # fmt: skip
    chosen = bench.config(config, [dataset(bench, examples)], name=f"colours {uuid4().hex[:8]}")
    plan = prepare_training(bench.desk, bench.request(chosen, use_spot_instances=False))
    launch_training(bench.desk, plan)
    sagemaker = bench.desk.client("sagemaker")
    while (job := sagemaker.describe_training_job(TrainingJobName=plan.job_name))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.2)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return plan.job_name


def tampered(bench: Bench, uri: str) -> str:
    """The address of a copy whose weights are those of the artifact in another order."""
    s3, address = bench.desk.client("s3"), S3Address.parse(uri)
    whole = io.BytesIO(s3.get_object(Bucket=address.bucket, Key=address.key)["Body"].read())
    packed = io.BytesIO()
    with tarfile.open(fileobj=whole) as given, tarfile.open(fileobj=packed, mode="w:gz") as made:
        for member in given:
            file = given.extractfile(member)
            content = file.read() if file else b""
            if member.name.endswith("model.safetensors") and "adapter" not in member.name:
                start = 8 + struct.unpack("<Q", content[:8])[0]
                content = content[:start] + np.frombuffer(content[start:], dtype="<f4")[::-1].tobytes()
            made.addfile(member, io.BytesIO(content) if file else None)
    key = f"tampered/{uuid4().hex}/model.tar.gz"
    s3.put_object(Bucket=bench.bucket, Key=key, Body=packed.getvalue())
    return f"s3://{bench.bucket}/{key}"


@pytest.mark.timeout(600)  # a job, three containers that import PyTorch, on whatever machine
def test_a_fine_tuned_model_is_approved_and_answers_as_it_learned_and_one_with_other_weights_never_does(
    bench: Bench, endpoint: str, tmp_path: Path
) -> None:
    desk, sagemaker, s3 = bench.desk, bench.desk.client("sagemaker"), bench.desk.client("s3")
    found = register_job(sagemaker, s3, trained(bench, tmp_path / "base"))
    image = sagemaker.describe_model_package(ModelPackageName=found.arn)["InferenceSpecification"]["Containers"][0][
        "Image"
    ]
    assert "huggingface-pytorch-inference" in image
    decide_on_version(sagemaker, s3, ApprovalRequest(model_group=found.group, model_version=found.version))

    request = EndpointRequest(model_group=found.group, endpoint_name=endpoint)
    served = carry_out(desk, planned(desk, request), Payer())
    assert served.smoke_test.agreement.examples >= 1, served.smoke_test.agreement
    answer = invoke(desk.client("sagemaker-runtime"), endpoint, QUESTION)
    assert answer["generated_text"].endswith("is blue.")
    assert answer["model_version"] == found.job_name
    model = sagemaker.describe_model(ModelName=served.model_name)["PrimaryContainer"]
    assert "huggingface-pytorch-inference" in model["Image"]
    assert model["Image"].endswith("cpu-py312-ubuntu22.04")

    card = inspect_model(s3, found.model_uri).card
    assert {one["channel"] for one in card["data"]} == {"training"}
    assert (card["rows"]["training"], card["weights"]) == (80, "merged")
    with pytest.raises(ModelRefusedError, match="POST /predict price houses and nothing else"):
        accepted_ranges(card, found.model_uri)

    other = EndpointRequest(model_uri=tampered(bench, found.model_uri), endpoint_name=endpoint)
    with pytest.raises(DeploymentFailedError, match="otherwise than its training did"):
        carry_out(desk, planned(desk, other), Payer())
    assert json.dumps(invoke(desk.client("sagemaker-runtime"), endpoint, QUESTION)) == json.dumps(answer)
