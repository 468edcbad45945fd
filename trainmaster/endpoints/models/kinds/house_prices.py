"""Models that price houses, or anything else that is told by numbers under names."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from trainmaster.endpoints.models.code import SCIKIT_LEARN, Container
from trainmaster.endpoints.models.kinds.kind import Agreement, Example
from trainmaster.errors import DeploymentFailedError
from trainmaster.training.trainers import Framework

TOLERATED_DOLLARS = 1.0
TOLERATED_SHARE = 1e-4
"""Of the training's own prediction; the larger of the two is tolerated. Answers are whole dollars, and libraries round differently."""
SHOWN = 3
_METRICS_OF_SAGEMAKER = ("mae", "rmse", "r2", "mse")


class HousePrices:
    """Their cards list features with means; they answer `{"predicted_price": …}`."""

    name: str = "house-prices"
    framework: Framework = "scikit-learn"
    container: Container = SCIKIT_LEARN
    content_types: Sequence[str] = ("application/json", "text/csv")
    longest_milliseconds: float = 2000.0
    environment: Mapping[str, str] = MappingProxyType({})
    hosting: Mapping[str, int] = MappingProxyType({})
    trains_where_it_serves: bool = True
    wanted_examples: str = "inputs by feature with the predicted_price each had in training"

    def card_problem(self, card: Mapping[str, Any], names: Collection[str]) -> str | None:  # noqa: ARG002
        features = card.get("features")
        listed = (
            isinstance(features, dict)
            and bool(features)
            and all(isinstance(one, dict) and isinstance(one.get("mean"), int | float) for one in features.values())
        )
        return None if listed else "lists no features with their means"

    def sample(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Every feature at its mean over the training rows, rounded to a whole number."""
        return {name: round(feature["mean"]) for name, feature in card["features"].items()}

    def examples(self, card: Mapping[str, Any], said: Any) -> tuple[Example, ...] | None:
        listed = said.get("predictions") if isinstance(said, dict) else None
        if not isinstance(listed, list) or not all(_is_example(one, set(card["features"])) for one in listed):
            return None
        return tuple(Example(one["inputs"], one["predicted_price"]) for one in listed)

    def implausible(self, answer: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
        """A price far outside what the model was trained on is wrong."""
        price = answer.get("predicted_price")
        if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
            return "predicted_price is not a number"
        version = card.get("model_version")
        if version is not None and answer.get("model_version") != version:
            return f"model_version should be {version}"
        if "timestamp" in answer and not _is_moment(answer["timestamp"]):
            return "timestamp is no time of ISO 8601 with its zone"
        bounds = card.get("target", {})
        low, high = 0.0, float(bounds.get("max", math.inf)) * 3
        return None if low <= price <= high else f"predicted_price should lie between {low:.0f} and {high:.0f}"

    def agreement(self, subject: str, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> Agreement:
        """A dollar or a hundredth of a percent is tolerated."""
        off = [
            (abs(answer["predicted_price"] - example.answered), example, answer["predicted_price"])
            for example, answer in zip(examples, answers, strict=True)
        ]
        apart = [one for one in off if one[0] > tolerated(one[1].answered)]
        if apart:
            shown = "; ".join(
                f"{dict(example.inputs)} at ${price:,.0f}, in training ${example.answered:,.0f}"
                for _, example, price in apart[:SHOWN]
            )
            raise DeploymentFailedError(
                f"{subject} prices {len(apart)} of {len(off)} held-out houses otherwise than its training did: {shown}."
                f" ${TOLERATED_DOLLARS:.0f} or {TOLERATED_SHARE:.2%} is tolerated: what serves is not what was measured."
            )
        if not off:
            return Agreement(examples=0)
        furthest = max(one[0] for one in off)
        said = (
            f"{len(off)} held-out houses are priced as in training, at most ${furthest:,.2f} off"
            f" (${TOLERATED_DOLLARS:.0f} or {TOLERATED_SHARE:.2%} is tolerated)"
        )
        return Agreement(examples=len(off), furthest=furthest, said=said)

    def needed_gib(self, card: Mapping[str, Any], *, on_gpus: bool) -> float:  # noqa: ARG002
        return 0.0

    def uses(self, card: Mapping[str, Any]) -> str:
        ranges = [
            f"{name} from {one['accepted'][0]:g} to {one['accepted'][1]:g}"
            for name, one in card["features"].items()
            if isinstance(one.get("accepted"), list | tuple)
        ]
        target = card.get("target", {}).get("name", "the target")
        return f"Predicts {target} for {', '.join(ranges) or ', '.join(card['features'])}."

    def quality(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        known = {
            name: {"value": value, "standard_deviation": "NaN"}
            for name, value in sorted(metrics.items())
            if name in _METRICS_OF_SAGEMAKER
        }
        return {"regression_metrics": known}


def tolerated(predicted: float) -> float:
    """How many dollars an answer may be off what the training predicted."""
    return max(TOLERATED_DOLLARS, abs(predicted) * TOLERATED_SHARE)


def _is_example(one: Any, features: set[str]) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("inputs"), dict) or one["inputs"].keys() != features:
        return False
    return all(_is_number(value) for value in (*one["inputs"].values(), one.get("predicted_price")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
