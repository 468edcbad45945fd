"""What is only seen with the service in this process, on the real S3: its time limits reached, its switches met half-way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hosting import SCRIPT, Hosting, archive

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker import namespaces
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.serving.fleet import Fleet
from trainmaster.embedded.sagemaker.serving.invocation import Invocation
from trainmaster.embedded.sagemaker.serving.plan import planned
from trainmaster.embedded.sagemaker.serving.router import Router
from trainmaster.embedded.sagemaker.serving.service import EndpointService
from trainmaster.embedded.sagemaker.wire import AwsError


@pytest.fixture
def account(embedded: Any, tmp_path: Path) -> Iterator[Account]:
    records = Records(tmp_path / "sagemaker.db")
    environment = embedded.environment
    yield Account(
        state=tmp_path,
        records=records,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        inside_url=environment["AWS_ENDPOINT_URL"],
        s3_endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    records.close()


@pytest.fixture
def service(account: Account) -> Iterator[EndpointService]:
    service = EndpointService(account, Faults(), namespaces.detect(), model_seconds=1)
    yield service
    service.close()


def configured(account: Account, artifact: str, **variant: Any) -> str:
    """A config's name."""
    given = {"VariantName": "AllTraffic", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    account.records.create("model", "m", "m", {"PrimaryContainer": {"Image": "i", "ModelDataUrl": artifact}})
    account.records.create("endpoint-config", "c", "c", {"ProductionVariants": [{**given, **variant}]})
    return "c"


def created(account: Account, service: EndpointService, artifact: str, **variant: Any) -> dict[str, Any]:
    """An endpoint's description once it is no longer Creating."""
    name = f"endpoint-{uuid4().hex[:8]}"
    configured(account, artifact, **variant)
    service.operations["CreateEndpoint"]({"EndpointName": name, "EndpointConfigName": "c"})
    return ended(service, name)


def ended(service: EndpointService, name: str) -> dict[str, Any]:
    """Its description once no change is under way."""
    deadline = time.monotonic() + 90
    while True:
        described = service.operations["DescribeEndpoint"]({"EndpointName": name})
        if described["EndpointStatus"] not in ("Creating", "Updating", "RollingBack"):
            return described
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_serves(service: EndpointService, name: str) -> None:
    """Its first version, however long a busy machine takes: a second is all that a model has here."""
    deadline, answer = time.monotonic() + 90, b""
    while not answer and time.monotonic() < deadline:
        with suppress(AwsError):
            answer = service.invoke(name, Invocation(b"{}", "application/json")).body
    assert b'"version": "v1"' in answer


def test_an_invocation_that_takes_too_long_is_a_model_error_and_the_instance_serves_on(
    embedded: Any, account: Account, service: EndpointService
) -> None:
    artifact = Hosting(embedded).upload(archive({"code/inference.py": SCRIPT, "version": "v1"}))
    name = created(account, service, artifact)["EndpointName"]

    with pytest.raises(AwsError, match="Your invocation timed out while waiting for a response") as caught:
        service.invoke(name, Invocation(b'{"seconds": 600}', "application/json"))

    assert (caught.value.code, caught.value.status) == ("ModelError", 424)
    assert caught.value.extra["OriginalStatusCode"] == 0
    assert_serves(service, name)


def test_a_model_that_does_not_come_up_in_its_time_fails_the_endpoint_and_leaves_no_files(
    embedded: Any, account: Account, service: EndpointService
) -> None:
    script = "import time\ndef model_fn(folder): time.sleep(60)"
    artifact = Hosting(embedded).upload(archive({"inference.py": script}))

    described = created(account, service, artifact, ContainerStartupHealthCheckTimeoutInSeconds=1)

    assert described["EndpointStatus"] == "Failed"
    assert "production variant AllTraffic did not pass the ping health check" in described["FailureReason"]
    assert [path for path in (account.state / "endpoints").rglob("*") if path.is_file()] == []


def test_an_update_that_takes_longer_than_it_may_is_taken_back(
    embedded: Any, account: Account, service: EndpointService
) -> None:
    artifact = Hosting(embedded).upload(archive({"code/inference.py": SCRIPT, "version": "v1"}))
    name = created(account, service, artifact)["EndpointName"]
    account.records.create("endpoint-config", "d", "d", account.records.get("endpoint-config", "c") or {})
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 1}
    policy = {"TrafficRoutingConfiguration": routing, "MaximumExecutionTimeoutInSeconds": 1}

    service.operations["UpdateEndpoint"](
        {"EndpointName": name, "EndpointConfigName": "d", "DeploymentConfig": {"BlueGreenUpdatePolicy": policy}}
    )
    described = ended(service, name)

    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "c")
    assert described["FailureReason"] == "The deployment did not complete within 1 seconds."
    assert_serves(service, name)


def test_a_request_whose_fleet_is_replaced_before_it_takes_it_goes_to_the_new_one(
    embedded: Any, account: Account
) -> None:
    class ReplacedMeanwhile(Fleet):
        def send(self, *request: Any, **how: Any) -> Any:
            assert router.serve("endpoint", new) is self
            self.close(drain_seconds=0)
            return super().send(*request, **how)

    artifact = Hosting(embedded).upload(archive({"code/inference.py": SCRIPT, "version": "v1"}))
    plans, isolation = planned(account, configured(account, artifact)), namespaces.detect()
    router = Router(account)
    new = Fleet(account, isolation, "endpoint", plans, account.state)
    new.start()
    router.serve("endpoint", ReplacedMeanwhile(account, isolation, "endpoint", plans, account.state))

    answer = router.invoke("endpoint", Invocation(b"{}", "application/json"))

    assert b'"version": "v1"' in answer.body
    for fleet in router.close():
        fleet.close(drain_seconds=0)
