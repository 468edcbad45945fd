"""Prices are data with a source; an unknown one is refused, never guessed."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.prices import (
    BUILDER,
    HOURS_PER_MONTH,
    SESSION,
    STORAGE,
    Price,
    PriceList,
    Use,
    known_prices,
    read_prices,
    shipped_prices,
)
from trainmaster.errors import NotConfiguredError, UnknownPriceError

HEAD = "region,use,item,usd,as_of,source"
ROW = "us-east-1,training,ml.m5.large,0.115,2026-11-21,a table"
EC2 = {price.item: price for price in shipped_prices().of("ec2", "us-east-1") if price.item != STORAGE}
SAGEMAKER = [price for price in shipped_prices() if price.item.startswith("ml.")]
BY_INSTANCE: list[Use] = ["training", "hosting", "studio", "ec2"]


def listed(*rows: str) -> PriceList:
    return read_prices([HEAD, *rows])


class TestShippedPrices:
    @pytest.mark.parametrize("use", BY_INSTANCE)
    def test_every_use_of_instances_has_prices_for_people_to_choose_from(self, use: Use) -> None:
        assert len(shipped_prices().instance_types(use, "us-east-1")) > 40

    def test_canvas_costs_by_the_hour_somebody_is_logged_in_and_a_shared_file_system_by_what_it_holds(self) -> None:
        assert shipped_prices().instance(SESSION, "canvas", "us-east-1").usd == Decimal("1.90")
        assert shipped_prices().storage_hour(672, "us-east-1", "efs") == Decimal("0.30")

    def test_the_machine_that_makes_images_costs_by_the_hour_of_its_minutes(self) -> None:
        assert shipped_prices().instance(BUILDER, "build", "us-east-1").usd == Decimal("1.20")

    @pytest.mark.parametrize("region", ["eu-west-1", "mars-1"])
    def test_neither_has_a_price_where_nobody_said_one(self, region: str) -> None:
        with pytest.raises(UnknownPriceError, match=f"canvas.*{region}"):
            shipped_prices().instance(SESSION, "canvas", region)
        with pytest.raises(UnknownPriceError, match=f"efs.*{region}"):
            shipped_prices().storage_hour(1, region, "efs")

    def test_each_price_has_a_source_and_a_date_that_has_been(self) -> None:
        today = datetime.now(UTC).date()
        assert all(
            price.source and date(2024, 1, 1) <= date.fromisoformat(price.as_of) <= today for price in shipped_prices()
        )

    def test_each_price_is_of_a_believable_size(self) -> None:
        assert all(isinstance(price.usd, Decimal) and Decimal("0.01") <= price.usd < 200 for price in shipped_prices())

    def test_each_type_is_one_whose_hardware_is_known_and_named_as_its_service_names_it(self) -> None:
        for price in shipped_prices():
            if price.item not in {STORAGE, SESSION, BUILDER}:
                assert hardware_of(price.item), price
                assert price.item.startswith("ml.") == (price.use != "ec2"), price

    def test_no_price_of_ec2s_poses_as_sagemakers(self) -> None:
        compared = [
            (price, EC2[price.item.removeprefix("ml.")]) for price in SAGEMAKER if price.item.removeprefix("ml.") in EC2
        ]
        assert len(compared) > 100
        # What SageMaker adds: 15 % on the largest, 40 % on the smallest GPUs.
        wrong = [(s.item, s.use) for s, e in compared if not Decimal("1.1") <= s.usd / e.usd <= Decimal("1.45")]
        assert wrong == []

    def test_of_one_family_with_as_many_gpus_the_bigger_costs_more(self) -> None:
        siblings: dict[tuple[str, str, int], list[tuple[int, Decimal]]] = {}
        for price in shipped_prices():
            if inside := hardware_of(price.item):
                key = (price.use, price.item.rpartition(".")[0], inside.gpus)
                siblings.setdefault(key, []).append((inside.memory_gib, price.usd))
        assert len(siblings) > 40
        for key, known in siblings.items():
            assert [usd for _, usd in sorted(known)] == sorted({usd for _, usd in known}), key

    @pytest.mark.parametrize(
        ("kind", "usd"),
        [
            ("ml.g5.xlarge", "1.408"), ("ml.g5.2xlarge", "1.515"), ("ml.g5.12xlarge", "7.09"), ("ml.g5.48xlarge", "20.36"),
            ("ml.p4d.24xlarge", "25.2513"), ("ml.p5.48xlarge", "63.296"), ("ml.p3.2xlarge", "3.825"),
        ],
    )  # fmt: skip
    def test_the_types_most_is_spent_on_cost_what_aws_says(self, kind: str, usd: str) -> None:
        assert shipped_prices().instance(kind, "training", "us-east-1").usd == Decimal(usd)

    def test_uses_that_share_a_type_agree_to_within_two_cents(self) -> None:
        by_type: dict[str, list[Decimal]] = {}
        for price in SAGEMAKER:
            by_type.setdefault(price.item, []).append(price.usd)
        assert all(max(prices) - min(prices) <= Decimal("0.02") for prices in by_type.values())


class TestAskingForAPrice:
    def test_types_are_listed_cheapest_first_without_storage(self) -> None:
        types = shipped_prices().instance_types("training", "us-east-1")
        costs = [shipped_prices().instance(kind, "training", "us-east-1").usd for kind in types]
        assert costs == sorted(costs)
        assert all(kind.startswith("ml.") for kind in types)

    @pytest.mark.parametrize(
        ("kind", "region"),
        [("ml.nope.large", "us-east-1"), ("ml.m5.large", "mars-1"), ("storage-gb-month", "us-east-1")],
    )
    def test_an_unknown_price_is_refused_by_name(self, kind: str, region: str) -> None:
        with pytest.raises(UnknownPriceError, match=f"{kind}.*{region}"):
            shipped_prices().instance(kind, "training", region)

    def test_the_refusal_of_a_misspelt_type_names_the_one_that_was_meant_and_not_all_hundred(self) -> None:
        with pytest.raises(UnknownPriceError, match=r"ml\.g5\.2xlarge.*trainmaster prices refresh") as refused:
            shipped_prices().instance("ml.g5.2xlage", "training", "us-east-1")
        assert len(refused.value.known) > 100
        assert len(str(refused.value)) < 500

    def test_an_unknown_storage_price_is_refused_too(self) -> None:
        with pytest.raises(UnknownPriceError, match="storage"):
            listed(ROW).storage_hour(30, "us-east-1")

    def test_a_volume_never_costs_more_than_we_say_however_short_the_month(self) -> None:
        monthly = Decimal(100) * Decimal("0.14")
        said = shipped_prices().storage_hour(100, "us-east-1")
        assert all(monthly / (days * 24) <= said for days in (28, 29, 30, 31))
        assert said * HOURS_PER_MONTH == pytest.approx(monthly)


class TestReadingAFile:
    def test_two_prices_for_one_thing_are_an_error_in_the_data(self) -> None:
        with pytest.raises(ValueError, match=r"two prices for us-east-1 training ml\.m5\.large"):
            listed(ROW, ROW.replace("0.115", "0.1"))

    @pytest.mark.parametrize(
        ("changed", "wrong"),
        [
            (("0.115", "0"), "not above 0"), (("0.115", "-1"), "not above 0"), (("0.115", "NaN"), "not above 0"),
            (("0.115", "free"), "no number"), (("training", "fun"), "use is 'fun'"), (("2026-11-21", "today"), "isoformat"),
            (("a table", " "), "source must be given"), (("ml.m5.large", ""), "item"),
        ],
    )  # fmt: skip
    def test_a_row_that_is_none_is_refused_with_its_line(self, changed: tuple[str, str], wrong: str) -> None:
        with pytest.raises(ValueError, match=f"line 3: .*{wrong}"):
            listed(ROW.replace("large", "xlarge"), ROW.replace(*changed))

    def test_a_file_of_something_else_is_refused(self) -> None:
        with pytest.raises(ValueError, match="lacks as_of, item"):
            read_prices(["region,use,usd,source"])

    def test_what_is_written_is_read_again_to_the_last_digit(self) -> None:
        price = Price("us-east-1", "ec2", "p4d.24xlarge", Decimal("0.0000001"), "2026-01-02", 'who said "so", and when')
        assert Price.of(price.row()) == price


class TestRefreshedPrices:
    """Over the shipped ones, by use and region."""

    def write(self, path: Path, *rows: str) -> Path:
        path.write_text("\n".join([HEAD, *rows, ""]))
        return path

    def test_without_a_file_the_shipped_ones_hold(self, tmp_path: Path) -> None:
        assert known_prices(tmp_path / "prices.csv") is shipped_prices()

    def test_a_newer_file_wins_and_a_type_gone_from_it_has_no_price_any_more(self, tmp_path: Path) -> None:
        known = known_prices(self.write(tmp_path / "p.csv", ROW.replace("0.115", "0.2").replace("2026", "2036")))
        assert known.instance("ml.m5.large", "training", "us-east-1").usd == Decimal("0.2")
        with pytest.raises(UnknownPriceError):
            known.instance("ml.m5.xlarge", "training", "us-east-1")

    def test_other_uses_and_regions_stay_as_shipped(self, tmp_path: Path) -> None:
        rows = ROW.replace("2026", "2036"), ROW.replace("us-east-1", "eu-west-1")
        known = known_prices(self.write(tmp_path / "p.csv", *rows))
        assert known.of("hosting", "us-east-1") == shipped_prices().of("hosting", "us-east-1")
        assert known.instance_types("training", "eu-west-1") == ["ml.m5.large"]

    def test_a_file_older_than_what_is_shipped_is_passed_over(self, tmp_path: Path) -> None:
        known = known_prices(self.write(tmp_path / "p.csv", ROW.replace("0.115", "0.2").replace("2026", "2016")))
        assert known.instance("ml.m5.large", "training", "us-east-1").usd == Decimal("0.115")

    def test_a_file_that_changes_is_read_again(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "p.csv", ROW.replace("2026", "2036"))
        known_prices(path)
        self.write(path, ROW.replace("0.115", "0.3").replace("2026", "2036"))
        os.utime(path, ns=(1, 1))
        assert known_prices(path).instance("ml.m5.large", "training", "us-east-1").usd == Decimal("0.3")

    def test_a_broken_file_is_an_error_and_no_reason_to_fall_back(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "p.csv", ROW, "us-east-1,training,ml.g5.xlarge,cheap,2026-11-21,x")
        with pytest.raises(NotConfiguredError, match=rf"{re.escape(str(path))}.*line 3.*cheap.*refresh"):
            known_prices(path)

    def test_a_folder_where_the_file_should_be_is_an_error_too(self, tmp_path: Path) -> None:
        with pytest.raises(NotConfiguredError, match="cannot be read"):
            known_prices(tmp_path)
