"""How amounts of money are rounded and shown. Decimal US dollars in, never float."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from typing import Annotated

from pydantic import AfterValidator

CENT, MICRO = Decimal("0.01"), Decimal("0.000001")

Dollars = Annotated[
    Decimal, AfterValidator(lambda dollars: dollars.quantize(CENT) if dollars == dollars.quantize(CENT) else dollars)
]
"""An amount somebody typed: 1, 1.0 and "1.00" are one and the same, in names derived from it too."""


def rounded_up(dollars: Decimal) -> Decimal:
    """To whole cents, never less than the exact amount: for what may be spent."""
    return dollars.quantize(CENT, ROUND_UP)


def micro_up(dollars: Decimal) -> Decimal:
    """To millionths, never less than the exact amount: for what is reserved."""
    return dollars.quantize(MICRO, ROUND_UP)


def micro_down(dollars: Decimal) -> Decimal:
    """To millionths, never more than the exact amount: for what somebody agreed to."""
    return dollars.quantize(MICRO, ROUND_DOWN)


def rounded(dollars: Decimal) -> Decimal:
    """To millionths: for what was spent, since a short job costs less than a cent."""
    return dollars.quantize(MICRO, ROUND_HALF_UP)


def shown(dollars: Decimal, rounding: str = ROUND_HALF_UP) -> str:
    """For people: `$1,200.50`, `$0.12`, `$0.1208`, and below a cent `$0.000034`; never rounded to nothing. Below zero: `-$0.12`."""
    if not dollars:
        return "$0"
    size = abs(dollars)
    places = MICRO if size < CENT else Decimal("0.0001") if size < 1 and size != size.quantize(CENT) else CENT
    return f"{'-' if dollars < 0 else ''}${size.quantize(places, rounding):,}"


def shown_left(dollars: Decimal) -> str:
    """As `shown`, of what can still be spent: never more than there is."""
    return shown(dollars, ROUND_DOWN if dollars > 0 else ROUND_UP)
