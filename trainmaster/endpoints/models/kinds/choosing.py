"""Which kind a model is of, by its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainmaster.endpoints.models.kinds.house_prices import HousePrices
from trainmaster.endpoints.models.kinds.kind import Kind
from trainmaster.endpoints.models.kinds.language_model import LanguageModels
from trainmaster.errors import ModelRefusedError

HOUSE_PRICES: Kind = HousePrices()
LANGUAGE_MODEL: Kind = LanguageModels()
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (HOUSE_PRICES, LANGUAGE_MODEL)}


def kind_of(card: Mapping[str, Any]) -> Kind:
    """By the card's `kind`; one without is of house prices, which never had any. Raises ModelRefusedError."""
    name = card.get("kind", HOUSE_PRICES.name)
    if isinstance(name, str) and name in KINDS:
        return KINDS[name]
    raise ModelRefusedError(
        f"The model's card says it is of kind {name!r}, which nothing here can prove. Known are {', '.join(KINDS)}."
    )
