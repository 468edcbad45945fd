"""An endpoint is trusted when its answers have the right form, lie in the right range, come in time, and agree with its training."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from trainmaster.endpoints.models.kinds.choosing import HOUSE_PRICES
from trainmaster.endpoints.models.kinds.house_prices import tolerated
from trainmaster.endpoints.models.kinds.kind import Example
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.smoke import PROOF_ID, SmokeTest, smoke_test
from trainmaster.errors import DeploymentFailedError

CARD = {
    "model_version": "v3",
    "features": {"sqft": {"mean": 1800.4}, "bedrooms": {"mean": 3.2}},
    "target": {"max": 900_000},
}
Model = Callable[[Mapping[str, float]], Any]


class Runtime:
    """Answers as SageMaker's runtime does, by a function instead of a container; `asked` are the requests it got."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.asked: list[dict[str, Any]] = []

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return {"Body": io.BytesIO(json.dumps(self._model(json.loads(request["Body"]))).encode())}


def dollars(house: Mapping[str, float]) -> float:
    return 200 * house["sqft"] + 10_000 * house["bedrooms"]


def offline(*sqft: float) -> ModelPackage:
    """A model whose training predicted `dollars` for houses of these sizes."""
    houses = [{"sqft": size, "bedrooms": 3.0} for size in sqft]
    return ModelPackage(
        "s3://bucket/model.tar.gz", "0" * 64, 1, CARD, tuple(Example(one, dollars(one)) for one in houses)
    )


def answering(price: Callable[[Mapping[str, float]], Any], **more: Any) -> Model:
    return lambda house: {"predicted_price": price(house), "model_version": "v3", **more}


def proof(model: Model, package: ModelPackage, **how: Any) -> SmokeTest:
    return smoke_test(Runtime(model), "houses", package, **how)  # type: ignore[arg-type]


def test_every_example_is_asked_for_and_held_against_its_training() -> None:
    runtime = Runtime(answering(lambda house: round(dollars(house) + 0.4)))
    package = offline(900, 1800.5, 3000)
    found = smoke_test(runtime, "houses", package)  # type: ignore[arg-type]
    asked = [json.loads(request["Body"]) for request in runtime.asked]
    assert asked == [{"sqft": 1800, "bedrooms": 3}] * 3 + [dict(example.inputs) for example in package.smoke]
    assert {request["InferenceId"] for request in runtime.asked} == {PROOF_ID}
    assert found.agreement.examples == 3
    assert found.agreement.furthest <= 1
    assert found.agreement.sentence().startswith("3 held-out houses are priced as in training, at most $")
    assert len(found.milliseconds) == 6


def test_a_model_that_answers_well_but_otherwise_than_in_training_is_not_trusted() -> None:
    doubled = answering(lambda house: 2 * dollars(house) if house["sqft"] > 2000 else dollars(house))
    with pytest.raises(
        DeploymentFailedError, match=r"prices 1 of 3 held-out houses otherwise .* at \$1,260,000, in training \$630,000"
    ):
        proof(doubled, offline(900, 1800, 3000))


@pytest.mark.parametrize(("predicted", "may_be_off"), [(900.0, 1.0), (10_000.0, 1.0), (450_000.0, 45.0)])
def test_a_dollar_or_a_hundredth_of_a_percent_is_tolerated(predicted: float, may_be_off: float) -> None:
    assert tolerated(predicted) == pytest.approx(may_be_off)


@pytest.mark.parametrize("off", [29.9, 30.1])
def test_what_is_off_by_more_than_is_tolerated_is_refused(off: float) -> None:
    house = offline(1350)  # $300,000
    model = answering(lambda asked: dollars(asked) + off)
    if off < 30:
        assert proof(model, house).agreement.furthest == pytest.approx(off)
        return
    with pytest.raises(DeploymentFailedError, match="otherwise than its training did"):
        proof(model, house)


def test_an_artifact_without_examples_is_proven_by_form_and_range_and_says_so() -> None:
    found = proof(answering(dollars), offline())
    assert found.agreement.examples == 0
    assert found.agreement.sentence().startswith("not checked: the artifact has no smoke_test.json")


def test_one_variant_is_asked_by_its_name() -> None:
    runtime = Runtime(answering(dollars))
    smoke_test(runtime, "houses", offline(900), variant="challenger")  # type: ignore[arg-type]
    assert {request["TargetVariant"] for request in runtime.asked} == {"challenger"}
    with pytest.raises(DeploymentFailedError, match=r"^Variant challenger of endpoint houses was asked"):
        proof(answering(lambda _: -1), offline(), variant="challenger")


def test_a_model_that_takes_too_long_for_half_of_its_answers_is_not_trusted() -> None:
    def slowly(house: Mapping[str, float]) -> float:
        time.sleep(0.02)
        return dollars(house)

    with pytest.raises(DeploymentFailedError, match="for half of 3 answers or longer; at most 10 ms are accepted"):
        proof(answering(slowly), offline(), longest_milliseconds=10)


WRONG = {
    "no price": ({"model_version": "v3"}, "not a number"),
    "a price in words": ({"predicted_price": "much", "model_version": "v3"}, "not a number"),
    "yes": ({"predicted_price": True, "model_version": "v3"}, "not a number"),
    "infinity": ({"predicted_price": float("inf"), "model_version": "v3"}, "not a number"),
    "less than nothing": ({"predicted_price": -1, "model_version": "v3"}, "should lie between 0 and 2700000"),
    "more than houses cost": ({"predicted_price": 2_700_001, "model_version": "v3"}, "should lie between"),
    "another model": ({"predicted_price": 1, "model_version": "v2"}, "model_version should be v3"),
    "a time that is none": ({"predicted_price": 1, "model_version": "v3", "timestamp": "noon"}, "timestamp is no time"),
    "a time without its zone": (
        {"predicted_price": 1, "model_version": "v3", "timestamp": "2026-11-21T12:00:00"},
        "timestamp is no time",
    ),
}


@pytest.mark.parametrize(("answer", "said"), WRONG.values(), ids=WRONG)
def test_an_answer_that_is_no_prediction_of_this_model_is_called_so(answer: dict[str, Any], said: str) -> None:
    assert said in str(HOUSE_PRICES.implausible(answer, CARD))


def test_an_answer_as_the_model_gives_it_is_plausible() -> None:
    answer = {"predicted_price": 425_000, "model_version": "v3", "timestamp": "2026-11-21T12:00:00.000Z"}
    assert HOUSE_PRICES.implausible(answer, CARD) is None
