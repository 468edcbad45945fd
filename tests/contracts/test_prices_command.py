"""`trainmaster prices` as a person runs it, asking a real Price List API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from embedded_aws import EmbeddedAws

from trainmaster.budget.prices import COLUMNS, USES, known_prices, prices_in, shipped_prices
from trainmaster.cli import main
from trainmaster.plain_words import counted

HEAD = ",".join(COLUMNS)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def prices_file(tmp_path: Path) -> Path:
    return tmp_path / "prices.csv"


@pytest.fixture
def run(
    embedded: EmbeddedAws, prices_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "TRAINMASTER_"))]:
        monkeypatch.delenv(name)
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRAINMASTER_PRICES_FILE", str(prices_file))

    def command(*words: str) -> Ran:
        code = main(["prices", *words])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return command


@pytest.fixture
def charge(embedded: EmbeddedAws) -> Iterator[Callable[..., None]]:
    """Has the embedded AWS charge these rows, `use,item,usd` each, and nothing else."""
    path = embedded.state / "price-list.csv"

    def charge(*rows: str, region: str = "us-east-1") -> None:
        path.write_text("\n".join([HEAD, *(f"{region},{row},2026-11-21,the test" for row in rows)]) + "\n")

    yield charge
    path.unlink(missing_ok=True)


def shipped_rows(use: str = "training") -> list[str]:
    return [f"{price.use},{price.item},{price.usd}" for price in shipped_prices() if price.use == use]


class TestShow:
    def test_training_prices_are_shown_cheapest_first_with_hardware_source_and_date(
        self, run: Callable[..., Ran]
    ) -> None:
        shown = run("show")
        head, *rows = shown.out.splitlines()
        assert shown.code == 0
        assert head.split()[:3] == ["TYPE", "USE", "USD"]
        assert len(rows) == len(shipped_prices().of("training", "us-east-1"))
        costs = [Decimal(row.split()[2]) for row in rows[:-1]]
        assert costs == sorted(costs)
        assert rows[-1].split()[:4] == ["storage-gb-month", "training", "0.14", "GB-month"]
        [big] = [row for row in rows if row.startswith("ml.g5.12xlarge")]
        assert "192 GiB  4 × A10G 24 GB" in big
        assert "2026-09-27  AWS Price List" in big

    def test_one_type_is_shown_for_every_use_as_json_with_money_as_text(self, run: Callable[..., Ran]) -> None:
        shown = json.loads(run("show", "ml.g5.xlarge", "--json").out)
        assert shown["region"] == "us-east-1"
        assert [(price["use"], price["usd"]) for price in shown["prices"]] == [
            ("training", "1.408"), ("hosting", "1.408"), ("studio", "1.41"),
        ]  # fmt: skip
        assert all(price["source"] and price["as_of"] for price in shown["prices"])
        assert shown["prices"][0]["hardware"] == {
            "vcpus": 4, "memory_gib": 16, "gpus": 1, "gpu": "A10G", "gpu_memory_gb": 24,
        }  # fmt: skip

    def test_ec2_and_studio_are_shown_by_their_use(self, run: Callable[..., Ran]) -> None:
        [price] = json.loads(run("show", "g5.xlarge", "--use", "ec2", "--json").out)["prices"]
        assert (price["usd"], price["per"]) == ("1.006", "hour")
        assert {price["use"] for price in json.loads(run("show", "--use", "studio", "--json").out)["prices"]} == {
            "studio"
        }

    @pytest.mark.parametrize("words", [["ml.nope.large"], ["--region", "mars-1"], ["ml.g5.xlarge", "--use", "ec2"]])
    def test_what_has_no_price_is_refused(self, run: Callable[..., Ran], words: list[str]) -> None:
        shown = run("show", *words, "--json")
        assert (shown.code, json.loads(shown.out)["error"]) == (1, "UnknownPriceError")
        assert "price is known" in shown.err

    def test_a_broken_file_of_prices_is_told_by_its_line(self, run: Callable[..., Ran], prices_file: Path) -> None:
        prices_file.write_text(f"{HEAD}\nus-east-1,training,ml.m5.large,free,2026-11-21,x\n")
        shown = run("show")
        assert shown.code == 1
        assert "line 2" in shown.err


class TestRefresh:
    def test_what_aws_charges_is_used_from_then_on_with_its_source_and_todays_date(
        self, run: Callable[..., Ran], prices_file: Path, embedded: EmbeddedAws
    ) -> None:
        done = run("refresh")
        assert (done.code, done.err) == (0, "")
        for use in USES:
            total = len(shipped_prices().of(use, "us-east-1"))
            assert f"us-east-1 {use}: {counted(total, 'price')}, {total} as known." in done.out
        [price] = json.loads(run("show", "ml.p5.48xlarge", "--use", "training", "--json").out)["prices"]
        assert price["source"] == f"AWS Price List API, AmazonSageMaker, {embedded.environment['AWS_ENDPOINT_URL']}"
        assert price["as_of"] == datetime.now(UTC).date().isoformat()
        assert {p.usd for p in prices_in(prices_file)} == {p.usd for p in shipped_prices()}

    def test_a_dry_run_says_it_all_and_changes_nothing(
        self, run: Callable[..., Ran], charge: Callable[..., None], prices_file: Path
    ) -> None:
        charge(
            *(row.replace("ml.m5.large,0.115", "ml.m5.large,0.12") for row in shipped_rows()), "training,ml.z9.large,3"
        )
        done = run("refresh", "--use", "training", "--dry-run")
        assert done.code == 0
        told = [line.split() for line in done.out.splitlines()]
        assert ["changed", "ml.m5.large", "$0.115", "→", "$0.12"] in told
        assert ["new", "ml.z9.large", "$3"] in told
        assert not prices_file.exists()

    def test_a_type_aws_lists_no_more_is_told_and_has_no_price_then(
        self, run: Callable[..., Ran], charge: Callable[..., None]
    ) -> None:
        charge(*(row for row in shipped_rows() if "ml.p3.2xlarge" not in row))
        done = run("refresh", "--use", "training")
        assert done.code == 0
        assert ["gone", "ml.p3.2xlarge", "was", "$3.825"] in [line.split() for line in done.out.splitlines()]
        assert run("show", "ml.p3.2xlarge").code == 1
        assert run("show", "ml.p3.8xlarge").code == 0

    def test_a_price_that_more_than_doubles_waits_for_somebody_to_accept_it(
        self, run: Callable[..., Ran], charge: Callable[..., None], prices_file: Path
    ) -> None:
        charge(*(row.replace("ml.m5.large,0.115", "ml.m5.large,0.2301") for row in shipped_rows()))
        refused = run("refresh", "--use", "training")
        assert refused.code == 1
        assert "ml.m5.large" in refused.err
        assert "--accept-large-changes" in refused.err
        assert not prices_file.exists()
        assert run("refresh", "--use", "training", "--accept-large-changes").code == 0
        assert known_prices(prices_file).instance("ml.m5.large", "training", "us-east-1").usd == Decimal("0.2301")

    def test_the_loss_of_all_prices_of_a_use_waits_too(
        self, run: Callable[..., Ran], charge: Callable[..., None], prices_file: Path
    ) -> None:
        charge(*shipped_rows())
        refused = run("refresh")
        assert refused.code == 1
        assert "prices known for hosting in us-east-1 are gone" in refused.err
        assert not prices_file.exists()

    def test_other_regions_are_asked_for_and_kept_beside_each_other(
        self, run: Callable[..., Ran], charge: Callable[..., None], prices_file: Path
    ) -> None:
        charge("training,ml.g5.xlarge,1.69", "training,storage-gb-month,0.16", region="ap-south-1")
        assert run("refresh", "--region", "ap-south-1").code == 0
        charge("training,ml.g5.xlarge,1.57", region="eu-west-1")
        assert run("refresh", "--region", "eu-west-1").code == 0
        known = known_prices(prices_file)
        assert known.instance("ml.g5.xlarge", "training", "ap-south-1").usd == Decimal("1.69")
        assert known.storage_hour(672, "ap-south-1") == Decimal("0.16")
        assert known.instance("ml.g5.xlarge", "training", "eu-west-1").usd == Decimal("1.57")
        assert known.of("training", "us-east-1") == shipped_prices().of("training", "us-east-1")

    def test_a_region_there_is_not_is_refused(self, run: Callable[..., Ran], prices_file: Path) -> None:
        refused = run("refresh", "--region", "mars-1")
        assert refused.code == 1
        assert "has no price for mars-1: check its spelling" in refused.err
        assert not prices_file.exists()

    def test_a_throttle_is_waited_out(self, run: Callable[..., Ran], embedded: EmbeddedAws) -> None:
        embedded.control("POST", "faults", {"operation": "GetProducts", "error": "ThrottlingException", "count": 1})
        assert run("refresh", "--use", "ec2").code == 0

    def test_a_caller_who_may_not_is_told_which_permission_is_lacking(
        self, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, prices_file: Path
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
        refused = run("refresh")
        assert refused.code == 2
        assert "pricing:GetProducts" in refused.err
        assert not prices_file.exists()

    def test_without_credentials_it_says_what_to_set(
        self, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        refused = run("refresh")
        assert refused.code == 1
        assert "AWS_ACCESS_KEY_ID" in refused.err


class TestEquivalent:
    def test_both_costs_are_told(self, run: Callable[..., Ran]) -> None:
        told = run("equivalent", "gpu_8x_h100_sxm5")
        assert told.code == 0
        assert "$31.92 an hour" in told.out
        assert "ml.p5.48xlarge (8 × H100 80 GB)" in told.out
        assert "$63.296 an hour in us-east-1" in told.out

    def test_all_are_listed_without_a_type_and_an_unknown_one_is_refused(self, run: Callable[..., Ran]) -> None:
        assert "ml.g5.xlarge" in run("equivalent").out
        assert run("equivalent", "gpu_1x_z80").code == 1


def test_the_command_line_answers_in_a_process_of_its_own(embedded: EmbeddedAws) -> None:
    environment: dict[str, Any] = {**os.environ, **embedded.environment}
    words = [sys.executable, "-m", "trainmaster.cli", "prices", "show", "ml.m5.large", "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["prices"][0]["item"] == "ml.m5.large"
