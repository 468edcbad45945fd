"""One address, loopback only, for all of AWS; it starts, stops, restarts and refuses clearly."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from embedded_aws import EmbeddedAws, Served
from werkzeug.test import Client as WsgiClient

from trainmaster.embedded import launch
from trainmaster.embedded.control import Control
from trainmaster.embedded.faults import Faults
from trainmaster.embedded.front import Front
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.role_journal import RoleJournal
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.records import Records

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
ENDS_WITHIN = 15.0
BYTES = b"bytes" * 2_000_000
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_of(aws: EmbeddedAws) -> list[str]:
    """Commands of the processes whose command line or environment names the state folder or the address."""
    marks = [os.fsencode(aws.state), aws.environment["AWS_ENDPOINT_URL"].encode()]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if any(mark in command + (process / "environ").read_bytes() for mark in marks):
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile
    return found


def sleeping_job(aws: EmbeddedAws) -> str:
    """A training job that is running a command of its own."""
    sagemaker, name = aws.client("sagemaker"), f"sleeper-{uuid4().hex[:8]}"
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sleep", "600"],
        },
        RoleArn=aws.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
        OutputDataConfig={"S3OutputPath": f"s3://{aws.environment['TRAINMASTER_BUCKET']}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    until(lambda: any("sleep 600" in command for command in processes_of(aws)))
    return name


def error_of(call: Callable[..., Any], **request: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        call(**request)
    response: Any = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@dataclass(frozen=True)
class Killed:
    """An embedded AWS that was killed while a job ran, and the one started after it on the same folder."""

    before: dict[str, str]
    after: Served
    survivors: list[str]
    ports: tuple[int, int]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = (one.getsockname()[1], other.getsockname()[1])
    state = tmp_path_factory.mktemp("killed") / "state"
    aws = EmbeddedAws(state, port=ports[0], s3_port=ports[1])
    bucket, iam = aws.environment["TRAINMASTER_BUCKET"], aws.client("iam")
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=BYTES)
    aws.client("sagemaker").create_model(
        ModelName="kept",
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/kept"},
        Tags=[{"Key": "user", "Value": "anna"}],
    )
    iam.create_role(RoleName="MyRole", AssumeRolePolicyDocument=TRUST)
    allow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    iam.put_role_policy(RoleName="MyRole", PolicyName="p", PolicyDocument=json.dumps(allow))
    sleeping_job(aws)
    aws.kill()
    deadline = time.monotonic() + ENDS_WITHIN
    while (survivors := processes_of(aws)) and time.monotonic() < deadline:
        time.sleep(0.02)
    with launch.running(state) as environment:
        yield Killed(aws.environment, Served(state, environment), survivors, ports)


class TestKilled:
    def test_no_process_outlives_it(self, killed: Killed) -> None:
        assert killed.survivors == []

    def test_the_next_has_the_same_addresses_and_credentials(self, killed: Killed) -> None:
        same = [name for name in killed.before if name.startswith(("AWS_", "TRAINMASTER_"))]
        assert len(same) == 9
        assert [killed.after.environment[name] for name in same] == [killed.before[name] for name in same]

    def test_given_ports_are_used_and_kept(self, killed: Killed) -> None:
        urls = (killed.before["AWS_ENDPOINT_URL"], killed.before["AWS_ENDPOINT_URL_S3"])
        assert urls == tuple(f"http://127.0.0.1:{port}" for port in killed.ports)

    def test_objects_are_still_there(self, killed: Killed) -> None:
        kept = killed.after.client("s3").get_object(Bucket=killed.before["TRAINMASTER_BUCKET"], Key="kept")
        assert kept["Body"].read() == BYTES

    def test_models_and_their_tags_are_still_there(self, killed: Killed) -> None:
        sagemaker = killed.after.client("sagemaker")
        arn = sagemaker.describe_model(ModelName="kept")["ModelArn"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "user", "Value": "anna"}]

    def test_roles_and_their_policies_are_still_there(self, killed: Killed) -> None:
        iam = killed.after.client("iam")
        assert iam.get_role(RoleName="MyRole")["Role"]["Arn"] == "arn:aws:iam::123456789012:role/MyRole"
        assert iam.list_role_policies(RoleName="MyRole")["PolicyNames"] == ["p"]


class TestLife:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_with_all_its_processes_and_success_when_asked(
        self, start_embedded: Callable[..., EmbeddedAws], how: signal.Signals
    ) -> None:
        aws = start_embedded()
        sleeping_job(aws)
        os.kill(aws.pid, how)
        until(lambda: not processes_of(aws))
        assert aws.stop() == 0

    def test_it_ends_with_an_error_when_s3_does(self, start_embedded: Callable[..., EmbeddedAws]) -> None:
        aws = start_embedded()
        weed = next(pid for pid in descendants(aws.pid) if Path(f"/proc/{pid}/exe").resolve().name == "weed")
        os.kill(weed, signal.SIGKILL)
        until(lambda: not processes_of(aws))
        assert aws.stop() == 1
        assert "SeaweedFS ended with exit code 137" in aws.log.read_text()

    def test_a_second_one_on_the_same_folder_is_refused_and_told_where_the_first_is(
        self, embedded: EmbeddedAws
    ) -> None:
        second = command("--state", str(embedded.state))
        assert second.returncode == 1
        assert f"served already by process {embedded.pid}" in second.stderr
        assert embedded.environment["AWS_ENDPOINT_URL"] in second.stderr
        assert embedded.control("GET", "health")["pid"] == embedded.pid

    def test_a_port_that_is_taken_is_refused_by_its_number(self, embedded: EmbeddedAws, tmp_path: Path) -> None:
        port = embedded.environment["AWS_ENDPOINT_URL"].rpartition(":")[2]
        second = command("--state", str(tmp_path), "--port", port)
        assert second.returncode == 1
        assert f"Port {port} of 127.0.0.1 cannot be used" in second.stderr
        assert "Traceback" not in second.stderr

    @pytest.mark.parametrize("port", ["0", "65536", "x"])
    def test_what_is_no_port_is_refused(self, tmp_path: Path, port: str) -> None:
        assert "a port is a number from 1 to 65535" in command("--state", str(tmp_path), "--port", port).stderr

    def test_the_users_proxy_settings_are_kept_for_other_hosts(self, embedded: EmbeddedAws) -> None:
        assert embedded.environment["no_proxy"] == "intranet.example,127.0.0.1,localhost"

    def test_a_shell_can_evaluate_what_it_prints(self, tmp_path: Path) -> None:
        state = tmp_path / "with space" / "s'tate"
        script = f"""
            {shlex.quote(sys.executable)} -m trainmaster.cli embedded --state {shlex.quote(str(state))} --print-env > env &
            while ! grep -q no_proxy env; do sleep 0.05; done
            eval "$(cat env)"
            {shlex.quote(sys.executable)} -c 'import boto3
print(boto3.client("sts").get_caller_identity()["Account"], boto3.client("s3").list_buckets()["Buckets"][0]["Name"])'
            kill %1; wait %1
        """
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=no_aws(), capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, "123456789012 sagemaker-us-east-1-123456789012\n"), done.stderr
        assert all(line.startswith("export ") for line in (tmp_path / "env").read_text().splitlines())
        assert "Embedded AWS at http://127.0.0.1:" in done.stderr

    def test_it_listens_on_loopback_only(self, embedded: EmbeddedAws) -> None:
        inodes = set()
        for pid in [embedded.pid, *descendants(embedded.pid)]:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                inodes.add(str(fd.readlink()).removeprefix("socket:[").removesuffix("]"))
        lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
        listening = [fields[1] for fields in map(str.split, lines) if fields[3] == "0A" and fields[9] in inodes]
        assert len(listening) >= 8
        assert {address.partition(":")[0] for address in listening} == {"0100007F"}

    def test_secrets_are_readable_by_their_owner_alone(self, embedded: EmbeddedAws) -> None:
        secret = embedded.environment["AWS_SECRET_ACCESS_KEY"].encode()
        files = [file for file in embedded.state.rglob("*") if file.is_file() and secret in file.read_bytes()]
        assert {file.name for file in files} == {"credentials.json", "identities.json", "serving.json"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


class TestLaunch:
    def test_one_that_serves_the_folder_is_used_and_left_running(self, embedded: EmbeddedAws) -> None:
        with launch.running(embedded.state) as environment:
            assert environment == embedded.environment
        assert health(environment)["pid"] == embedded.pid

    def test_two_blocks_at_once_on_one_folder_share_one_that_ends_with_them(self, tmp_path: Path) -> None:
        def run(_: int) -> dict[str, str]:
            with launch.running(tmp_path / "state", stop_grace=1) as environment:
                pids.add(health(environment)["pid"])
                both.wait(30)
            return environment

        both, pids = threading.Barrier(2), set[int]()
        with ThreadPoolExecutor(2) as pool:
            environments = list(pool.map(run, range(2)))
        assert len(pids) == 1
        for environment in environments:
            with pytest.raises(urllib.error.URLError):
                health(environment)

    def test_a_start_that_fails_says_why(self, embedded: EmbeddedAws, tmp_path: Path) -> None:
        port = int(embedded.environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
        with (
            pytest.raises(launch.DidNotStartError, match=f"Port {port} of 127.0.0.1 cannot be used"),
            launch.running(tmp_path / "state", port=port),
        ):
            pass


class TestFront:
    def test_the_default_role_and_bucket_are_there(self, embedded: EmbeddedAws) -> None:
        role = embedded.client("iam").get_role(RoleName="TrainmasterExecutionRole")["Role"]
        assert role["Arn"] == embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
        assert embedded.environment["TRAINMASTER_BUCKET"] == "sagemaker-us-east-1-123456789012"
        embedded.client("s3").head_bucket(Bucket="sagemaker-us-east-1-123456789012")

    def test_s3_refuses_a_wrong_secret_and_an_address_that_has_expired(self, embedded: EmbeddedAws) -> None:
        s3 = embedded.client("s3")
        s3.put_object(Bucket=embedded.environment["TRAINMASTER_BUCKET"], Key="secret", Body=b"x")
        other = boto3.client(
            "s3",
            endpoint_url=embedded.environment["AWS_ENDPOINT_URL_S3"],
            region_name="us-east-1",
            aws_access_key_id=embedded.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key="wrong",
        )
        assert error_of(other.list_buckets)[:2] == (403, "SignatureDoesNotMatch")
        place = {"Bucket": embedded.environment["TRAINMASTER_BUCKET"], "Key": "secret"}
        assert urllib.request.urlopen(s3.generate_presigned_url("get_object", place), timeout=10).read() == b"x"
        address = s3.generate_presigned_url("get_object", place, ExpiresIn=1)
        until(lambda: status_of(address) == 403)

    def test_s3_at_the_wrong_address_says_which_is_right(self, embedded: EmbeddedAws) -> None:
        s3 = boto3.client(
            "s3",
            endpoint_url=embedded.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        status, code, message = error_of(s3.list_buckets)
        assert (status, code) == (400, "InvalidRequest")
        assert f"S3 is at {embedded.environment['AWS_ENDPOINT_URL_S3']}. Set AWS_ENDPOINT_URL_S3" in message

    @pytest.mark.parametrize(
        ("service", "operation", "request_"),
        [
            ("sagemaker", "list_domains", {}),
            ("sagemaker-runtime", "invoke_endpoint_async", {"EndpointName": "x", "InputLocation": "s3://x/y"}),
            ("sagemaker-runtime", "invoke_endpoint_with_response_stream", {"EndpointName": "x", "Body": b""}),
            ("logs", "list_anomalies", {}),
            ("iam", "simulate_custom_policy", {"PolicyInputList": ["x"], "ActionNames": ["s3:GetObject"]}),
            (
                "cloudwatch",
                "get_insight_rule_report",
                {"RuleName": "x", "StartTime": 1, "EndTime": 2, "Period": 60},
            ),
            ("lambda", "get_function_recursion_config", {"FunctionName": "x"}),
            ("route53", "list_cidr_collections", {}),
            ("pricing", "get_products", {"ServiceCode": "AmazonSageMaker"}),
        ],
    )
    def test_what_is_not_there_is_told_in_the_protocol_of_the_call_and_not_retried(
        self, embedded: EmbeddedAws, service: str, operation: str, request_: dict[str, Any]
    ) -> None:
        client = embedded.client(service, retries={"mode": "standard", "total_max_attempts": 5})
        with pytest.raises(ClientError) as refused:
            getattr(client, operation)(**request_)
        response: Any = refused.value.response
        assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (
            501,
            "NotImplementedException",
        )
        assert response["Error"]["Message"].startswith("The embedded AWS does not ")
        assert response["ResponseMetadata"]["RetryAttempts"] == 0

    def test_every_answer_has_a_request_id(self, embedded: EmbeddedAws) -> None:
        for service, operation in (("sagemaker", "list_models"), ("iam", "list_roles"), ("cloudwatch", "list_metrics")):
            assert getattr(embedded.client(service), operation)()["ResponseMetadata"]["RequestId"]

    def test_an_unsigned_request_is_refused_as_aws_refuses_it(self, embedded: EmbeddedAws) -> None:
        for service, operation in (("sagemaker", "list_models"), ("iam", "list_roles")):
            client = boto3.client(
                service,
                endpoint_url=embedded.environment["AWS_ENDPOINT_URL"],
                region_name="us-east-1",
                config=Config(signature_version=botocore.UNSIGNED),
            )
            assert error_of(getattr(client, operation))[:2] == (403, "MissingAuthenticationTokenException")

    def test_more_requests_at_once_than_it_has_threads_are_all_answered(self, embedded: EmbeddedAws) -> None:
        """Each of them asks IAM for the role, which is asked of the same process."""
        sagemaker = embedded.client("sagemaker", max_pool_connections=100)
        embedded.client("s3").put_object(Bucket=embedded.environment["TRAINMASTER_BUCKET"], Key="many", Body=b"x")

        def create(n: int) -> str:
            arn: str = sagemaker.create_model(
                ModelName=f"many-{n}-{family}",
                ExecutionRoleArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
                PrimaryContainer={
                    "Image": IMAGE,
                    "ModelDataUrl": f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/many",
                },
            )["ModelArn"]
            return arn

        family = uuid4().hex[:8]
        with ThreadPoolExecutor(100) as pool:
            assert len(set(pool.map(create, range(100)))) == 100

    def test_an_invocation_larger_than_aws_takes_is_refused(self, embedded: EmbeddedAws) -> None:
        status, code, message = error_of(
            embedded.client("sagemaker-runtime").invoke_endpoint, EndpointName="x", Body=bytes(6 * 2**20 + 1)
        )
        assert (status, code) == (400, "ValidationError")
        assert "6291457 bytes" in message

    def test_a_failure_of_our_own_is_an_internal_failure_and_its_traceback_is_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object) -> Any:
            raise ZeroDivisionError

        records, faults = Records(tmp_path / "records.db"), Faults()
        nowhere = "http://127.0.0.1:9"
        front = Front(
            account=Account(tmp_path, records, nowhere, nowhere, "key", "secret"),
            sagemaker=SageMakerApi({"ListModels": broken}),
            invoke=broken,
            others=OtherServices(),
            roles=RoleJournal(tmp_path / "roles.jsonl"),
            faults=faults,
            control=Control(tmp_path, faults, broken, ""),
        )
        signed = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sagemaker/aws4_request, Signature=x"
        for path, target in (("/", "SageMaker.ListModels"), ("/endpoints/x/invocations", None)):
            headers = {"Authorization": signed} | ({"X-Amz-Target": target} if target else {})
            answer = WsgiClient(front).post(path, headers=headers, data="{}")
            assert (answer.status_code, answer.get_json(force=True)["__type"]) == (500, "InternalFailure")
        assert caplog.text.count("ZeroDivisionError") >= 2
        records.close()


class TestControl:
    @pytest.fixture(autouse=True)
    def no_faults(self, embedded: EmbeddedAws) -> Any:
        yield
        embedded.control("DELETE", "faults")

    def test_health_says_who_serves_which_folder(self, embedded: EmbeddedAws) -> None:
        said = embedded.control("GET", "health")
        assert (said["status"], said["state"]) == ("ok", str(embedded.state))
        assert said["isolation"].startswith("Training jobs run ")

    @pytest.mark.parametrize(
        ("error", "status"), [("ThrottlingException", 400), ("ResourceLimitExceeded", 400), ("InternalFailure", 500)]
    )
    def test_an_error_can_be_commanded_and_counts_down(self, embedded: EmbeddedAws, error: str, status: int) -> None:
        embedded.control(
            "POST", "faults", {"operation": "ListModels", "error": error, "message": "so be it", "count": 1}
        )
        assert error_of(embedded.client("sagemaker").list_models)[:2] == (status, error)
        embedded.client("sagemaker").list_models()

    def test_a_client_that_retries_gets_over_it(self, embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "List*", "error": "ThrottlingException", "count": 2})
        client = embedded.client("sagemaker", retries={"mode": "standard", "total_max_attempts": 4})
        assert client.list_models()["ResponseMetadata"]["RetryAttempts"] == 2

    @pytest.mark.parametrize(
        ("service", "operation"), [("iam", "list_roles"), ("cloudwatch", "list_metrics"), ("ec2", "describe_vpcs")]
    )
    def test_any_service_can_be_made_to_fail_in_its_own_protocol(
        self, embedded: EmbeddedAws, service: str, operation: str
    ) -> None:
        embedded.control("POST", "faults", {"operation": "*", "error": "Throttling", "message": "slow <down>"})
        assert error_of(getattr(embedded.client(service), operation)) == (400, "Throttling", "slow <down>")

    def test_invocations_can_be_made_to_fail(self, embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "InvokeEndpoint", "error": "ServiceUnavailable"})
        invoke = embedded.client("sagemaker-runtime").invoke_endpoint
        assert error_of(invoke, EndpointName="x", Body=b"")[:2] == (503, "ServiceUnavailable")

    def test_a_connection_can_be_cut(self, embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "ListModels", "reset": True, "count": 1})
        with pytest.raises(ConnectionClosedError):
            embedded.client("sagemaker").list_models()
        embedded.client("sagemaker").list_models()

    def test_latency_delays_the_answer_and_nothing_else(self, embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "ListModels", "latency": 0.3})
        began = time.monotonic()
        embedded.client("sagemaker").list_models()
        assert time.monotonic() - began >= 0.3

    def test_faults_do_not_befall_the_embedded_aws_itself(self, embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "GetRole", "error": "Throttling"})
        embedded.client("s3").put_object(Bucket=embedded.environment["TRAINMASTER_BUCKET"], Key="own", Body=b"x")
        embedded.client("sagemaker").create_model(
            ModelName=f"own-{uuid4().hex[:8]}",
            ExecutionRoleArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/own"},
        )

    def test_faults_can_be_read_and_deleted(self, embedded: EmbeddedAws) -> None:
        rule = {"operation": "*", "error": "Throttling", "rate": 0.5}
        assert embedded.control("POST", "faults", rule) == embedded.control("GET", "faults")
        assert embedded.control("GET", "faults")["faults"][0].items() >= rule.items()
        assert embedded.control("DELETE", "faults") == {"faults": []}

    @pytest.mark.parametrize(
        ("method", "path", "body", "said"),
        [
            ("POST", "faults", {"operation": "X", "error": "E", "rate": 2}, "rate: "),
            ("POST", "faults", {"operation": "X", "eror": "E"}, "eror: "),
            ("POST", "faults", None, "Invalid JSON"),
            ("POST", "interrupt", {"job": "x"}, 'Post {"training_job": "<name>"}'),
            ("POST", "interrupt", ["x"], 'Post {"training_job": "<name>"}'),
            ("POST", "interrupt", {"training_job": "nobody"}, "Requested resource not found"),
            ("GET", "cats", None, "There are GET health"),
        ],
    )
    def test_a_command_that_cannot_be_followed_says_why(
        self, embedded: EmbeddedAws, method: str, path: str, body: Any, said: str
    ) -> None:
        assert said in embedded.control(method, path, body)["error"]


class TestSimulatePrincipalPolicy:
    @pytest.fixture
    def decide(self, embedded: EmbeddedAws) -> Callable[..., dict[str, str]]:
        """Decisions by action, for a new role with these inline statements and attached ones."""

        def decide(
            actions: list[str], inline: list[Any], attached: list[Any] | None = None, **request: Any
        ) -> dict[str, str]:
            iam, name = embedded.client("iam"), f"role-{uuid4().hex[:8]}"
            arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
            document = {"Version": "2012-10-17", "Statement": inline}
            iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(document))
            if attached:
                document = {"Version": "2012-10-17", "Statement": attached}
                policy = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))["Policy"]["Arn"]
                iam.attach_role_policy(RoleName=name, PolicyArn=policy)
            results = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions, **request)
            return {one["EvalActionName"]: one["EvalDecision"] for one in results["EvaluationResults"]}

        return decide

    def test_what_no_policy_allows_is_denied_implicitly(self, decide: Callable[..., dict[str, str]]) -> None:
        allow = {"Effect": "Allow", "Action": ["S3:get*", "logs:*"], "Resource": "*"}
        assert decide(["s3:GetObject", "s3:PutObject", "logs:PutLogEvents"], [allow]) == {
            "s3:GetObject": "allowed",
            "s3:PutObject": "implicitDeny",
            "logs:PutLogEvents": "allowed",
        }

    def test_an_explicit_deny_wins_over_every_allow(self, decide: Callable[..., dict[str, str]]) -> None:
        deny = {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        expected = {"s3:DeleteObject": "explicitDeny", "s3:GetObject": "allowed"}
        assert decide(list(expected), [deny], [allow]) == expected
        assert decide(list(expected), [allow], [deny]) == expected

    def test_resources_and_inversions_are_honoured(self, decide: Callable[..., dict[str, str]]) -> None:
        allow = {"Effect": "Allow", "NotAction": "s3:Delete*", "Resource": "arn:aws:s3:::mine/*"}
        actions = ["s3:GetObject", "s3:DeleteObject"]
        mine, yours = ["arn:aws:s3:::mine/key"], ["arn:aws:s3:::yours/key"]
        assert decide(actions, [allow], ResourceArns=mine) == {
            "s3:GetObject": "allowed",
            "s3:DeleteObject": "implicitDeny",
        }
        assert set(decide(actions, [allow], ResourceArns=yours).values()) == {"implicitDeny"}

    def test_the_default_role_may_do_what_jobs_need(self, embedded: EmbeddedAws) -> None:
        results = embedded.client("iam").simulate_principal_policy(
            PolicySourceArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
            ActionNames=[
                "s3:GetObject",
                "logs:CreateLogStream",
                "cloudwatch:PutMetricData",
                "ecr:GetAuthorizationToken",
            ],
        )["EvaluationResults"]
        assert {one["EvalDecision"] for one in results} == {"allowed"}

    def test_a_role_that_is_not_there_is_no_such_entity(self, embedded: EmbeddedAws) -> None:
        simulate = embedded.client("iam").simulate_principal_policy
        nobody = "arn:aws:iam::123456789012:role/Nobody"
        assert error_of(simulate, PolicySourceArn=nobody, ActionNames=["s3:GetObject"])[:2] == (404, "NoSuchEntity")


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainmaster.embedded.command", *options],
        env=no_aws(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def no_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [one for child in children for one in (child, *descendants(child))]


def health(environment: dict[str, str]) -> Any:
    with urllib.request.urlopen(f"{environment['AWS_ENDPOINT_URL']}/_trainmaster/health", timeout=10) as answer:
        return json.load(answer)


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
