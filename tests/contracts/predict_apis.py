"""A published API of one small model, and what a client does with it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

from hosting import Hosting, archive

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.api import stack as public_api
from trainmaster.endpoints.api.plan import DesiredApi, desired_api, plan_api, stack_name
from trainmaster.endpoints.api.request import PublishRequest

PATIENCE = Patience(0.1, 10, 60)
ACCEPTED = {"sqft": (100.0, 20_000.0)}
KIND = "application/json"
MODEL = """
import json, os, time
from werkzeug.wrappers import Response

def model_fn(folder): return "v1"
def input_fn(body, content_type): return json.loads(body)
def predict_fn(house, version):
    sqft = house["sqft"]
    if sqft == 111: raise ValueError("a model that fails")
    if sqft == 222: return "not a price"
    if sqft == 333: return Response(json.dumps({"error": "too unlike", "problems": [{"field": "sqft", "problem": "odd"}]}), status=400)
    return {"predicted_price": sqft * 100, "model_version": version, "timestamp": "2026-01-01T00:00:00.000Z"}
def output_fn(answer, accept): return answer if isinstance(answer, Response) else (json.dumps(answer), accept)
"""


@dataclass(frozen=True)
class Said:
    """An answer over HTTP; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class PredictApi:
    """Its names are its own; `remove` takes the stack and the endpoint away."""

    def __init__(self, embedded: Any) -> None:
        self.embedded, self.hosting = embedded, Hosting(embedded)
        self.cloudformation, self.s3 = embedded.client("cloudformation"), embedded.client("s3")
        self.gateway, self.logs = embedded.client("apigateway"), embedded.client("logs")
        self.endpoint = f"api-{uuid4().hex[:8]}"
        self.name = stack_name(self.endpoint)

    def serve(self) -> None:
        """An endpoint in service, as deploy-endpoint would tag it."""
        hosting = self.hosting
        uri = hosting.upload(archive({"code/inference.py": MODEL}))
        config = hosting.config(hosting.variant(hosting.model(artifact=uri)))
        hosting.sagemaker.create_endpoint(EndpointName=self.endpoint, EndpointConfigName=config)
        hosting.endpoints.append(self.endpoint)
        hosting.settled(self.endpoint)

    def desired(self, accepted: Any = None, **choices: Any) -> DesiredApi:
        return desired_api(
            PublishRequest(endpoint_name=self.endpoint, **choices),
            accepted or ACCEPTED,
            endpoint_arn=f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{self.endpoint}",
            bucket=self.hosting.bucket,
            access_logs=False,
        )

    def publish(self, desired: DesiredApi | None = None) -> list[str]:
        """Bring the stack there; the steps it took. Raises DeploymentFailedError."""
        wanted = desired or self.desired()
        stack = public_api.settle_stack(self.cloudformation, wanted.stack_name, PATIENCE)
        steps = plan_api(wanted, public_api.describe_api(stack, wanted, self.s3))
        public_api.apply_api(self.cloudformation, self.s3, wanted, steps, PATIENCE)
        settled = public_api.settle_stack(self.cloudformation, wanted.stack_name, PATIENCE)
        public_api.require_published(self.cloudformation, settled, wanted)
        return [step.kind for step in steps]

    def withdraw(self) -> None:
        found = public_api.find_api(self.cloudformation, self.s3, self.endpoint, self.hosting.bucket)
        public_api.withdraw_api(
            self.cloudformation, self.s3, found, self.hosting.bucket, PATIENCE, on_status=lambda _: None
        )

    def remove(self) -> None:
        self.withdraw()
        self.hosting.remove()

    @property
    def outputs(self) -> dict[str, str]:
        stack = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    @cached_property
    def url(self) -> str:
        outputs = self.outputs
        template = self.embedded.environment["TRAINMASTER_API_URL"]
        return f"{template.format(id=outputs['ApiId'], stage=outputs['Stage'])}/predict"

    @cached_property
    def key(self) -> str:
        return str(self.gateway.get_api_key(apiKey=self.outputs["KeyId"], includeValue=True)["value"])

    def ask(self, body: Any = None, *, method: str = "POST", path: str = "", **headers: str) -> Said:
        """Ask for a price with a good key; `headers` are added, with _ for -, an empty one leaves it out."""
        given = {"content-type": KIND, "x-api-key": self.key}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data=content,
            method=method,
            headers={name: value for name, value in given.items() if value},
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return self._said(answer)
        except urllib.error.HTTPError as error:
            with error:
                return self._said(error)

    @staticmethod
    def _said(answer: Any) -> Said:
        return Said(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())

    def lines(self) -> list[str]:
        """What the function's log group has."""
        events = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{self.name}")["events"]
        return [each["message"] for each in events]
