"""Who serves the model: each started fresh on a port of its own, and asked in its own way."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.predicting.models import House, packed
from trainmaster.aws.clients import client_config
from trainmaster.embedded import processes
from trainmaster.embedded.launch import running
from trainmaster.training.image import sklearn_image_uri

REGION, ENDPOINT = "us-east-1", "bench-serving"
_READY_WITHIN = 120.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Serving:
    """A server that answers. `request` is the whole HTTP request for a house; it may be good for five minutes only."""

    port: int
    request: Callable[[House], str]


@contextmanager
def endpoint(artifact: Path, folder: Path) -> Iterator[Serving]:
    """InvokeEndpoint of the embedded AWS, signed: one instance."""
    with running(folder / "aws", stop_grace=1) as environment:
        _deploy(environment, artifact)
        yield Serving(*signed_invocation(environment, ENDPOINT))


def signed_invocation(environment: Mapping[str, str], endpoint_name: str) -> tuple[int, Callable[[House], str]]:
    """Where the embedded AWS is asked, and how: InvokeEndpoint, signed for five minutes from then on."""
    address = urlsplit(environment["AWS_ENDPOINT_URL"])
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    url = f"{address.geturl()}/endpoints/{endpoint_name}/invocations"

    def request(house: House) -> str:
        asked = AWSRequest("POST", url, _JSON, json.dumps(house))
        SigV4Auth(keys, "sagemaker", REGION).add_auth(asked)
        return _written(urlsplit(url).path, str(address.netloc), dict(asked.headers.items()), json.dumps(house))

    return int(address.port or 80), request


def client(environment: Mapping[str, str], service: str) -> Any:
    """A boto3 client of the embedded AWS."""
    return boto3.client(
        service,
        endpoint_url=environment.get(f"AWS_ENDPOINT_URL_{service.upper()}", environment["AWS_ENDPOINT_URL"]),
        region_name=REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=client_config(),
    )


@contextmanager
def mlflow(artifact: Path, folder: Path, python: Path) -> Iterator[Serving]:
    """`mlflow models serve`, one worker, as it comes."""
    model, port = folder / "mlflow-model", _free_port()
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    saving = processes.start(
        [str(python), str(_HERE / "mlflow_model.py"), str(artifact), str(model)],
        env=environment,
        stdout=sys.stderr.fileno(),
    )
    if saving.wait(300):
        sys.exit("MLflow could not save the model; it says why above.")
    command = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        str(model),
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]

    def request(house: House) -> str:
        split = {"columns": list(house), "data": [list(house.values())]}
        return _written("/invocations", f"127.0.0.1:{port}", _JSON, json.dumps({"dataframe_split": split}))

    with _started([str(python), *command], environment, folder / "mlflow.log", port, "/ping"):
        yield Serving(port, request)


@contextmanager
def fastapi(artifact: Path, folder: Path, python: Path) -> Iterator[Serving]:
    """A bare application under uvicorn, one worker, without an access log."""
    port = _free_port()
    command = [
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--app-dir",
        str(_HERE),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
    ]

    def request(house: House) -> str:
        return _written("/predict", f"127.0.0.1:{port}", _JSON, json.dumps(house))

    with _started(
        [str(python), *command], {**os.environ, "MODEL": str(artifact)}, folder / "fastapi.log", port, "/docs"
    ):
        yield Serving(port, request)


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def _deploy(environment: Mapping[str, str], artifact: Path) -> None:
    s3, sagemaker = client(environment, "s3"), client(environment, "sagemaker")
    bucket, key = environment["TRAINMASTER_BUCKET"], "bench/model.tar.gz"
    s3.put_object(Bucket=bucket, Key=key, Body=packed(artifact))
    container = {"Image": sklearn_image_uri(REGION), "ModelDataUrl": f"s3://{bucket}/{key}"}
    role = environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
    sagemaker.create_model(ModelName=ENDPOINT, PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {
        "VariantName": "all-traffic",
        "ModelName": ENDPOINT,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=ENDPOINT, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=ENDPOINT, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str], log: Path, port: int, path: str) -> Iterator[None]:
    with log.open("wb") as said:
        child = processes.start(command, env=environment, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + _READY_WITHIN
        while not _answers(port, path):
            if child.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command[1:4])} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield
    finally:
        child.stop(10)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _written(path: str, host: str, headers: Mapping[str, str], body: str) -> str:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in headers.items() if name != "Host"),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(body.encode())}", "", body])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
