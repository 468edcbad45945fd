"""`trainmaster endpoints`, as a user types it, on the embedded AWS, without a Prefect server."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws
from house_models import put_house_model
from train_shell import PATIENCE, Said

from trainmaster import cli

WITHIN = 90.0
HOUSE = '{"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1990}'


@pytest.fixture(scope="module")
def first_model(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put_house_model(embedded, tmp_path_factory.mktemp("first"), "v1")


@pytest.fixture(scope="module")
def second_model(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put_house_model(embedded, tmp_path_factory.mktemp("second"), "v2")


@pytest.fixture
def endpoints(
    client_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """In this process, since loading everything takes seconds; the books are the test's own."""
    for name, value in {**client_environment, "TRAINMASTER_STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Said:
        try:
            code = cli.main(["endpoints", *arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def name(endpoints: Callable[..., Said]) -> Iterator[str]:
    """Of an endpoint that is gone after the test."""
    name = f"typed-{uuid4().hex[:8]}"
    yield name
    assert endpoints("teardown", name, "--yes").code == 0


def test_a_model_is_planned_deployed_shown_asked_and_removed(
    endpoints: Callable[..., Said], first_model: str, name: str
) -> None:
    wanted = ["--endpoint-name", name, "--model-uri", first_model]
    planned = endpoints("plan", *wanted, "--json")
    assert planned.code == 0, planned
    assert [step.split()[0] for step in planned.json["steps"]].count("create") == 3, planned.json
    assert (planned.json["hourly_cost_now"], planned.json["hourly_cost"]) == ("0", "0.115")
    assert name not in endpoints("list").out

    deployed = endpoints("deploy", *wanted)
    assert (deployed.code, f"Endpoint {name} serves" in deployed.out) == (0, True), deployed
    again = endpoints("deploy", *wanted, "--json")
    assert again.json["steps"] == []
    assert "nothing to do" in endpoints("plan", *wanted).out

    listed = endpoints("list", "--json").json["endpoints"]
    [one] = [one for one in listed if one["name"] == name]
    assert (one["status"], one["hourly"]) == ("InService", "0.115")
    assert name in endpoints("list").out
    shown = endpoints("show", name)
    assert (shown.code, first_model in shown.out, "$0.12" in shown.out or "$0.115" in shown.out) == (0, True, True)

    answered = endpoints("invoke", name, "--data", HOUSE, "--json").json["answer"]
    assert (answered["model_version"], answered["predicted_price"] > 0) == ("v1", True)
    assert "predicted_price" in endpoints("invoke", name, "--example").out
    refused = endpoints("invoke", name, "--data", '{"bedrooms": 99}')
    assert (refused.code, refused.out, "refused it: bedrooms is 99; accepted is" in refused.err) == (1, "", True), (
        refused
    )
    assert "{" not in refused.err.partition("refused it:")[2]

    asked = endpoints("remove", name)
    assert (asked.code, f"Do it: trainmaster endpoints remove {name} --yes" in asked.err) == (0, True), asked
    assert endpoints("show", name).code == 0
    assert endpoints("remove", name, "--yes", "--json").json["removed"] is True
    gone = endpoints("show", name)
    assert (gone.code, f"There is no endpoint {name}" in gone.err) == (1, True), gone
    assert f"There is nothing of an endpoint {name}" in endpoints("remove", name, "--yes").err


def test_what_an_endpoint_is_asked_is_captured_and_its_drift_told_and_drawn(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, first_model: str, name: str, tmp_path: Path
) -> None:
    assert (
        endpoints("deploy", "--endpoint-name", name, "--model-uri", first_model, "--capture-percent", "100").code == 0
    )
    captured = endpoints("show", name, "--json").json["capture_uri"]
    assert captured == f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/captured"
    few = endpoints("drift", name, "--json")
    assert (few.code, few.json["endpoints"][0]["verdict"]) == (0, "too few"), few

    palace = '{"bedrooms": 3, "bathrooms": 2, "sqft": 19000, "year_built": 1990}'
    runtime = embedded.client("sagemaker-runtime")
    for _ in range(120):
        runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=palace)
    picture = tmp_path / "drift.png"
    deadline = time.monotonic() + WITHIN
    while (drift := endpoints("drift", name, "--picture", str(picture))).code == 0:  # AWS too writes it a while later
        assert time.monotonic() < deadline, drift
    assert (drift.code, "have drifted: bedrooms" in drift.out, "sqft (PSI" in drift.out) == (1, True, True), drift
    assert picture.read_bytes().startswith(b"\x89PNG")

    model = endpoints("show", name, "--json").json["variants"][0]["model"]
    embedded.client("sagemaker").delete_model(ModelName=model)  # by somebody in the AWS console
    for asked in (["drift", name], ["invoke", name, "--example"]):
        refused = endpoints(*asked)
        assert (refused.code, "was deleted" in refused.err) == (1, True), refused


def test_what_is_paid_by_use_is_said_to_be(endpoints: Callable[..., Said], first_model: str, name: str) -> None:
    deployed = endpoints(
        "deploy", "--endpoint-name", name, "--model-uri", first_model, "--serverless", "--max-hourly-cost", "2"
    )
    assert deployed.code == 0, deployed
    [line] = [line for line in endpoints("list").out.splitlines() if name in line]
    assert "by use" in line
    assert "serverless, 2,048 MB, 5 at once" in line
    shown = endpoints("show", name)
    assert "cost        by use" in shown.out, shown


def test_ctrl_c_leaves_a_deployment_to_aws_says_so_and_the_same_command_proves_it(
    endpoints: Callable[..., Said], client_environment: dict[str, str], first_model: str, name: str, tmp_path: Path
) -> None:
    wanted = ["deploy", "--endpoint-name", name, "--model-uri", first_model]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainmaster.cli", "endpoints", *wanted],
        env={**client_environment, "TRAINMASTER_STATE_DIR": str(tmp_path / "state")},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    seen = next(line for line in process.stderr if "is Creating" in line)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, ""), seen + err
    assert f"AWS goes on with endpoint {name}" in err
    assert "Traceback" not in err

    again = endpoints(*wanted, "--json")
    assert (again.code, "smoke_test" in again.json) == (0, True), again
    assert not any("create" in step for step in again.json["steps"]), again
    assert endpoints("show", name, "--json").json["version"]["proof"] == "proven"


def test_a_model_that_answers_nonsense_leaves_what_served_before_and_exits_with_1(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, first_model: str, name: str, tmp_path: Path
) -> None:
    lying = put_house_model(embedded, tmp_path, "v3", instead={"predict(": "predict(2 * "})
    assert endpoints("deploy", "--endpoint-name", name, "--model-uri", first_model).code == 0
    failed = endpoints("deploy", "--endpoint-name", name, "--model-uri", lying)
    assert (failed.code, failed.out) == (1, ""), failed
    assert f"Endpoint {name} is" in failed.err
    assert "Traceback" not in failed.err
    assert endpoints("invoke", name, "--data", HOUSE, "--json").json["answer"]["model_version"] == "v1"
    again = endpoints("plan", "--endpoint-name", name, "--model-uri", lying, "--json")
    assert (again.code, "has tried" in again.json["message"], "force" in again.json["message"]) == (1, True, True), (
        again
    )
    assert endpoints("plan", "--endpoint-name", name, "--model-uri", lying, "--force").code == 0


def test_how_each_version_did_is_told_and_a_teardown_says_what_it_kept(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, first_model: str, name: str
) -> None:
    assert (
        endpoints("deploy", "--endpoint-name", name, "--model-uri", first_model, "--capture-percent", "100").code == 0
    )
    config = endpoints("show", name, "--json").json["config"]
    assert endpoints("invoke", name, "--data", HOUSE).code == 0
    [version] = endpoints("metrics", name, "--json").json["versions"]
    assert (version["config"], Decimal(version["cost"]) > 0) == (config, True)
    assert [one["variant"] for one in version["variants"]] == ["all-traffic"]
    shown = endpoints("metrics", name)
    assert ("PER 1,000" in shown.out, config in shown.out) == (True, True), shown
    assert endpoints("metrics", name, "--hours", "0").code == 2

    looked = endpoints("teardown", name)
    assert (looked.code, f"teardown {name} --yes" in looked.err, first_model in looked.out) == (0, True, True), looked
    [torn] = endpoints("teardown", name, "--yes", "--json").json["endpoints"]
    assert (torn["removed"], torn["found"]["endpoint"], torn["failure"]) == (True, name, "")
    assert f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/captured/{name}/" in torn["kept"]
    assert endpoints("show", name).code == 1
    assert "Removed nothing" in endpoints("teardown", name, "--yes").out
    missing = endpoints("remove", name, "--yes")
    assert (missing.code, f"There is nothing of an endpoint {name}" in missing.err) == (1, True), missing


def test_a_version_is_listed_approved_and_rejected_on_somebodys_word(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, first_model: str
) -> None:
    sagemaker, group = embedded.client("sagemaker"), f"typed-{uuid4().hex[:8]}"
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    serving = {
        "Containers": [{"Image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/any:1", "ModelDataUrl": first_model}],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    sagemaker.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=serving, ModelApprovalStatus="PendingManualApproval"
    )
    assert "PendingManualApproval" in endpoints("approve", group).out
    approved = endpoints("approve", group, "1", "--why", "it fits")
    assert (approved.code, f"Version 1 of {group} is approved (" in approved.out) == (0, True), approved
    [listed] = endpoints("approve", group, "--json").json["versions"]
    assert (listed["status"], listed["model_uri"], listed["why"].endswith(": it fits")) == (
        "Approved",
        first_model,
        True,
    )
    assert endpoints("approve", group, "1", "--reject").code == 2  # nobody would know why
    assert endpoints("approve", group, "1", "--reject", "--why", "no", "--json").json["status"] == "Rejected"

    missing = endpoints("approve", group, "2", "--json")
    assert (missing.code, missing.json["error"]) == (1, "UnknownChoiceError"), missing
    assert endpoints("approve", f"{group}-not").code == 1
    assert endpoints("approve", group, "--why", "it fits").code == 2
    assert endpoints("approve", group, "first").code == 2


WRONG = {
    "nothing to serve": (["deploy"], 2, "Give either model_uri or model_group."),
    "a model that is not there": (["plan", "--model-uri", "s3://{bucket}/no/model.tar.gz"], 1, "does not exist"),
    "an hour that costs too much": (
        ["deploy", "--model-uri", "s3://{bucket}/no/model.tar.gz", "--instance-type", "ml.g5.xlarge"],
        1,
        "max_hourly_cost is $0.50",
    ),
    "a type nobody knows": (
        ["plan", "--model-uri", "s3://{bucket}/no/model.tar.gz", "--instance-type", "ml.nope"],
        1,
        "No hosting price is known for 'ml.nope'",
    ),
    "an endpoint that is not there": (["show", "nowhere"], 1, "There is no endpoint nowhere"),
    "what is no JSON": (["invoke", "nowhere", "--data", "{"], 2, "--data is no JSON"),
    "what is no object": (["invoke", "nowhere", "--data", "3"], 2, "--data is no JSON object"),
    "a file that is not there": (["invoke", "nowhere", "--file", "/no/such"], 2, "No such file"),
    "drift of nothing": (["drift", "nowhere"], 1, "There is no endpoint nowhere"),
    "a picture of all": (["drift", "--picture", "all.png"], 2, "--picture is of one ENDPOINT"),
}


@pytest.mark.parametrize(("typed", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_sentence_and_by_the_exit_code(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, typed: list[str], code: int, said: str
) -> None:
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    refused = endpoints(*(part.format(bucket=bucket) if "{bucket}" in part else part for part in typed))
    assert (refused.code, refused.out) == (code, ""), refused
    assert said in refused.err
    assert "Traceback" not in refused.err


def test_going_back_bringing_back_and_what_is_kept(
    endpoints: Callable[..., Said], embedded: EmbeddedAws, first_model: str, second_model: str, name: str
) -> None:
    first = endpoints("deploy", "--endpoint-name", name, "--model-uri", first_model, "--json").json["config_name"]
    alone = endpoints("rollback", name)
    assert (alone.code, "no proven version before it" in alone.err) == (1, True), alone
    second = endpoints("deploy", "--endpoint-name", name, "--model-uri", second_model, "--json").json["config_name"]
    shown = endpoints("show", name)
    assert (f"trainmaster endpoints rollback {name}" in shown.out, first in shown.out) == (True, True), shown

    looked = endpoints("rollback", name, "--dry-run", "--json")
    assert (looked.code, looked.json["config_name"]) == (0, first), looked
    assert endpoints("show", name, "--json").json["config"] == second
    back = endpoints("rollback", name)
    assert (back.code, endpoints("invoke", name, "--data", HOUSE, "--json").json["answer"]["model_version"]) == (
        0,
        "v1",
    )
    forward = endpoints("rollback", name, "--to", second, "--json")
    assert (forward.code, forward.json["config_name"]) == (0, second), forward

    sagemaker = embedded.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=name)  # as `stop-idle` does
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    missing = endpoints("rollback", name)
    assert (missing.code, f"There is no endpoint {name}" in missing.err) == (1, True), missing
    started = endpoints("start", name, "--json")
    assert (started.code, started.json["config_name"]) == (0, second), started
    again = endpoints("start", name)
    assert (again.code, "Nothing was done." in again.out) == (0, True), again
