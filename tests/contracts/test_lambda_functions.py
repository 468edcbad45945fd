"""Lambda on the embedded AWS: a function's own code in processes of its own, its time and memory held, its log in CloudWatch."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import roles_held
from botocore.exceptions import ClientError
from hosting import Hosting

CODE = """
import json, os, sys, time
started = time.time_ns()

def handler(event, context):
    if event.get("raise"):
        raise ValueError(event["raise"])
    if event.get("exit"):
        os._exit(3)
    if event.get("hold"):
        held = bytearray(event["hold"] << 20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(600)
    if event.get("object"):
        return object()
    print("at work")
    time.sleep(event.get("sleep", 0))
    return {"started": started, "environment": dict(os.environ), "left": context.get_remaining_time_in_millis(),
            "id": context.aws_request_id, "name": context.function_name, "cwd": os.getcwd()}
"""


ROLE = "arn:aws:iam::123456789012:role"
ASKS = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        boto3.client("sagemaker-runtime").invoke_endpoint(EndpointName=event["endpoint"], Body=b"")
    except ClientError as error:
        return {"code": error.response["Error"]["Code"]}
"""


class Functions:
    def __init__(self, embedded: Any) -> None:
        self.client, self.logs = embedded.client("lambda"), embedded.client("logs")
        self.hosting = Hosting(embedded)
        self.made: list[str] = []

    def make(self, code: str = CODE, **given: Any) -> str:
        name = f"function-{uuid4().hex[:8]}"
        self.logs.create_log_group(logGroupName=f"/aws/lambda/{name}")
        self.client.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="code_of_it.handler",
            Code={"ZipFile": zipped(code)},
            **{"Role": f"{ROLE}/TrainmasterExecutionRole", "Timeout": 600, "MemorySize": 256, **given},
        )
        self.made.append(name)
        return name

    def invoke(self, name: str, **event: Any) -> Any:
        """What it returned; an AssertionError where it failed."""
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.load(answer["Payload"])

    def serves(self, name: str) -> bool:
        return "FunctionError" not in self.client.invoke(FunctionName=name, Payload=b"{}")

    def failure(self, name: str, **event: Any) -> dict[str, Any]:
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(event))
        assert answer["FunctionError"] == "Unhandled"
        said: dict[str, Any] = json.load(answer["Payload"])
        return said

    def lines(self, name: str) -> list[str]:
        return [each["message"] for each in self.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]]


def zipped(code: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("code_of_it.py", code)
    return packed.getvalue()


@pytest.fixture
def functions(embedded: Any) -> Iterator[Functions]:
    functions = Functions(embedded)
    yield functions
    for name in functions.made:
        functions.client.delete_function(FunctionName=name)


def test_a_function_may_ask_the_endpoint_of_its_role_and_no_other(functions: Functions, embedded: Any) -> None:
    role = roles_held.role_with(embedded, roles_held.policy("api-function", ENDPOINT="endpoint-of-its-own"))
    name = functions.make(ASKS, Role=f"{ROLE}/{role}")
    codes = [functions.invoke(name, endpoint=one)["code"] for one in ("endpoint-of-its-own", "endpoint-of-others")]
    assert codes == ["ValidationError", "AccessDeniedException"], "the first is not there, the second is not its own"


def test_a_function_finds_what_lambda_gives_it_around_itself(functions: Functions, embedded: Any) -> None:
    name = functions.make(Environment={"Variables": {"ENDPOINT_NAME": "mine"}})
    said = functions.invoke(name)
    given = said["environment"]
    assert given["AWS_LAMBDA_FUNCTION_NAME"] == said["name"] == name
    assert given["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert given["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{name}"
    assert given["AWS_REGION"] == "us-east-1"
    assert given["AWS_ENDPOINT_URL"] == embedded.environment["AWS_ENDPOINT_URL"]
    assert (given["_HANDLER"], given["ENDPOINT_NAME"]) == ("code_of_it.handler", "mine")
    assert given["LAMBDA_TASK_ROOT"] == said["cwd"]
    assert 300_000 < said["left"] <= 600_000
    assert not any(variable.startswith(("TRAINMASTER", "SUPABASE", "PREFECT", "DATABASE")) for variable in given)


def test_its_process_stays_warm_until_its_code_or_settings_change(functions: Functions) -> None:
    name = functions.make()
    first = functions.invoke(name)["started"]
    assert functions.invoke(name)["started"] == first
    functions.client.update_function_code(FunctionName=name, ZipFile=zipped(CODE + "\n# another\n"))
    second = functions.invoke(name)["started"]
    assert second != first
    functions.client.update_function_configuration(FunctionName=name, Environment={"Variables": {"A": "1"}})
    third = functions.invoke(name)
    assert third["started"] != second
    assert third["environment"]["A"] == "1"


def test_every_invocation_is_reported_in_its_log_group(functions: Functions) -> None:
    name = functions.make()
    request_id = functions.invoke(name)["id"]
    functions.hosting.wait_until(lambda: any(line.startswith("REPORT") for line in functions.lines(name)))
    start, worked, end, report = functions.lines(name)
    assert start == f"START RequestId: {request_id} Version: $LATEST"
    assert (worked, end) == ("at work", f"END RequestId: {request_id}")
    assert report.startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "\tMemory Size: 256 MB\tMax Memory Used: " in report


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"raise": "not today"}, "ValueError", "not today"),
        ({"object": True}, "TypeError", "Object of type object is not JSON serializable"),
        ({"exit": True}, "Runtime.ExitError", "Runtime exited with error"),
        ({"sleep": 600}, "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ({"hold": 400}, "Runtime.ExitError", "signal: killed"),
    ],
    ids=["raises", "no json", "exits", "too long", "too large"],
)
def test_whatever_ends_an_invocation_the_next_one_is_served(
    functions: Functions, event: dict[str, Any], kind: str, message: str
) -> None:
    name = functions.make(**({"Timeout": 1} if "sleep" in event else {}))
    failed = functions.failure(name, **event)
    assert failed["errorType"] == kind
    assert message in failed["errorMessage"]
    functions.hosting.wait_until(lambda: functions.serves(name))  # a second may be too short for it, too
    functions.hosting.wait_until(lambda: any(message in line for line in functions.lines(name)))


def test_code_that_cannot_be_loaded_fails_every_invocation_and_says_why(functions: Functions) -> None:
    failed = functions.failure(functions.make("import nothing_of_that_name"))
    assert failed["errorType"] == "ModuleNotFoundError"
    assert "nothing_of_that_name" in failed["errorMessage"]


def test_a_function_that_is_not_there_is_not_found(functions: Functions) -> None:
    with pytest.raises(ClientError) as refused:
        functions.client.invoke(FunctionName="nobodys", Payload=b"{}")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_no_process_of_a_function_outlives_the_embedded_aws(start_embedded: Callable[..., Any]) -> None:
    import psutil

    aws = start_embedded()
    functions = Functions(aws)
    functions.invoke(functions.make())
    running = [
        child.pid
        for child in psutil.Process(aws.pid).children(recursive=True)
        if "bootstrap.py" in str(child.cmdline())
    ]
    assert running
    aws.kill()
    functions.hosting.wait_until(lambda: not any(psutil.pid_exists(pid) for pid in running))
