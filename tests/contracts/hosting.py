"""A tiny hand-written model on the embedded AWS, and the boto3 calls around it."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
WITHIN = 90.0

SCRIPT = '''
"""Does what a request asks for; its answer names the model's version and the process that answers."""
import json, os, time, uuid

INSTANCE = uuid.uuid4().hex

def model_fn(model_dir):
    with open(os.path.join(model_dir, "version")) as file:
        return file.read()

def input_fn(body, content_type):
    return {**json.loads(body), "content_type": content_type}

def predict_fn(request, model):
    if request.get("die"):
        os._exit(3)
    if request.get("die_once"):
        bucket, key = request["die_once"]
        import boto3
        s3 = boto3.client("s3")
        if s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]:
            s3.delete_object(Bucket=bucket, Key=key)
            os._exit(3)
    if request.get("raise"):
        raise ValueError(request["raise"])
    if request.get("toolkit_error"):
        from sagemaker_inference.errors import GenericInferenceToolkitError
        raise GenericInferenceToolkitError(request["toolkit_error"], "refused by the toolkit")
    if request.get("print"):
        print(request["print"])
    if request.get("touch"):
        open(request["touch"], "w").close()
    if request.get("held_by"):
        import socket
        socket.create_connection(("127.0.0.1", request["held_by"])).recv(1)
    time.sleep(request.get("seconds", 0))
    answer = {"version": model, "instance": INSTANCE, "content_type": request["content_type"]}
    if request.get("read"):
        with open(request["read"]) as file:
            answer["read"] = file.read()
    if request.get("environment"):
        answer["environment"] = dict(os.environ)
    return {**answer, "refuse": request.get("refuse")}

def output_fn(prediction, accept):
    if prediction.pop("refuse"):
        from werkzeug.wrappers import Response
        return Response(json.dumps({"error": "sqft must be positive"}), status=400, mimetype="application/json")
    return json.dumps({**prediction, "accept": accept}), "application/json"
'''


def archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


@cache
def _clients(embedded: Any) -> tuple[Any, Any, Any]:
    """Made once: each costs a tenth of a second."""
    runtime = embedded.client("sagemaker-runtime", max_pool_connections=50)
    return embedded.client("sagemaker"), embedded.client("s3"), runtime


class Hosting:
    """Names are made unique: the embedded AWS is shared."""

    def __init__(self, embedded: Any) -> None:
        self.embedded = embedded
        self.sagemaker, self.s3, self.runtime = _clients(embedded)
        self.bucket = embedded.environment["TRAINMASTER_BUCKET"]
        self.role = embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
        self.endpoints: list[str] = []

    def upload(self, content: bytes) -> str:
        key = f"models/{uuid4().hex}/model.tar.gz"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)
        return f"s3://{self.bucket}/{key}"

    def model(self, version: str = "v1", *, artifact: str | None = None, **environment: str) -> str:
        """A model's name; `artifact` replaces the script that does what it is asked."""
        url = artifact or self.upload(archive({"code/inference.py": SCRIPT, "version": version}))
        name = f"model-{uuid4().hex[:8]}"
        container = {"Image": IMAGE, "ModelDataUrl": url, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.role)
        return name

    def variant(self, model: str, name: str = "AllTraffic", **members: Any) -> dict[str, Any]:
        given = {"VariantName": name, "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        return {**given, **members}

    def config(self, *variants: dict[str, Any], **members: Any) -> str:
        name = f"config-{uuid4().hex[:8]}"
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **members)
        return name

    def create(self, config: str) -> str:
        """Its name; it is Creating."""
        name = f"endpoint-{uuid4().hex[:8]}"
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.endpoints.append(name)
        return name

    def serve(self, *variants: dict[str, Any]) -> str:
        """An endpoint in service, by default of one instance of one model."""
        name = self.create(self.config(*variants or [self.variant(self.model())]))
        described = self.settled(name)
        assert described["EndpointStatus"] == "InService", described.get("FailureReason")
        return name

    def settled(self, name: str) -> dict[str, Any]:
        """Its description once no change is under way."""
        deadline = time.monotonic() + WITHIN
        while True:
            described = self.sagemaker.describe_endpoint(EndpointName=name)
            if described["EndpointStatus"] in ("InService", "Failed", "OutOfService"):
                return described
            assert time.monotonic() < deadline, described
            time.sleep(0.02)

    def invoke(self, name: str, variant: str | None = None, **request: Any) -> dict[str, Any]:
        target = {"TargetVariant": variant} if variant else {}
        body, kind = json.dumps(request), "application/json"
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=kind, **target)
        return {**json.load(answer["Body"]), "variant": answer["InvokedProductionVariant"]}

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)

    def remove(self) -> None:
        """Delete every endpoint made here, when it may be deleted; none is waited for."""
        for name in self.endpoints:
            try:
                self.settled(name)
                self.sagemaker.delete_endpoint(EndpointName=name)
            except ClientError as error:
                if "Could not find endpoint" not in str(error):
                    raise


class Holding:
    """Whatever connects to its `port` is held until the block ends, or it is let go."""

    def __enter__(self) -> Holding:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WITHIN)
        self._held: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._listening.close()

    def wait_for(self, many: int) -> None:
        """Until so many are held."""
        while len(self._held) < many:
            self._held.append(self._listening.accept()[0])

    def let_go(self) -> None:
        while self._held:
            self._held.pop().close()


class Load:
    """Clients that invoke an endpoint without pause while the block runs; what they were answered, oldest first."""

    def __init__(self, hosting: Hosting, endpoint: str, clients: int = 8, **request: Any) -> None:
        self._hosting, self._endpoint, self._clients, self._request = hosting, endpoint, clients, request
        self._over = threading.Event()
        self.versions: list[str] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(self._clients)
        for _ in range(self._clients):
            self._pool.submit(self._invoke)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def wait_for(self, more: int) -> None:
        """Until so many more answers have come."""
        wanted = len(self.versions) + more
        self._hosting.wait_until(lambda: len(self.versions) >= wanted or bool(self.errors))

    def _invoke(self) -> None:
        while not self._over.is_set():
            try:
                self.versions.append(self._hosting.invoke(self._endpoint, **self._request)["version"])
            except Exception as error:  # noqa: BLE001 — any error at all is what the test looks for
                self.errors.append(error)
