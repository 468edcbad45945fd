"""Tiny models, brought into service as the terminal does it, on the embedded AWS."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from uuid import uuid4

from trainmaster.budget.budgets import Payer
from trainmaster.commands.endpoints.deploying import carry_out, planned, planned_rollback
from trainmaster.endpoints import deployment
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.plan import Desired, Plan
from trainmaster.endpoints.removing import belongings, remove
from trainmaster.endpoints.request import EndpointRequest, RollbackRequest
from trainmaster.endpoints.results import ServedModel
from trainmaster.training.desk import Desk

ANSWERS = """
import json
def model_fn(folder): return "{version}"
def predict_fn(data, model): return {{"predicted_price": {price}, "model_version": model}}
def input_fn(body, content_type): return json.loads(body)
def output_fn(prediction, accept): return json.dumps(prediction)
"""


class Deployer:
    """One endpoint of its own name, and models for it."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.name = desk, f"e{uuid4().hex[:8]}"
        self.sagemaker = desk.client("sagemaker")

    def model(self, version: str, price: str = "7") -> str:
        """The S3 URI of an artifact that answers as `version`."""
        card = {
            "model_version": version,
            "features": {"sqft": {"min": 500, "max": 3000, "mean": 1800}},
            "target": {"max": 900_000},
        }
        code = ANSWERS.format(version=version, price=price)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, text in (("model_card.json", json.dumps(card)), ("code/inference.py", code)):
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        key = f"models/{uuid4().hex}/model.tar.gz"
        bucket = self.desk.settings.required("bucket")
        self.desk.client("s3").put_object(Bucket=bucket, Key=key, Body=packed.getvalue())
        return f"s3://{bucket}/{key}"

    def request(self, model_uri: str, **choices: Any) -> EndpointRequest:
        return EndpointRequest(model_uri=model_uri, endpoint_name=self.name, **{"max_hourly_cost": "100", **choices})

    def planned(self, model_uri: str, **choices: Any) -> tuple[Desired, ChosenModels, Plan]:
        request = self.request(model_uri, **choices)
        models = deployment.choose_models(self.desk, request)
        desired = deployment.desire(self.desk, request, models)
        return desired, models, deployment.plan(self.desk, desired)

    def deploy(self, model_uri: str, **choices: Any) -> ServedModel:
        return carry_out(self.desk, planned(self.desk, self.request(model_uri, **choices)), Payer())

    def back(self, config: str = "", **choices: Any) -> ServedModel:
        request = RollbackRequest(endpoint_name=self.name, config_name=config, **choices)
        return carry_out(self.desk, planned_rollback(self.desk, request), Payer())

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=self.name)
        return found

    def config(self, name: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_endpoint_config(
            EndpointConfigName=name or self.described()["EndpointConfigName"]
        )
        return found

    def tags(self, arn: str | None = None) -> dict[str, str]:
        """The endpoint's, unless another ARN is given."""
        tags = self.sagemaker.list_tags(ResourceArn=arn or self.described()["EndpointArn"])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in tags}

    def standing(self) -> tuple[set[str], set[str]]:
        """The names of the configurations and the models there are."""
        configs = self.sagemaker.list_endpoint_configs(NameContains=self.name)["EndpointConfigs"]
        models = self.sagemaker.list_models(NameContains=self.name)["Models"]
        return {one["EndpointConfigName"] for one in configs}, {one["ModelName"] for one in models}

    def answer(self, variant: str | None = None) -> Any:
        target = {"TargetVariant": variant} if variant else {}
        answered = self.desk.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=self.name, ContentType="application/json", Body=b'{"sqft": 1}', **target
        )
        return json.loads(answered["Body"].read())["model_version"]

    def remove(self) -> None:
        found = belongings(self.desk.client, self.name)
        remove(self.desk.client, found, deployment.patience_of(self.desk.settings))
