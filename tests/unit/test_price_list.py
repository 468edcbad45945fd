"""A price is read out of AWS's answer, or the type is refused with the reason; nothing in between."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from trainmaster.budget.price_list import Offered, Offers, queries
from trainmaster.budget.prices import BUILDER, SESSION, STORAGE, Use


def product(usagetype: str, *usd: str, unit: str = "Hrs", currency: str = "USD", **attributes: str) -> str:
    dimensions = {f"S.J.{n}": {"unit": unit, "pricePerUnit": {currency: amount}} for n, amount in enumerate(usd)}
    document: dict[str, Any] = {
        "product": {"productFamily": "ML Instance", "attributes": {"usagetype": usagetype, **attributes}, "sku": "S"},
        "terms": {"OnDemand": {"S.J": {"priceDimensions": dimensions}}},
    }
    return json.dumps(document)


def offered(*documents: str, use: Use = "training", region: str = "us-east-1", storage: bool = False) -> Offered:
    offers = Offers(use, region)
    offers.read(queries(use, region)[-1 if storage else 0], documents)
    return offers.offered("2026-11-21", "AWS")


def test_one_price_is_taken_exactly() -> None:
    found = offered(product("USE1-Train:ml.g5.xlarge", "1.4080000000"))
    assert [(price.item, price.usd, str(price.usd)) for price in found.prices] == [
        ("ml.g5.xlarge", Decimal("1.408"), "1.408")
    ]
    assert found.refused == {}


def test_a_round_price_keeps_its_size() -> None:
    assert [str(price.usd) for price in offered(product("USE1-Train:ml.x.large", "100.0000000000")).prices] == ["100"]


def test_free_hours_are_no_price() -> None:
    free, real = product("USE1-Train:ml.m5.xlarge", "0.0000000000"), product("USE1-Train:ml.m5.xlarge", "0.23")
    assert [price.usd for price in offered(free, real).prices] == [Decimal("0.23")]
    assert offered(free).refused == {"ml.m5.xlarge": "no price but $0"}


@pytest.mark.parametrize("split", [False, True])
def test_two_prices_for_one_type_are_refused_with_both(split: bool) -> None:
    kind = "USE1-Train:ml.g5.xlarge"
    both = [product(kind, "1.408"), product(kind, "1.5")] if split else [product(kind, "1.408", "1.5")]
    found = offered(*both, product("USE1-Train:ml.m5.large", "0.115"))
    assert found.refused == {"ml.g5.xlarge": "2 prices: $1.408, $1.5"}
    assert [price.item for price in found.prices] == ["ml.m5.large"]


def test_the_same_price_said_twice_is_one() -> None:
    said = product("USE1-Train:ml.g5.xlarge", "1.408")
    assert len(offered(said, said).prices) == 1


@pytest.mark.parametrize(
    "usagetype",
    [
        "USE1-TrSpt:ml.g5.xlarge", "USE1-Train:ml.g5.xlarge-TrainingPlan", "USE1-Host:ml.g5.xlarge", "USE1-Train:VolumeUsage.gp2",
        "USE1-Cluster:ml.g5.xlarge", "USE1-Studio:JupyterLab-ml.g5.xlarge", "",
    ],
)  # fmt: skip
def test_what_is_sold_otherwise_is_not_taken_for_training(usagetype: str) -> None:
    assert offered(product(usagetype, "0.5")) == Offered([], {})


def test_a_product_of_another_region_is_not_taken() -> None:
    assert offered(product("EU-Train:ml.g5.xlarge", "0.5", regionCode="eu-west-1")) == Offered([], {})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"unit": "GB-Mo"}, "priced by 'GB-Mo'"),
        ({"currency": "CNY"}, "priced in CNY, not in USD"),
    ],
)
def test_a_price_in_another_unit_or_currency_is_refused(said: dict[str, str], why: str) -> None:
    assert offered(product("USE1-Train:ml.g5.xlarge", "1.4", **said)).refused == {"ml.g5.xlarge": why}  # type: ignore[arg-type]


@pytest.mark.parametrize("usd", ["-1", "NaN", "Infinity", "cheap"])
def test_an_amount_that_is_none_is_refused(usd: str) -> None:
    assert "ml.g5.xlarge" in offered(product("USE1-Train:ml.g5.xlarge", usd)).refused


def test_one_bad_product_spoils_its_type_whatever_else_is_said_of_it() -> None:
    good, bad = product("USE1-Train:ml.g5.xlarge", "1.4"), product("USE1-Train:ml.g5.xlarge", "1.4", unit="Days")
    assert offered(good, bad) == offered(bad, good) == Offered([], {"ml.g5.xlarge": "priced by 'Days'"})


def test_terms_without_a_unit_or_a_price_are_refused() -> None:
    document = product("USE1-Train:ml.g5.xlarge", "1")
    assert offered(document.replace('"unit"', '"per"')).refused == {"ml.g5.xlarge": "its terms lack 'unit'"}
    assert offered('{"product": {}}', "{}") == Offered([], {})


def test_a_product_without_on_demand_terms_has_no_price() -> None:
    document = json.loads(product("USE1-Train:ml.g5.xlarge", "1"))
    document["terms"] = {"Reserved": document["terms"].pop("OnDemand")}
    assert offered(json.dumps(document)).refused == {"ml.g5.xlarge": "no price but $0"}


@pytest.mark.parametrize(
    ("use", "usagetype"),
    [
        ("training", "USE1-Train:VolumeUsage.gp2"), ("hosting", "EU-Host:VolumeUsage.gp2"),
        ("studio", "APS3-Studio:VolumeUsage.gp3"), ("ec2", "EBS:VolumeUsage.gp3"), ("efs", "EU-TimedStorage-ByteHrs"),
    ],
)  # fmt: skip
def test_a_volume_is_priced_by_gigabyte_and_month(use: Use, usagetype: str) -> None:
    found = offered(product(usagetype, "0.14", unit="GB-Mo"), use=use, storage=True)
    assert [(price.item, price.usd) for price in found.prices] == [(STORAGE, Decimal("0.14"))]


def test_an_hour_of_canvas_is_a_session_and_no_model_that_is_built_in_it() -> None:
    built = product("USE1-Canvas:CreateModelRequest-Tier0", "30", unit="Hrs")
    found = offered(product("USE1-Canvas:Session-Hrs", "1.9"), built, use="canvas")
    assert [(price.item, price.usd) for price in found.prices] == [(SESSION, Decimal("1.9"))]


def test_a_build_is_priced_by_the_minute_and_kept_by_the_hour() -> None:
    others = [product(f"USE1-Build-Min:{kind}", "0.01", unit="minutes") for kind in ("ARM:g1.large", "Linux:g1.small")]
    found = offered(product("USE1-Build-Min:Linux:g1.large", "0.02", unit="minutes"), *others, use="build")
    assert [(price.item, price.usd) for price in found.prices] == [(BUILDER, Decimal("1.20"))]


@pytest.mark.parametrize("usagetype", ["USE1-IATimedStorage-ByteHrs", "USE1-TimedStorage-Z-ByteHrs"])
def test_a_colder_class_is_not_taken_for_a_file_systems_own(usagetype: str) -> None:
    assert offered(product(usagetype, "0.016", unit="GB-Mo"), use="efs", storage=True) == Offered([], {})


def test_ec2_is_asked_for_plain_shared_linux_and_sagemaker_for_the_component() -> None:
    ec2, training = queries("ec2", "eu-west-1")[0], queries("training", "eu-west-1")[0]
    assert (ec2.service, training.service) == ("AmazonEC2", "AmazonSageMaker")
    assert {
        "tenancy": "Shared",
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }.items() <= ec2.filters.items()
    assert training.filters == {
        "productFamily": "ML Instance",
        "platoinstancetype": "Training",
        "regionCode": "eu-west-1",
    }
