"""Models, endpoint configurations and tags behave as AWS's do, through boto3."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"


@pytest.fixture(scope="module")
def sagemaker(embedded: Any) -> Any:
    return embedded.client("sagemaker", parameter_validation=False)


@pytest.fixture(scope="module")
def data(embedded: Any) -> str:
    """The address of a model's data that exists."""
    embedded.client("s3").put_object(
        Bucket=embedded.environment["TRAINMASTER_BUCKET"], Key="plain/model.tar.gz", Body=b"x"
    )
    return f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/plain/model.tar.gz"


@pytest.fixture
def model(embedded: Any, data: str) -> dict[str, Any]:
    """A sound CreateModel request, unlike any before."""
    return {
        "ModelName": f"model-{uuid4().hex[:8]}",
        "ExecutionRoleArn": embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
        "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": data, "Environment": {"A": "1"}},
    }


@pytest.fixture
def config(sagemaker: Any, model: dict[str, Any]) -> dict[str, Any]:
    """A sound CreateEndpointConfig request, its model created."""
    sagemaker.create_model(**model)
    return {
        "EndpointConfigName": f"config-{uuid4().hex[:8]}",
        "ProductionVariants": [
            {
                "VariantName": "all",
                "ModelName": model["ModelName"],
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
    }


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**request)
    error: dict[str, Any] = refused.value.response["Error"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


def test_a_model_is_described_as_it_was_created(sagemaker: Any, model: dict[str, Any]) -> None:
    arn = sagemaker.create_model(**model)["ModelArn"]
    described = sagemaker.describe_model(ModelName=model["ModelName"])
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:model/{model['ModelName']}" == described["ModelArn"]
    assert {name: described[name] for name in model} == model
    assert described["EnableNetworkIsolation"] is False
    assert abs(described["CreationTime"].timestamp() - time.time()) < 60


def test_a_taken_model_name_is_refused_and_the_first_model_stays(sagemaker: Any, model: dict[str, Any]) -> None:
    arn = sagemaker.create_model(**model)["ModelArn"]
    other = model | {"PrimaryContainer": model["PrimaryContainer"] | {"Environment": {}}}
    assert refusal(sagemaker.create_model, **other) == (
        "ValidationException",
        f'Cannot create already existing model "{arn}".',
    )
    assert sagemaker.describe_model(ModelName=model["ModelName"])["PrimaryContainer"]["Environment"] == {"A": "1"}


def test_a_missing_model_can_be_neither_described_nor_deleted(sagemaker: Any) -> None:
    missing = ("ValidationException", 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/nobody".')
    assert refusal(sagemaker.describe_model, ModelName="nobody") == missing
    assert refusal(sagemaker.delete_model, ModelName="nobody") == missing


def test_a_model_in_use_can_be_deleted(sagemaker: Any, config: dict[str, Any]) -> None:
    sagemaker.create_endpoint_config(**config)
    name = config["ProductionVariants"][0]["ModelName"]
    sagemaker.delete_model(ModelName=name)
    assert refusal(sagemaker.describe_model, ModelName=name)[0] == "ValidationException"


@pytest.mark.parametrize("key", ["plain/v#1/model.tar.gz", "plain/v?1/model.tar.gz", "plain/v%231/model.tar.gz"])
def test_the_key_of_a_models_data_may_hold_any_character(
    embedded: Any, sagemaker: Any, model: dict[str, Any], key: str
) -> None:
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    embedded.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x")
    container = model["PrimaryContainer"] | {"ModelDataUrl": f"s3://{bucket}/{key}"}
    assert sagemaker.create_model(**model | {"PrimaryContainer": container})["ModelArn"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (("S3Object", "None", "plain/model.tar.gz"), "does not do S3DataType S3Object with CompressionType None"),
        (("S3Prefix", "Gzip", "plain/"), "does not do S3DataType S3Prefix with CompressionType Gzip"),
        (("S3Prefix", "None", "plain"), "must end with a forward slash"),
    ],
)
def test_model_data_of_a_shape_that_could_not_be_served_is_refused(
    sagemaker: Any, model: dict[str, Any], data: str, source: tuple[str, str, str], said: str
) -> None:
    kind, compression, place = source
    uri = data.replace("plain/model.tar.gz", place)
    located = {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": located}}
    code, message = refusal(sagemaker.create_model, **model | {"PrimaryContainer": container})
    assert code == "ValidationException"
    assert said in message


@pytest.mark.parametrize("place", ["plain/none.tar.gz", "plain/model", "plain/"])
def test_a_model_whose_data_is_not_there_is_refused(
    embedded: Any, sagemaker: Any, model: dict[str, Any], place: str
) -> None:
    url = f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/{place}"
    container = model["PrimaryContainer"] | {"ModelDataUrl": url}
    assert refusal(sagemaker.create_model, **model | {"PrimaryContainer": container}) == (
        "ValidationException",
        f"Could not find model data at {url}.",
    )


def test_a_model_in_a_bucket_that_is_not_there_is_refused(sagemaker: Any, model: dict[str, Any]) -> None:
    container = model["PrimaryContainer"] | {"ModelDataUrl": "s3://no-such-bucket-here/model.tar.gz"}
    code, message = refusal(sagemaker.create_model, **model | {"PrimaryContainer": container})
    assert (code, message[:30]) == ("ValidationException", "Could not find model data at s")


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("garbage-that-is-long-enough", "at 'executionRoleArn' failed to satisfy constraint"),
        ("arn:aws:iam::123456789012:role/Nobody", "Could not access model data at .*Nobody"),
        ("arn:aws:iam::999999999999:role/TrainmasterExecutionRole", "Could not access model data at .*999999999999"),
    ],
)
def test_a_model_whose_role_cannot_be_assumed_is_refused(
    sagemaker: Any, model: dict[str, Any], role: str, message: str
) -> None:
    code, said = refusal(sagemaker.create_model, **model | {"ExecutionRoleArn": role})
    assert code == "ValidationException"
    assert re.search(message, said)


def test_a_role_that_does_not_trust_sagemaker_cannot_be_assumed(
    embedded: Any, sagemaker: Any, model: dict[str, Any]
) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = embedded.client("iam").create_role(
        RoleName=f"ec2-{uuid4().hex[:8]}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )["Role"]["Arn"]
    code, message = refusal(sagemaker.create_model, **model | {"ExecutionRoleArn": role})
    assert code == "ValidationException"
    assert f'Please ensure that the role "{role}" exists' in message


@pytest.mark.parametrize(
    "change",
    [
        {"PrimaryContainer": None},
        {"Containers": [{"Image": IMAGE}]},
        {"PrimaryContainer": {"ModelDataUrl": "s3://bucket/key"}},
        {"PrimaryContainer": {"Image": IMAGE, "Mode": "MultiModel"}},
    ],
    ids=["no container", "both kinds", "no image", "many models in one"],
)
def test_containers_that_cannot_be_served_are_refused(
    sagemaker: Any, model: dict[str, Any], change: dict[str, Any]
) -> None:
    request = {name: value for name, value in (model | change).items() if value}
    assert refusal(sagemaker.create_model, **request)[0] == "ValidationException"


def test_an_endpoint_config_is_described_as_it_was_created(sagemaker: Any, config: dict[str, Any]) -> None:
    arn = sagemaker.create_endpoint_config(**config)["EndpointConfigArn"]
    described = sagemaker.describe_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    assert described["EndpointConfigArn"] == arn
    assert described["ProductionVariants"] == [config["ProductionVariants"][0] | {"InitialVariantWeight": 1.0}]
    assert refusal(sagemaker.create_endpoint_config, **config) == (
        "ValidationException",
        f'Cannot create already existing endpoint configuration "{arn}".',
    )
    sagemaker.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    code, message = refusal(sagemaker.describe_endpoint_config, EndpointConfigName=config["EndpointConfigName"])
    assert (code, message) == ("ValidationException", f'Could not find endpoint configuration "{arn}".')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ModelName": "nobody"}, 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/nobody".'),
        ({"InstanceType": "ml.nope"}, "instanceType' failed to satisfy constraint"),
        ({"InitialInstanceCount": 0}, "initialInstanceCount' failed to satisfy constraint"),
        ({"InitialVariantWeight": -1}, "initialVariantWeight' failed to satisfy constraint"),
        ({"InstanceType": None}, "needs an InstanceType"),
        ({"ModelName": None}, "needs a ModelName"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}, "ServerlessConfig excludes"),
    ],
)
def test_a_variant_that_cannot_be_served_is_refused(
    sagemaker: Any, config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    variants = [config["ProductionVariants"][0] | change]
    code, said = refusal(sagemaker.create_endpoint_config, **config | {"ProductionVariants": variants})
    assert code == "ValidationException"
    assert message in said


def test_variant_names_are_unique(sagemaker: Any, config: dict[str, Any]) -> None:
    twice = config | {"ProductionVariants": config["ProductionVariants"] * 2}
    assert refusal(sagemaker.create_endpoint_config, **twice)[0] == "ValidationException"


@pytest.fixture(scope="module")
def names(sagemaker: Any, data: str) -> list[str]:
    """Seven models, oldest first; their names are in no order."""
    family = uuid4().hex[:6]
    names = [f"{letter}-{family}-pages" for letter in "dagbfce"]
    for name in names:
        sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": data})
    return names


class TestPages:
    """List operations filter, order and page alike; models stand for all."""

    def listed(self, sagemaker: Any, names: list[str], **request: Any) -> list[str]:
        """The names of all pages."""
        pages = sagemaker.get_paginator("list_models").paginate(NameContains=names[0][2:], **request)
        return [one["ModelName"] for page in pages for one in page["Models"]]

    def test_the_newest_come_first(self, sagemaker: Any, names: list[str]) -> None:
        assert self.listed(sagemaker, names) == names[::-1]

    def test_order_is_as_asked(self, sagemaker: Any, names: list[str]) -> None:
        assert self.listed(sagemaker, names, SortOrder="Ascending") == names
        assert self.listed(sagemaker, names, SortBy="Name", SortOrder="Ascending") == sorted(names)
        assert self.listed(sagemaker, names, SortBy="Name") == sorted(names)[::-1]

    @pytest.mark.parametrize("order", ["Ascending", "Descending"])
    @pytest.mark.parametrize("by", ["Name", "CreationTime"])
    @pytest.mark.parametrize("size", [1, 3, 7])
    def test_pages_of_any_size_hold_everything_once(
        self, sagemaker: Any, names: list[str], size: int, by: str, order: str
    ) -> None:
        paged = self.listed(sagemaker, names, SortBy=by, SortOrder=order, PaginationConfig={"PageSize": size})
        assert paged == self.listed(sagemaker, names, SortBy=by, SortOrder=order)
        assert sorted(paged) == sorted(names)

    def test_what_comes_or_goes_meanwhile_shifts_no_page(self, sagemaker: Any, names: list[str], data: str) -> None:
        query = {"NameContains": names[0][2:], "MaxResults": 3}
        first = sagemaker.list_models(**query)
        newer = f"z-{names[0][2:]}"
        sagemaker.create_model(ModelName=newer, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": data})
        second = sagemaker.list_models(**query, NextToken=first["NextToken"])
        assert [one["ModelName"] for one in first["Models"] + second["Models"]] == names[::-1][:6]
        sagemaker.delete_model(ModelName=newer)
        again = sagemaker.list_models(**query, NextToken=first["NextToken"])
        assert again["Models"] == second["Models"]

    def test_filters_by_time_include_their_bounds(self, sagemaker: Any, names: list[str]) -> None:
        third = sagemaker.describe_model(ModelName=names[2])["CreationTime"]
        assert self.listed(sagemaker, names, CreationTimeAfter=third, SortOrder="Ascending") == names[2:]
        assert self.listed(sagemaker, names, CreationTimeBefore=third, SortOrder="Ascending") == names[:3]

    @pytest.mark.parametrize("token", ["garbage", "e30=", "WzEsMl0=", "WyJOYW1lIiwgIkFzY2VuZGluZyIsIDEsIDJd"])
    def test_a_token_that_is_not_ours_is_refused(self, sagemaker: Any, token: str) -> None:
        assert refusal(sagemaker.list_models, NextToken=token)[0] == "ValidationException"

    def test_a_token_of_another_order_is_refused(self, sagemaker: Any, names: list[str]) -> None:
        token = sagemaker.list_models(NameContains=names[0][2:], MaxResults=1)["NextToken"]
        assert refusal(sagemaker.list_models, NextToken=token, SortBy="Name")[0] == "ValidationException"

    def test_a_page_has_ten_unless_told_and_a_hundred_at_most(
        self, sagemaker: Any, names: list[str], data: str
    ) -> None:
        for _ in range(10 - len(names)):
            name = f"ten-{uuid4().hex[:8]}"
            sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": data})
        assert len(sagemaker.list_models()["Models"]) == 10
        assert "less than or equal to 100" in refusal(sagemaker.list_models, MaxResults=101)[1]


class TestTags:
    @pytest.fixture
    def arn(self, sagemaker: Any, model: dict[str, Any]) -> str:
        arn: str = sagemaker.create_model(**model, Tags=[{"Key": "born", "Value": "with"}])["ModelArn"]
        return arn

    def tags(self, sagemaker: Any, arn: str) -> dict[str, str]:
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def test_tags_are_added_replaced_and_deleted(self, sagemaker: Any, arn: str) -> None:
        added = [{"Key": "born", "Value": "again"}, {"Key": "user", "Value": "anna"}]
        assert sagemaker.add_tags(ResourceArn=arn, Tags=added)["Tags"] == added
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["user", "never-there"])
        assert self.tags(sagemaker, arn) == {"born": "again"}

    def test_a_resource_has_at_most_fifty_tags(self, sagemaker: Any, arn: str) -> None:
        many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
        assert refusal(sagemaker.add_tags, ResourceArn=arn, Tags=many)[0] == "ResourceLimitExceeded"
        assert self.tags(sagemaker, arn) == {"born": "with"}
        sagemaker.add_tags(ResourceArn=arn, Tags=many[:49])
        assert len(self.tags(sagemaker, arn)) == 50

    def test_tags_of_what_does_not_exist_are_refused(self, sagemaker: Any) -> None:
        nobody = "arn:aws:sagemaker:us-east-1:123456789012:model/nobody"
        tag = [{"Key": "a", "Value": "b"}]
        assert refusal(sagemaker.list_tags, ResourceArn=nobody)[0] == "ValidationException"
        assert refusal(sagemaker.add_tags, ResourceArn=nobody, Tags=tag)[0] == "ValidationException"
        assert refusal(sagemaker.delete_tags, ResourceArn=nobody, TagKeys=["a"])[0] == "ValidationException"

    def test_tags_end_with_their_resource(self, sagemaker: Any, arn: str, model: dict[str, Any]) -> None:
        sagemaker.delete_model(ModelName=model["ModelName"])
        sagemaker.create_model(**model)
        assert self.tags(sagemaker, arn) == {}
