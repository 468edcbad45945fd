"""The embedded AWS has AWS's Price List API over the shipped prices, as boto3 knows it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from embedded_aws import EmbeddedAws

from trainmaster.budget.price_list import Offers, queries
from trainmaster.budget.prices import USES, Use, shipped_prices

ENTRY = {
    "Type": "TERM_MATCH", "Field": "instanceName", "Value": "ml.g5.xlarge",
}  # fmt: skip
HEAD = "region,use,item,usd,as_of,source\n"


@pytest.fixture(scope="module")
def pricing(embedded: EmbeddedAws) -> Any:
    return embedded.client("pricing")


def matching(**fields: str) -> list[dict[str, str]]:
    return [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]


def code_of(call: Callable[..., Any], **request: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        call(**request)
    response: Any = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def everything(pricing: Any, service: str, page: int = 100) -> list[dict[str, Any]]:
    pages = pricing.get_paginator("get_products").paginate(ServiceCode=service, PaginationConfig={"PageSize": page})
    return [json.loads(document) for found in pages for document in found["PriceList"]]


def test_a_price_is_found_as_awss_documentation_finds_it(pricing: Any) -> None:
    filters = matching(
        productFamily="ML Instance", regionCode="us-east-1", instanceName="ml.g5.xlarge", platoinstancetype="Training"
    )
    answer = pricing.get_products(ServiceCode="AmazonSageMaker", Filters=filters)
    assert answer["FormatVersion"] == "aws_v1"
    [document] = map(json.loads, answer["PriceList"])
    attributes = document["product"]["attributes"]
    assert attributes["usagetype"] == "USE1-Train:ml.g5.xlarge"
    assert attributes["location"] == "US East (N. Virginia)"
    assert (attributes["vCpu"], attributes["memory"], attributes["physicalGpu"]) == ("4", "16 GiB", "A10G")
    [(term_code, term)] = document["terms"]["OnDemand"].items()
    [(rate_code, rate)] = term["priceDimensions"].items()
    sku = document["product"]["sku"]
    assert (term_code, rate_code) == (f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7")
    assert (rate["unit"], rate["pricePerUnit"]) == ("Hrs", {"USD": "1.4080000000"})


def test_plain_ec2_has_the_filters_that_tell_it_from_the_rest(pricing: Any) -> None:
    filters = matching(
        instanceType="g5.xlarge", regionCode="us-east-1", tenancy="Shared", operatingSystem="Linux", preInstalledSw="NA",
        capacitystatus="Used",
    )  # fmt: skip
    [document] = map(json.loads, pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"])
    assert document["product"]["attributes"]["usagetype"] == "BoxUsage:g5.xlarge"


@pytest.mark.parametrize("use", USES)
def test_what_is_read_from_it_is_what_is_shipped(pricing: Any, use: Use) -> None:
    offers = Offers(use, "us-east-1")
    for query in queries(use, "us-east-1"):
        pages = pricing.get_paginator("get_products").paginate(
            ServiceCode=query.service, Filters=matching(**query.filters), PaginationConfig={"PageSize": 30}
        )
        offers.read(query, (document for page in pages for document in page["PriceList"]))
    found = offers.offered("2026-11-21", "AWS")
    shipped = {price.item: price.usd for price in shipped_prices().of(use, "us-east-1")}
    assert {price.item: price.usd for price in found.prices} == shipped
    assert found.refused == {}


@pytest.mark.parametrize("page", [1, 7, 100])
def test_pages_of_any_size_hold_everything_once(pricing: Any, page: int) -> None:
    skus = [document["product"]["sku"] for document in everything(pricing, "AmazonEC2", page)]
    assert len(skus) == len(set(skus)) == len(shipped_prices().of("ec2", "us-east-1"))


def test_a_free_tier_lies_beside_the_price_of_what_it_gives(pricing: Any) -> None:
    filters = matching(instanceName="ml.m5.xlarge", platoinstancetype="Training")
    documents = map(json.loads, pricing.get_products(ServiceCode="AmazonSageMaker", Filters=filters)["PriceList"])
    amounts = {
        Decimal(rate["pricePerUnit"]["USD"])
        for document in documents
        for term in document["terms"]["OnDemand"].values()
        for rate in term["priceDimensions"].values()
    }
    assert amounts == {Decimal("0.23"), Decimal(0)}


@pytest.mark.parametrize(
    ("how", "value", "found"),
    [
        ("EQUALS", "ml.g5.xlarge", {"ml.g5.xlarge"}),
        ("CONTAINS", "ml.p4d", {"ml.p4d.24xlarge", "ml.p4de.24xlarge"}),
        ("ANY_OF", "ml.g5.xlarge, ml.g6.xlarge", {"ml.g5.xlarge", "ml.g6.xlarge"}),
        ("TERM_MATCH", "ml.g5", set()),
    ],
)
def test_filters_match_as_their_type_says(pricing: Any, how: str, value: str, found: set[str]) -> None:
    filters = [{"Type": how, "Field": "instanceName", "Value": value}, *matching(platoinstancetype="Training")]
    answer = pricing.get_products(ServiceCode="AmazonSageMaker", Filters=filters)
    assert {json.loads(each)["product"]["attributes"]["instanceName"] for each in answer["PriceList"]} == found


def test_none_of_leaves_out_what_it_names(pricing: Any) -> None:
    filters = [{"Type": "NONE_OF", "Field": "usagetype", "Value": "BoxUsage:g5.xlarge, BoxUsage:g6.xlarge"}]
    answer = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)
    assert len(answer["PriceList"]) == len(shipped_prices().of("ec2", "us-east-1")) - 2


def test_an_unknown_field_matches_nothing(pricing: Any) -> None:
    assert pricing.get_products(ServiceCode="AmazonEC2", Filters=matching(colour="red"))["PriceList"] == []


def test_services_tell_their_attributes_and_those_their_values(pricing: Any) -> None:
    services = {each["ServiceCode"]: each["AttributeNames"] for each in pricing.describe_services()["Services"]}
    assert set(services) == {"AmazonEC2", "AmazonEFS", "AmazonSageMaker", "CodeBuild"}
    assert "platoinstancetype" in services["AmazonSageMaker"]
    assert "platoinstancetype" not in services["AmazonEC2"]
    pages = pricing.get_paginator("get_attribute_values").paginate(
        ServiceCode="AmazonSageMaker", AttributeName="platoinstancetype", PaginationConfig={"PageSize": 2}
    )
    values = [each["Value"] for page in pages for each in page["AttributeValues"]]
    assert values == ["Hosting", "Studio-JupyterLab", "Training"]


class TestRefusals:
    def test_a_request_without_a_service_is_refused_in_awss_words(self, embedded: EmbeddedAws) -> None:
        lenient = embedded.client("pricing", parameter_validation=False)
        assert code_of(lenient.get_products) == (
            400, "InvalidParameterException", "Input Parameters are invalid. serviceCode cannot be null or empty",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("request_", "code", "said"),
        [
            ({"ServiceCode": "Compute Instance"}, "InvalidParameterException", "ServiceCode can only contain"),
            ({"ServiceCode": "AmazonNope"}, "NotFoundException", "AmazonNope"),
            ({"ServiceCode": "AmazonEC2", "MaxResults": 101}, "InvalidParameterException", "less than or equal to 100"),
            ({"ServiceCode": "AmazonEC2", "NextToken": "bm9uc2Vuc2U="}, "InvalidNextTokenException", "token"),
            ({"ServiceCode": "AmazonEC2", "NextToken": "€"}, "InvalidNextTokenException", "token"),
            ({"ServiceCode": "AmazonEC2", "FormatVersion": "aws_v2"}, "InvalidParameterException", "aws_v1"),
            ({"ServiceCode": "AmazonEC2", "Filters": [{**ENTRY, "Type": "LIKE"}]}, "InvalidParameterException", "LIKE"),
        ],
    )
    def test_a_bad_request_is_refused(
        self, embedded: EmbeddedAws, request_: dict[str, Any], code: str, said: str
    ) -> None:
        lenient = embedded.client("pricing", parameter_validation=False)
        status, refused, message = code_of(lenient.get_products, **request_)
        assert (status, refused) == (400, code)
        assert said in message

    def test_a_token_is_good_for_its_own_question_only(self, pricing: Any) -> None:
        token = pricing.get_products(ServiceCode="AmazonEC2", MaxResults=1)["NextToken"]
        assert (
            code_of(pricing.get_products, ServiceCode="AmazonSageMaker", NextToken=token)[1]
            == "InvalidNextTokenException"
        )

    def test_an_attribute_nobody_has_is_not_found(self, pricing: Any) -> None:
        request = {"ServiceCode": "AmazonEC2", "AttributeName": "colour"}
        assert code_of(pricing.get_attribute_values, **request)[:2] == (400, "NotFoundException")

    def test_what_it_does_not_have_says_so_at_once(self, pricing: Any) -> None:
        request = {"ServiceCode": "AmazonEC2", "EffectiveDate": 0, "CurrencyCode": "USD"}
        assert code_of(pricing.list_price_lists, **request)[:2] == (501, "NotImplementedException")

    def test_a_wrong_secret_is_refused(self, embedded: EmbeddedAws) -> None:
        stranger = boto3.client(
            "pricing",
            endpoint_url=embedded.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=embedded.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key="wrong",
        )
        assert code_of(stranger.describe_services)[:2] == (403, "InvalidSignatureException")

    def test_commanded_faults_befall_it_too(self, embedded: EmbeddedAws, pricing: Any) -> None:
        embedded.control(
            "POST", "faults", {"operation": "DescribeServices", "error": "ThrottlingException", "count": 1}
        )
        assert code_of(pricing.describe_services)[1] == "ThrottlingException"
        assert pricing.describe_services()["Services"]


class TestAPriceListOfYourOwn:
    @pytest.fixture
    def own(self, embedded: EmbeddedAws) -> Iterator[Path]:
        path = embedded.state / "price-list.csv"
        yield path
        path.unlink()

    def test_it_is_what_this_aws_charges_from_then_on(self, own: Path, pricing: Any) -> None:
        own.write_text(f"{HEAD}eu-west-1,training,ml.z9.large,7.5,2026-11-21,{uuid.uuid4()}\n")
        [document] = everything(pricing, "AmazonSageMaker")
        attributes = document["product"]["attributes"]
        assert (attributes["usagetype"], attributes["location"]) == ("EU-Train:ml.z9.large", "EU (Ireland)")
        own.write_text(f"{HEAD}eu-west-1,ec2,z9.large,7.5,2026-11-21,{uuid.uuid4()} again\n")
        assert [each["product"]["attributes"]["usagetype"] for each in everything(pricing, "AmazonEC2")] == [
            "EU-BoxUsage:z9.large"
        ]

    def test_a_broken_one_is_a_failure_of_awss_that_names_the_line(self, own: Path, pricing: Any) -> None:
        own.write_text(f"{HEAD}eu-west-1,training,ml.z9.large,free,2026-11-21,x\n")
        status, code, message = code_of(pricing.describe_services)
        assert (status, code) == (500, "InternalErrorException")
        assert "line 2" in message


def test_many_ask_at_once(embedded: EmbeddedAws) -> None:
    client = embedded.client("pricing", max_pool_connections=16)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: len(everything(client, "AmazonSageMaker")), range(16)))
    assert len(set(answers)) == 1
