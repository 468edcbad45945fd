"""A language model is deployed where its weights fit, believed when it answers as in training, and is asked by its own endpoint alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest

from trainmaster.budget.prices import shipped_prices
from trainmaster.endpoints.api.plan import accepted_ranges
from trainmaster.endpoints.desired import ChosenModels, Place, desired_endpoint
from trainmaster.endpoints.models.code import HUGGING_FACE, problems_of
from trainmaster.endpoints.models.fitting import require_fitting
from trainmaster.endpoints.models.kinds.choosing import HOUSE_PRICES, LANGUAGE_MODEL, kind_of
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.smoke import smoke_test
from trainmaster.endpoints.models.version_card import Training, card_of, properties_of, quality_of
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import listed
from trainmaster.errors import DeploymentFailedError, ModelRefusedError
from trainmaster.training.image import serving_image_uri

REGION = "us-east-1"
ASKED = {"messages": [{"role": "user", "content": "Colour?"}], "parameters": {"max_new_tokens": 48}}
CARD: dict[str, Any] = {
    "kind": "language-model", "model_version": "job-1", "algorithm": "supervised fine-tuning (LoRA) of org/base",
    "parameters": 500_000_000, "base_model": {"name": "org/base", "revision": ""}, "example": ASKED,
    "data": [{"channel": "training", "file": "part.jsonl", "sha256": "ab" * 32, "rows": 80}],
    "rows": {"training": 80, "validation": 0, "total": 80},
}  # fmt: skip
MERGED = {"config.json", "model.safetensors", "code/inference.py"}
ADAPTER = {"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "code/inference.py"}
ANSWER = {
    "generated_text": "It is blue.", "model_version": "job-1", "finish_reason": "stop",
    "usage": {"prompt_tokens": 5, "completion_tokens": 4},
}  # fmt: skip


def package(*, answers: list[dict[str, Any]] | None = None, **changed: Any) -> ModelPackage:
    card = {**CARD, **changed}
    examples = LANGUAGE_MODEL.examples(card, {"answers": answers or []})
    assert examples is not None
    return ModelPackage("s3://bucket/model.tar.gz", "0" * 64, 1, card, examples)


def answered(text: str, certain: str, *, whole: bool = False) -> dict[str, Any]:
    return {"request": ASKED, "generated_text": text, "certain_text": certain, "whole": whole}


class Runtime:
    """Answers every request the same, as SageMaker's runtime does."""

    def __init__(self, **changed: Any) -> None:
        self.answer = {**ANSWER, **changed}

    def invoke_endpoint(self, **_: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(json.dumps(self.answer).encode())}


def proof(model: ModelPackage, **changed: Any) -> Any:
    return smoke_test(Runtime(**changed), "llm", model)  # type: ignore[arg-type]


def test_a_card_says_its_kind_and_one_that_says_none_is_of_houses() -> None:
    assert kind_of(CARD) is LANGUAGE_MODEL
    assert kind_of({"features": {}}) is HOUSE_PRICES
    with pytest.raises(ModelRefusedError, match="kind 7, which nothing here can prove"):
        kind_of({"kind": 7})


INCOMPLETE: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "no example": ({"example": "Hello"}, MERGED, "no example of a request"),
    "no version": ({"model_version": ""}, MERGED, "no model_version"),
    "no size": ({"parameters": True}, MERGED, "how many parameters"),
    "no weights": ({}, {"config.json", "code/inference.py"}, "neither model.safetensors"),
    "weights without what they are of": ({}, {"model.safetensors"}, "neither model.safetensors"),
    "an adapter of what only the job had": (
        {"base_model": {"name": "s3://bucket/base/"}}, ADAPTER, "which no endpoint can load from the Hub: train with merge_weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "names", "said"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_what_cannot_be_served_or_asked_is_told(changed: dict[str, Any], names: set[str], said: str) -> None:
    assert said in str(LANGUAGE_MODEL.card_problem({**CARD, **changed}, names))


@pytest.mark.parametrize("names", [MERGED, ADAPTER], ids=["merged", "adapter"])
def test_merged_weights_and_an_adapter_of_a_model_of_the_hub_can_be_served(names: set[str]) -> None:
    assert LANGUAGE_MODEL.card_problem(CARD, names) is None


def test_an_endpoint_agrees_as_far_as_the_training_was_certain() -> None:
    told = [answered("It is blue.", "It is blue.", whole=True), answered("It is green.", "It is ")]
    agreement = proof(package(answers=told)).agreement
    assert agreement.examples == 2
    assert agreement.sentence() == (
        "2 prompts are answered as in training, 1 of them to the last token; 17 characters were certain there"
    )


@pytest.mark.parametrize(
    "told",
    [
        answered("It is blue", "It is blue", whole=True),
        answered("It was blue.", "It was"),
        answered("It is blue. Indeed.", "It is blue. I"),
    ],
    ids=["goes on", "another word", "stops early"],
)
def test_a_model_that_answers_otherwise_where_its_training_was_certain_is_not_trusted(told: dict[str, Any]) -> None:
    with pytest.raises(
        DeploymentFailedError,
        match=r"answers 1 of 2 prompts otherwise than its training did: 'Colour\?' by 'It is blue.'",
    ):
        proof(package(answers=[answered("It is blue.", "It"), told]))


def test_where_nothing_was_certain_the_proof_says_that_nothing_was_compared() -> None:
    assert (
        proof(package(answers=[answered("Perhaps.", "")])).agreement.sentence().startswith("not checked: its training")
    )
    assert proof(package()).agreement.sentence().startswith("not checked: the artifact has no examples")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"generated_text": None}, "generated_text is no text"),
    "another version": ({"model_version": "job-2"}, "model_version should be job-1"),
    "no end": ({"finish_reason": ""}, "finish_reason should be one of stop, length, time"),
    "no counts": ({"usage": {"prompt_tokens": 5}}, "usage does not count"),
}


@pytest.mark.parametrize(("changed", "said"), WRONG.values(), ids=WRONG)
def test_an_answer_of_another_form_or_model_is_not_trusted(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentFailedError, match=said):
        proof(package(), **changed)


def test_examples_that_cannot_be_asked_are_none() -> None:
    assert LANGUAGE_MODEL.examples(CARD, {"answers": [answered("blue", "green")]}) is None
    assert LANGUAGE_MODEL.examples(CARD, []) is None


def fits(model: ModelPackage, **choices: Any) -> None:
    request = EndpointRequest(model_uri="s3://bucket/model.tar.gz", endpoint_name="llm", **choices)
    require_fitting([model], request, shipped_prices(), REGION)


def test_weights_larger_than_an_instance_are_refused_with_types_that_hold_them() -> None:
    fits(package(), instance_type="ml.m5.large")
    large = package(parameters=7_000_000_000)
    fits(large, instance_type="ml.g5.xlarge")
    with pytest.raises(
        ModelRefusedError,
        match=r"needs about 32\.3 GiB to be served, and ml\.m5\.large has 8 GiB\. Choose ml\.\S+, .*ml\.g",
    ):
        fits(large, instance_type="ml.m5.large")
    with pytest.raises(
        ModelRefusedError, match=r"about 157\.5 GiB .* and ml\.g5\.xlarge has 1 × A10G 24 GB on its GPUs"
    ):
        fits(package(parameters=70_000_000_000), instance_type="ml.g5.xlarge")
    with pytest.raises(ModelRefusedError, match="chips that AWS's container for it does not use"):
        fits(package(), instance_type="ml.inf2.xlarge")
    with pytest.raises(ModelRefusedError, match="a serverless place has 2,048 MB"):
        fits(package(), serverless={"memory_mb": 2048})


def test_an_endpoint_serves_models_of_one_kind() -> None:
    houses = ModelPackage("s3://bucket/houses.tar.gz", "1" * 64, 1, {"features": {"sqft": {"mean": 1}}})
    request = EndpointRequest(model_uri="s3://bucket/model.tar.gz", endpoint_name="llm")
    with pytest.raises(ModelRefusedError, match=r"houses\.tar\.gz is a house-prices and .* a language-model"):
        require_fitting([package(), houses], request, shipped_prices(), REGION)


@pytest.mark.parametrize(
    ("instance_type", "tag"),
    [
        ("ml.m5.large", "2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04"),
        ("ml.g5.xlarge", "2.6.0-transformers4.51.3-gpu-py312-cu124-ubuntu22.04"),
    ],
)
def test_the_container_that_serves_follows_from_kind_and_instance(instance_type: str, tag: str) -> None:
    uri = serving_image_uri(LANGUAGE_MODEL.framework, REGION, instance_type)
    assert uri.endswith(f"/huggingface-pytorch-inference:{tag}")
    assert "sagemaker-scikit-learn" in serving_image_uri(HOUSE_PRICES.framework, REGION, instance_type)


def made(model: ModelPackage, **choices: Any) -> Mapping[str, Any]:
    request = EndpointRequest(model_uri=model.uri, endpoint_name="llm", max_hourly_cost=Decimal(5), **choices)
    place = Place("image", "arn:aws:iam::123456789012:role/r", REGION)
    desired = desired_endpoint(request, ChosenModels(model), place, shipped_prices())
    return {**desired.config["ProductionVariants"][0], **desired.model["PrimaryContainer"]["Environment"]}


def test_a_container_has_time_to_load_and_one_worker_to_load_in() -> None:
    told = made(package())
    assert told["ContainerStartupHealthCheckTimeoutInSeconds"] == 1800
    assert told["SAGEMAKER_MODEL_SERVER_WORKERS"] == "1"
    assert "ContainerStartupHealthCheckTimeoutInSeconds" not in made(package(), serverless={"memory_mb": 6144})
    houses = made(ModelPackage("s3://bucket/houses.tar.gz", "1" * 64, 1, {"features": {"sqft": {"mean": 1}}}))
    assert not {"ContainerStartupHealthCheckTimeoutInSeconds", "SAGEMAKER_MODEL_SERVER_WORKERS"} & houses.keys()


def test_the_public_api_and_predict_are_for_houses_alone_and_say_so() -> None:
    with pytest.raises(ModelRefusedError, match="is a language-model: the public API and POST /predict price houses"):
        accepted_ranges(CARD, "s3://bucket/model.tar.gz")


def test_the_registry_is_told_of_losses_and_of_the_data() -> None:
    training = Training(
        "arn:aws:sagemaker:us-east-1:123456789012:training-job/job-1", "image", {"loss": 0.25, "train:loss": 0.2}
    )
    said = json.loads(card_of(package(), training))
    assert said["intended_uses"]["intended_uses"].startswith("Answers conversations")
    assert said["training_details"]["training_job_details"]["training_datasets"] == [f"part.jsonl, SHA-256 {'ab' * 32}"]
    assert properties_of(package(), training)["metric:train:loss"] == "0.2"
    assert json.loads(quality_of(package(), training))["text_generation_metrics"]["loss"] == {"value": 0.25}


def test_the_code_that_a_fine_tuning_job_packs_starts_in_its_container() -> None:
    code = {"code/inference.py": files("model").joinpath("finetune/inference.py").read_bytes()}
    assert problems_of(set(code), code, HUGGING_FACE) == []
    assert problems_of(set(code), code) != []


def test_what_was_asked_is_shown_as_it_was_sent() -> None:
    assert listed(ASKED) == 'messages [{"role": "user", "content": "Colour?"}], parameters {"max_new_tokens": 48}'
