"""Whatever a client asks of the one address is answered as AWS answers: refusals, failures and commanded faults too."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import botocore
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError
from embedded_aws import EmbeddedAws
from waiting import ENDS_WITHIN, IMAGE, until
from werkzeug.test import Client as WsgiClient

from trainmaster.embedded.autoscaling import Autoscaling
from trainmaster.embedded.builds import Builds
from trainmaster.embedded.cloudwatch import Alarms
from trainmaster.embedded.control import Control
from trainmaster.embedded.faults import Faults
from trainmaster.embedded.front import INVOCATIONS, Front
from trainmaster.embedded.host import THREADS
from trainmaster.embedded.instances import Instances
from trainmaster.embedded.journal import Journal
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.permissions.role_sessions import RoleSessions
from trainmaster.embedded.public_api.service import PublicApis
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.serving.invocation import InvocationAnswer
from trainmaster.embedded.sagemaker.serving.metrics import InvocationMetrics
from trainmaster.embedded.service_quotas import Quotas, ServiceQuotasApi
from trainmaster.embedded.signatures import Signatures
from trainmaster.embedded.tally import Tally


def error_of(call: Callable[..., Any], **request: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        call(**request)
    response: Any = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


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
        assert urllib.request.urlopen(s3.generate_presigned_url("get_object", place), timeout=90).read() == b"x"
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
            ("sagemaker", "list_hubs", {}),
            ("sagemaker-runtime", "invoke_endpoint_async", {"EndpointName": "x", "InputLocation": "s3://x/y"}),
            ("sagemaker-runtime", "invoke_endpoint_with_response_stream", {"EndpointName": "x", "Body": b""}),
            ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "x", "Body": b"", "TargetModel": "a.tar.gz"}),
            ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "x", "Body": b"", "SessionId": "NEW_SESSION"}),
            (
                "sagemaker-runtime",
                "invoke_endpoint",
                {"EndpointName": "x", "Body": b"", "EnableExplanations": "`true`"},
            ),
            ("logs", "list_anomalies", {}),
            ("iam", "simulate_custom_policy", {"PolicyInputList": ["x"], "ActionNames": ["s3:GetObject"]}),
            (
                "cloudwatch",
                "get_insight_rule_report",
                {"RuleName": "x", "StartTime": 1, "EndTime": 2, "Period": 60},
            ),
            ("lambda", "get_function_recursion_config", {"FunctionName": "x"}),
            ("route53", "list_cidr_collections", {}),
            ("pricing", "list_price_lists", {"ServiceCode": "AmazonEC2", "EffectiveDate": 0, "CurrencyCode": "USD"}),
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
        requests = THREADS + 20
        sagemaker = embedded.client("sagemaker", max_pool_connections=requests)
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
        with ThreadPoolExecutor(requests) as pool:
            assert len(set(pool.map(create, range(requests)))) == requests

    def test_an_invocation_larger_than_aws_takes_is_refused(self, embedded: EmbeddedAws) -> None:
        status, code, message = error_of(
            embedded.client("sagemaker-runtime").invoke_endpoint, EndpointName="x", Body=bytes(6 * 2**20 + 1)
        )
        assert (status, code) == (400, "ValidationError")
        assert "Member must have length less than or equal to 6291456" in message

    def test_a_failure_of_our_own_is_an_internal_failure_and_its_traceback_is_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object) -> Any:
            raise ZeroDivisionError

        with front_of(tmp_path, broken, {"ListModels": broken}) as client:
            for path, target in (("/", "SageMaker.ListModels"), ("/endpoints/x/invocations", None)):
                answer = client(path, {"X-Amz-Target": target} if target else {})
                assert (answer.status_code, answer.get_json(force=True)["__type"]) == (500, "InternalFailure")
        assert caplog.text.count("ZeroDivisionError") >= 2

    def test_describe_is_answered_while_as_many_invocations_as_may_be_are_slow(self, tmp_path: Path) -> None:
        def slow(*_: object) -> InvocationAnswer:
            entered.release()
            finish.wait(ENDS_WITHIN)
            return InvocationAnswer(b"", "text/plain", "v")

        entered, finish = threading.Semaphore(0), threading.Event()
        with (
            front_of(tmp_path, slow, {"ListModels": lambda _: {"Models": []}}) as client,
            ThreadPoolExecutor(INVOCATIONS) as pool,
        ):
            under_way = [pool.submit(client, "/endpoints/x/invocations") for _ in range(INVOCATIONS)]
            assert all(entered.acquire(timeout=ENDS_WITHIN) for _ in under_way)
            refused = client("/endpoints/x/invocations")
            assert client("/", {"X-Amz-Target": "SageMaker.ListModels"}).status_code == 200
            finish.set()
            assert {each.result().status_code for each in under_way} == {200}
            assert client("/endpoints/x/invocations").status_code == 200
        assert (refused.status_code, refused.get_json(force=True)["__type"]) == (503, "ServiceUnavailable")

    def test_what_is_no_search_of_logs_is_refused(self, tmp_path: Path) -> None:
        with front_of(tmp_path, lambda *_: None, {}) as client:
            for body in (b"", b"<search/>", b"[]"):
                answer = client("/", {"X-Amz-Target": "Logs_20140328.FilterLogEvents"}, body=body, service="logs")
                assert (answer.status_code, answer.get_json(force=True)["__type"]) == (400, "SerializationException")

    def test_until_all_is_recovered_calls_wait_and_health_says_so(self, tmp_path: Path) -> None:
        models = {"ListModels": lambda _: {"Models": []}}
        begun = threading.Event()
        with front_of(tmp_path, lambda *_: None, models, recovered=begun) as client, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client, "/", {"X-Amz-Target": "SageMaker.ListModels"})
            interrupted = client("/_trainmaster/interrupt", {"Content-Type": "application/json"})
            assert (interrupted.status_code, interrupted.get_json()["code"]) == (503, "ServiceUnavailable")
            assert not waiting.done()
            begun.set()
            assert waiting.result().status_code == 200


class TestWhoAsks:
    """Whoever may call can run code: an address on this machine alone gives nobody that right."""

    @pytest.mark.parametrize(
        ("key", "secret", "code"),
        [
            ("AKIAANYBODY", None, "UnrecognizedClientException"),
            (None, "guessed", "InvalidSignatureException"),
        ],
    )
    def test_a_key_nobody_issued_and_a_wrong_secret_are_refused(
        self, embedded: EmbeddedAws, key: str | None, secret: str | None, code: str
    ) -> None:
        for service, call in (("sagemaker", "list_models"), ("sagemaker-runtime", "invoke_endpoint")):
            client = client_of(embedded, service, key, secret)
            request = {"EndpointName": "x", "Body": b""} if call == "invoke_endpoint" else {}
            assert error_of(getattr(client, call), **request)[:2] == (403, code)

    @pytest.mark.parametrize(("secret", "code"), [("guessed", "SignatureDoesNotMatch"), (None, "InvalidClientTokenId")])
    def test_query_services_refuse_in_their_own_words(
        self, embedded: EmbeddedAws, secret: str | None, code: str
    ) -> None:
        client = client_of(embedded, "iam", None if secret else "AKIAANYBODY", secret)
        assert error_of(client.list_roles)[:2] == (403, code)

    def test_keys_that_iam_and_sts_issued_here_are_taken(self, embedded: EmbeddedAws) -> None:
        iam, user = embedded.client("iam"), f"user-{uuid4().hex[:8]}"
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        role = embedded.client("sts").assume_role(
            RoleArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"], RoleSessionName="session"
        )["Credentials"]
        for one in (key, role):
            client = client_of(
                embedded, "sagemaker", one["AccessKeyId"], one["SecretAccessKey"], one.get("SessionToken")
            )
            client.list_models()

    def test_a_signature_is_good_for_its_own_body_and_minutes_only(self, tmp_path: Path) -> None:
        with front_of(tmp_path, lambda *_: None, {"ListModels": lambda _: {"Models": []}}) as client:
            target = {"X-Amz-Target": "SageMaker.ListModels"}
            assert client("/", target).status_code == 200
            assert (
                client("/", target, sent=b'{"MaxResults": 1}').get_json(force=True)["__type"]
                == "InvalidSignatureException"
            )
            for minutes in (-6, 6):
                answer = client("/", target, minutes=minutes)
                assert answer.get_json(force=True)["__type"] == "InvalidSignatureException"

    def test_a_name_that_was_made_to_point_here_is_refused(self, embedded: EmbeddedAws) -> None:
        address = embedded.environment["AWS_ENDPOINT_URL"]
        port = address.rpartition(":")[2]
        for host in (f"evil.example:{port}", "127.0.0.1", "localhost:1"):
            assert status_of(f"{address}/_trainmaster/health", Host=host) == 403
        assert status_of(f"{address}/_trainmaster/health", Host=f"localhost:{port}") == 200

    def test_a_web_page_cannot_command(self, embedded: EmbeddedAws) -> None:
        address, rule = (
            f"{embedded.environment['AWS_ENDPOINT_URL']}/_trainmaster/faults",
            b'{"operation": "X", "error": "E"}',
        )
        assert status_of(address, rule) == 403  # urllib sends it as a form
        assert status_of(address, rule, **{"Content-Type": "text/plain"}) == 403
        assert status_of(address, rule, **{"Content-Type": "application/json", "Origin": "https://evil.example"}) == 403
        assert status_of(address, Origin="null") == 403
        assert embedded.control("GET", "faults") == {"faults": []}


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

    def test_an_answer_can_be_lost_of_a_call_that_was_carried_out(self, embedded: EmbeddedAws) -> None:
        s3, name = embedded.client("s3"), f"unheard-{uuid4().hex[:8]}"
        s3.put_object(Bucket=embedded.environment["TRAINMASTER_BUCKET"], Key=name, Body=b"x")
        model = {
            "ModelName": name,
            "ExecutionRoleArn": embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
            "PrimaryContainer": {
                "Image": IMAGE,
                "ModelDataUrl": f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/{name}",
            },
        }
        embedded.control("POST", "faults", {"operation": "CreateModel", "lost": True, "count": 1})
        sagemaker = embedded.client("sagemaker")
        with pytest.raises(ConnectionClosedError):
            sagemaker.create_model(**model)
        assert sagemaker.describe_model(ModelName=name)["ModelName"] == name

    def test_calls_and_what_was_commanded_to_go_wrong_are_counted(self, embedded: EmbeddedAws) -> None:
        def counted() -> tuple[int, int]:
            tally = embedded.control("GET", "tally")
            return tally["calls"].get("ListModels", 0), tally["faults"].get("ThrottlingException", 0)

        calls, faults = counted()
        embedded.control("POST", "faults", {"operation": "ListModels", "error": "ThrottlingException", "count": 1})
        error_of(embedded.client("sagemaker").list_models)
        embedded.client("sagemaker").list_models()
        assert counted() == (calls + 2, faults + 1)

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


def status_of(address: str, body: bytes | None = None, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=90) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def client_of(
    aws: EmbeddedAws, service: str, key: str | None = None, secret: str | None = None, token: str | None = None
) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=aws.environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=key or aws.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or aws.environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=token,
    )


@contextmanager
def front_of(
    folder: Path, invoke: Any, operations: dict[str, Any], *, recovered: threading.Event | None = None
) -> Iterator[Callable[..., Any]]:
    """Posts to a front without a server, signed `minutes` from now; `sent` is sent in place of the signed body."""
    address, faults, begun = "http://127.0.0.1:8080", Faults(), recovered or threading.Event()
    if recovered is None:
        begun.set()
    records = Records(folder / "records.db")
    account = Account(folder, records, address, address, "key", "secret")
    tally, quotas = Tally(), Quotas(folder)
    front = Front(
        account=account,
        sagemaker=SageMakerApi(operations),
        invoke=invoke,
        alarms=Alarms(account, InvocationMetrics()),
        autoscaling=Autoscaling(account, InvocationMetrics(), invoke, invoke),
        builds=Builds(account),
        instances=Instances(account),
        others=OtherServices(),
        journal=Journal(folder / "roles.jsonl"),
        faults=faults,
        quotas=ServiceQuotasApi(quotas, account.region, account.account_id),
        control=Control(folder, faults, tally, quotas, invoke, invoke, "", begun, list),
        tally=tally,
        signatures=Signatures(account),
        role_sessions=RoleSessions(account),
        public_apis=PublicApis(account, OtherServices()),
        entrance=invoke,
        recovered=begun,
    )

    def post(
        path: str,
        headers: dict[str, str] | None = None,
        *,
        body: bytes = b"{}",
        sent: bytes | None = None,
        minutes: int = 0,
        service: str = "sagemaker",
    ) -> Any:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 60 * minutes))
        request = AWSRequest("POST", address + path, headers={"X-Amz-Date": moment, **(headers or {})}, data=body)
        request.context["timestamp"] = moment
        signer = SigV4Auth(Credentials("key", "secret"), service, "us-east-1")
        signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        signed = signer.signed_headers(signer.headers_to_sign(request))
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={signed}, Signature={signature}"
        )
        sent = body if sent is None else sent
        return WsgiClient(front).post(path, base_url=address, headers=dict(request.headers), data=sent)

    yield post
    records.close()
