"""The stack of a public API: made once, changed only by content, brought back from whatever state a failure left it in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from embedded_aws import EmbeddedAws
from predict_apis import PATIENCE, PredictApi

from trainmaster.endpoints.api import stack as public_api
from trainmaster.endpoints.api.plan import DescribedApi, plan_api
from trainmaster.endpoints.plan import ENDPOINT_TAG
from trainmaster.errors import DeploymentFailedError, NameConflictError


@pytest.fixture
def api(embedded: Any) -> Iterator[PredictApi]:
    """Without an endpoint: these ask for nothing but what the API says of itself."""
    api = PredictApi(embedded)
    yield api
    api.embedded.control("DELETE", "faults")
    api.remove()


def standing(api: PredictApi) -> dict[str, list[str]]:
    """What an API's name stands for in AWS."""
    groups = api.logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{api.name}")["logGroups"]
    functions = api.embedded.client("lambda").list_functions()["Functions"]
    roles = api.embedded.client("iam").list_roles()["Roles"]
    named = {
        "apis": [each["name"] for each in api.gateway.get_rest_apis()["items"]],
        "keys": [each["name"] for each in api.gateway.get_api_keys()["items"]],
        "plans": [each["name"] for each in api.gateway.get_usage_plans()["items"]],
        "functions": [each["FunctionName"] for each in functions],
        "groups": [each["logGroupName"] for each in groups],
        "roles": [each["RoleName"] for each in roles],
        "code": api.hosting.s3.list_objects_v2(Bucket=api.hosting.bucket, Prefix=f"predict-api/{api.endpoint}/").get(
            "Contents", []
        ),
    }
    return {kind: [name for name in names if api.endpoint in str(name)] for kind, names in named.items()}


def test_everything_is_made_once_and_goes_with_the_stack(api: PredictApi) -> None:
    assert api.publish() == ["upload-code", "create-stack"]
    assert {kind: len(names) for kind, names in standing(api).items()} == dict.fromkeys(standing(api), 1)
    assert api.publish() == []
    api.withdraw()
    assert {name for names in standing(api).values() for name in map(str, names)} == set()
    assert public_api.find_stack(api.cloudformation, api.name) is None


def test_no_process_of_a_withdrawn_api_is_left(api: PredictApi) -> None:
    def processes() -> list[int]:
        living = psutil.Process(api.embedded.pid).children(recursive=True)
        return [one.pid for one in living if f"/functions/{api.name}/" in " ".join(_command(one))]

    api.publish()
    api.ask({"sqft": 1})
    assert processes()
    api.withdraw()
    assert processes() == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it ended while we looked
        return []


def test_a_change_of_choices_reaches_the_stage_and_keeps_address_and_key(api: PredictApi) -> None:
    api.publish()
    before = api.outputs
    assert api.ask({"sqft": 1}).headers["access-control-allow-origin"] == "*"
    assert api.publish(api.desired(allowed_origin="https://houses.example", log_days=7)) == ["update-stack"]
    assert api.outputs == before
    for answer in (
        api.ask({"sqft": 1}),
        api.ask(None, method="OPTIONS"),
        api.ask({}, x_api_key="guessed"),
        api.ask({}, path="s"),
    ):
        assert answer.headers["access-control-allow-origin"] == "https://houses.example"
    [group] = api.logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{api.name}")["logGroups"]
    assert group["retentionInDays"] == 7


def test_what_was_published_before_can_be_published_again(api: PredictApi) -> None:
    """AWS refuses a token it has seen (TokenAlreadyExistsException), which the embedded AWS does not."""
    tokens: list[str] = []
    api.cloudformation.meta.events.register(
        "provide-client-params.cloudformation.*",
        lambda params, **_: tokens.extend([params["ClientRequestToken"]] if "ClientRequestToken" in params else []),
    )
    for days in (3, 7, 3):
        assert api.publish(api.desired(log_days=days))[-1] in {"create-stack", "update-stack"}
    assert len(tokens) == len(set(tokens))


def test_other_ranges_are_other_code_and_are_checked_from_the_next_request_on(api: PredictApi) -> None:
    api.publish()
    assert api.ask({"sqft": 50}).status == 400
    assert api.publish(api.desired({"sqft": (10.0, 20.0), "rooms": (1.0, 9.0)})) == ["upload-code", "update-stack"]
    assert [field["field"] for field in api.ask({"sqft": 50}).json["fields"]] == ["sqft", "rooms"]


def test_a_stage_serves_what_its_deployment_recorded(api: PredictApi) -> None:
    """As AWS does: what is changed of an API by hand is not served until it is deployed."""
    api.publish()
    outputs = api.outputs
    api.gateway.put_gateway_response(restApiId=outputs["ApiId"], responseType="INVALID_API_KEY", statusCode="401")
    assert api.ask({}, x_api_key="guessed").status == 403


def test_a_stack_that_could_not_be_made_says_why_and_is_made_anew(api: PredictApi) -> None:
    wanted = api.desired()
    lost = replace(wanted, parameters={**wanted.parameters, "CodeKey": "not/there.zip"})
    with pytest.raises(DeploymentFailedError, match=r"ROLLBACK_COMPLETE; nothing is published.*NoSuchKey"):
        api.publish(lost)
    left = {kind: names for kind, names in standing(api).items() if kind != "code"}
    assert not any(left.values())
    assert api.publish() == ["delete-stack", "create-stack"]
    assert api.ask({"sqft": 1}).status == 400


def test_an_update_that_fails_leaves_what_was_published(api: PredictApi) -> None:
    api.publish()
    wanted = api.desired(allowed_origin="https://other.example")
    lost = replace(wanted, parameters={**wanted.parameters, "CodeKey": "not/there.zip"})
    with pytest.raises(DeploymentFailedError, match=r"UPDATE_ROLLBACK_COMPLETE; what was published before.*NoSuchKey"):
        api.publish(lost)
    assert api.ask({"sqft": 1}).headers["access-control-allow-origin"] == "*"
    assert api.publish(wanted) == ["update-stack"]
    assert api.ask({"sqft": 1}).headers["access-control-allow-origin"] == "https://other.example"


def test_somebody_elses_stack_is_neither_changed_nor_removed(api: PredictApi) -> None:
    template = json.dumps({"Resources": {"Group": {"Type": "AWS::Logs::LogGroup"}}})
    api.cloudformation.create_stack(StackName=api.name, TemplateBody=template)
    with pytest.raises(NameConflictError, match="was not made by Trainmaster"):
        api.publish()
    with pytest.raises(NameConflictError, match="was not made by Trainmaster"):
        api.withdraw()
    api.cloudformation.delete_stack(StackName=api.name)


@pytest.mark.parametrize("operation", ["CreateStack", "UpdateStack"])
def test_a_change_whose_answer_was_lost_counts_as_made(api: PredictApi, operation: str) -> None:
    wanted = api.desired()
    if operation == "UpdateStack":
        api.publish()
        wanted = api.desired(log_days=3)
    api.embedded.control("POST", "faults", {"operation": operation, "lost": True, "count": 1})
    with pytest.raises(Exception, match="Connection was closed"):
        api.publish(wanted)
    assert api.publish(wanted) == []
    assert api.ask({"sqft": 1}).status == 400


@pytest.mark.parametrize("operation", ["CreateStack", "UpdateStack"])
def test_a_change_that_another_run_has_made_meanwhile_counts_as_made(api: PredictApi, operation: str) -> None:
    if operation == "UpdateStack":
        api.publish(api.desired(log_days=3))
    wanted, name = api.desired(), api.name
    stack = public_api.find_stack(api.cloudformation, name)
    steps = plan_api(wanted, public_api.describe_api(stack, wanted, api.s3))
    api.publish(wanted)
    public_api.apply_api(api.cloudformation, api.s3, wanted, steps, PATIENCE)
    public_api.require_published(api.cloudformation, public_api.find_stack(api.cloudformation, name), wanted)


def test_a_change_that_another_run_has_made_otherwise_is_an_error(api: PredictApi) -> None:
    wanted = api.desired()
    steps = plan_api(wanted, DescribedApi())
    api.publish(api.desired(log_days=3))
    with pytest.raises(ClientError, match="AlreadyExists"):
        public_api.apply_api(api.cloudformation, api.s3, wanted, steps, PATIENCE)


def test_rates_and_quotas_are_held_by_key(api: PredictApi) -> None:
    api.publish(api.desired(requests_per_second=1, burst=3, requests_per_day=100))
    told = [api.ask({"sqft": 1}) for _ in range(8)]
    assert [answer.status for answer in told[:3]] == [400, 400, 400]
    assert told[-1].status == 429
    assert told[-1].json["error"] == "Too Many Requests"
    assert told[-1].headers["access-control-allow-origin"] == "*"
    api.publish(api.desired(requests_per_second=1000, burst=1000, requests_per_day=4))
    told = [api.ask({"sqft": 1}) for _ in range(6)]
    assert (told[-1].status, told[-1].json["error"]) == (429, "Limit Exceeded")


def test_address_and_key_survive_a_restart_of_the_embedded_aws(start_embedded: Callable[..., EmbeddedAws]) -> None:
    first = start_embedded()
    api = PredictApi(first)
    api.publish()
    api.publish(api.desired(log_days=3))
    key, url = api.key, api.url
    first.stop()
    second = PredictApi(start_embedded())
    second.endpoint, second.name = api.endpoint, api.name
    assert (second.key, second.url) == (key, url)
    assert second.ask({"sqft": 1}).status == 400
    assert second.publish(second.desired(log_days=3)) == []
    tags = public_api.find_stack(second.cloudformation, api.name)
    assert tags
    assert {"Key": ENDPOINT_TAG, "Value": api.endpoint} in tags["Tags"]
