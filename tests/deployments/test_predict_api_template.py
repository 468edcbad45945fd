"""The template of the public API: what it allows, limits and keeps, told by walking it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deployments" / "predict_api"


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms as {"Ref": …} and {"Fn::Sub": …}."""


def _short_form(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short_form)
TEXT = (FOLDER / "template.yaml").read_text()
TEMPLATE: dict[str, Any] = yaml.load(TEXT, Loader)  # noqa: S506 - a SafeLoader
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
PSEUDO = {"AWS::Partition", "AWS::Region", "AWS::AccountId", "AWS::NoValue", "AWS::StackName"}


def of_type(kind: str) -> list[dict[str, Any]]:
    return [each["Properties"] for each in RESOURCES.values() if each["Type"] == f"AWS::{kind}"]


def named(content: Any) -> Iterator[str]:
    """Every name the content refers to."""
    if isinstance(content, list):
        for each in content:
            yield from named(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key == "Ref":
                yield value
            elif key == "Fn::GetAtt":
                yield value.split(".")[0]
            elif key == "Fn::Sub":
                yield from (part.split("}")[0].split(".")[0] for part in value.split("${")[1:])
            elif key == "Fn::If":
                yield from named(value[1:])
            elif key == "DependsOn":
                yield from [value] if isinstance(value, str) else value
            else:
                yield from named(value)


def test_every_name_it_refers_to_is_there_and_none_is_idle() -> None:
    used = set(named([RESOURCES, TEMPLATE["Outputs"], TEMPLATE["Conditions"]]))
    assert used - PSEUDO <= RESOURCES.keys() | TEMPLATE["Parameters"].keys()
    assert TEMPLATE["Parameters"].keys() <= used


def test_no_alias_of_yaml_is_used_for_cloudformation_takes_none() -> None:
    assert not [token for token in yaml.scan(TEXT) if isinstance(token, yaml.AliasToken | yaml.AnchorToken)]


def test_the_function_may_ask_one_endpoint_and_write_its_own_log_and_no_more() -> None:
    [role] = of_type("IAM::Role")
    statements = [one for policy in role["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    assert "ManagedPolicyArns" not in role
    assert [(one["Action"], one["Resource"]) for one in statements] == [
        ("sagemaker:InvokeEndpoint", {"Ref": "EndpointArn"}),
        (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            {
                "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/${FunctionName}:*"
            },
        ),
    ]
    assert [one["Principal"] for one in role["AssumeRolePolicyDocument"]["Statement"]] == [
        {"Service": "lambda.amazonaws.com"}
    ]


def test_a_price_wants_a_key_and_a_preflight_none() -> None:
    keys = {method["HttpMethod"]: method["ApiKeyRequired"] for method in of_type("ApiGateway::Method")}
    assert keys == {"POST": True, "OPTIONS": False}
    [key] = of_type("ApiGateway::ApiKey")
    assert "Value" not in key, "a key written here would be in CloudFormation's history"
    assert "Key.Value" not in TEXT


def test_rate_burst_and_quota_are_limited_for_the_key_and_for_the_stage() -> None:
    [plan], [stage] = of_type("ApiGateway::UsagePlan"), of_type("ApiGateway::Stage")
    assert plan["Throttle"].keys() == {"RateLimit", "BurstLimit"}
    assert plan["Quota"] == {"Limit": {"Ref": "RequestsPerDay"}, "Period": "DAY"}
    [settings] = stage["MethodSettings"]
    assert {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= settings.keys()
    assert settings["DataTraceEnabled"] is False, "it would log what is asked"


def test_every_log_is_kept_for_so_many_days_and_no_payload_is_in_the_access_log() -> None:
    assert [group["RetentionInDays"] for group in of_type("Logs::LogGroup")] == [{"Ref": "LogDays"}] * 2
    [stage] = of_type("ApiGateway::Stage")
    written = stage["AccessLogSetting"]["Fn::If"][1]["Format"]
    assert not any(word in written for word in ("body", 'apiKey"', "identity.apiKey ", "authorizer"))


def test_errors_of_the_gateway_itself_carry_what_browsers_need() -> None:
    answers = of_type("ApiGateway::GatewayResponse")
    assert {answer["ResponseType"] for answer in answers} == {
        "DEFAULT_4XX",
        "DEFAULT_5XX",
        "MISSING_AUTHENTICATION_TOKEN",
        "INVALID_API_KEY",
    }
    for answer in answers:
        assert answer["ResponseParameters"].keys() == {
            "gatewayresponse.header.Access-Control-Allow-Origin",
            "gatewayresponse.header.X-Request-Id",
        }
        assert "$context.requestId" in answer["ResponseTemplates"]["application/json"]


def test_each_waits_longer_than_what_it_waits_for() -> None:
    handler = runpy.run_path(str(FOLDER / "handler.py"))
    [function] = of_type("Lambda::Function")
    gateway = next(one for one in of_type("ApiGateway::Method") if one["HttpMethod"] == "POST")["Integration"]
    model = handler["CONNECT_SECONDS"] + handler["ANSWER_SECONDS"]
    assert model < function["Timeout"] < gateway["TimeoutInMillis"] / 1000 <= 29


def test_a_stage_gets_what_changed_by_a_deployment_after_all_else() -> None:
    made = [
        name
        for name, each in RESOURCES.items()
        if each["Type"] in ("AWS::ApiGateway::Method", "AWS::ApiGateway::GatewayResponse")
    ]
    assert set(RESOURCES["Deployment"]["DependsOn"]) == set(made)
