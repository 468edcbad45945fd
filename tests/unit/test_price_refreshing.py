"""A refresh says what it changes, doubts what is hard to believe, and keeps all of it or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.budget.prices import STORAGE, Price, PriceList, Use, prices_in
from trainmaster.budget.refreshing import LARGE_FACTOR, Refresh, keep
from trainmaster.errors import NotConfiguredError


def price(item: str, usd: str | Decimal, *, use: Use = "training", region: str = "us-east-1") -> Price:
    return Price(region, use, item, Decimal(usd), "2026-11-21", "a table")


def refresh(old: list[Price], new: list[Price]) -> Refresh:
    return Refresh.of("training", "us-east-1", PriceList(old), new)


def test_new_changed_and_gone_are_told_with_old_and_new() -> None:
    found = refresh(
        [price("a", "1"), price("b", "2"), price("c", "3")], [price("b", "2.5"), price("c", "3.00"), price("d", "4")]
    )
    assert [str(change).split() for change in found.changes] == [
        ["gone", "a", "was", "$1"], ["changed", "b", "$2", "→", "$2.5"], ["new", "d", "$4"],
    ]  # fmt: skip
    assert found.doubts == []


@given(
    old=st.decimals("0.01", "100", places=4),
    factor=st.decimals("0.01", "100", places=4),
)
def test_a_price_that_more_than_doubles_or_halves_is_doubted_and_no_other(old: Decimal, factor: Decimal) -> None:
    doubted = bool(refresh([price("a", old)], [price("a", old * factor)]).doubts)
    assert doubted == (factor > LARGE_FACTOR or factor * LARGE_FACTOR < 1)


def test_the_loss_of_most_types_is_doubted_and_that_of_a_few_is_not() -> None:
    old = [price(f"t{n}", "1") for n in range(10)]
    assert refresh(old, old[5:]).doubts == []
    assert refresh(old, old[6:]).doubts == ["6 of the 10 prices known for training in us-east-1 are gone"]


def test_the_loss_of_the_volumes_price_is_doubted_for_nothing_could_be_trained() -> None:
    kept = [price(f"t{n}", "1") for n in range(10)]
    assert [doubt.split()[:2] for doubt in refresh([*kept, price(STORAGE, "0.14")], kept).doubts] == [["gone", STORAGE]]


def test_a_first_refresh_of_a_region_is_believed() -> None:
    assert refresh([], [price("a", "99")]).doubts == []


def test_what_is_kept_replaces_the_same_use_and_region_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "prices.csv"
    hosting = price("a", "9", use="hosting")
    keep(
        file,
        [refresh([], [price("a", "1"), price("b", "1")]), Refresh.of("hosting", "us-east-1", PriceList([]), [hosting])],
    )
    keep(file, [refresh([], [price("b", "2")])])
    assert set(prices_in(file)) == {hosting, price("b", "2")}
    assert sorted(path.name for path in file.parent.iterdir()) == [".prices.csv.lock", "prices.csv"]


def keep_one(file: Path, region: str) -> None:
    keep(file, [Refresh.of("training", region, PriceList([]), [price("a", "1", region=region)])])


def test_refreshes_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    file, regions = tmp_path / "prices.csv", [f"region-{n}" for n in range(32)]
    with ThreadPoolExecutor(8) as pool:  # each opens the lock anew, as processes do
        list(pool.map(keep_one, [file] * len(regions), regions))
    assert {price.region for price in prices_in(file)} == set(regions)


def test_a_broken_file_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("what somebody wrote by hand")
    with pytest.raises(NotConfiguredError, match="cannot be read"):
        keep_one(file, "us-east-1")
    assert file.read_text() == "what somebody wrote by hand"


def test_a_place_that_cannot_be_written_is_said_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotConfiguredError, match="TRAINMASTER_PRICES_FILE"):
        keep_one(tmp_path / "file" / "prices.csv", "us-east-1")
