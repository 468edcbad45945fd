"""What a fine-tuning can be told: every hyperparameter from strings, within bounds, in combinations that make sense; all problems at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.finetune.foreign_names import OURS
from model.finetune.hyperparameters import Hyperparameters, notes_of, problems_of, read_hyperparameters
from model.finetune.problems import BadInputError
from model.finetune.wanted import wanted

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf"


def test_the_defaults_are_right() -> None:
    assert problems_of({}) == []
    assert notes_of({}) == []


def test_every_default_is_within_its_own_bounds_also_as_a_string() -> None:
    said = Hyperparameters().model_dump(mode="json")
    assert read_hyperparameters(said) == Hyperparameters()
    written = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in said.items()
        if value is not None
    }
    assert read_hyperparameters(written) == Hyperparameters()


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("bf16", "true", True),
        ("packing", "false", False),
        ("learning_rate", "1e-4", 1e-4),
        ("num_epochs", "3", 3.0),
        ("batch_size", "8", 8),
        ("lora_target_modules", '["q_proj", "v_proj"]', ("q_proj", "v_proj")),
        ("lora_target_modules", "q_proj, v_proj", ("q_proj", "v_proj")),
        ("lora_target_modules", ["q_proj"], ("q_proj",)),
        ("max_steps", None, 0),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_comes_over_the_wire(name: str, given: Any, meant: Any) -> None:
    assert getattr(read_hyperparameters({name: given}), name) == meant


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_epochs", "0"), ("num_epochs", True), ("num_epochs", "three"), ("learning_rate", "nan"), ("learning_rate", 2),
        ("batch_size", 1.5), ("batch_size", ""), ("warmup_ratio", 1), ("lora_dropout", "inf"), ("seed", -1), ("seed", 2**32),
        ("training_method", "SFT"), ("quantization", 4), ("bf16", "perhaps"), ("max_length", 7), ("lora_target_modules", '["q_proj"'),
        ("lora_target_modules", [1]), ("model_name", 7), ("chat_template", "x" * 2401), ("hub_model_id", "no id"),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_told_with_what_the_hyperparameter_takes(name: str, value: Any) -> None:
    (said,) = problems_of({name: value})
    assert said.startswith(f"{name} is ")
    assert wanted(Hyperparameters, name) in said


def test_everything_that_is_wrong_is_told_at_once() -> None:
    said = problems_of(
        {"lr": 1, "lora_r": 0, "batch_size": "x", "training_method": "dpo", "packing": "true", "zebra": 1, "push_to_hub": True}
    )  # fmt: skip
    assert [each.split(" ")[0] for each in said] == [
        "'lr'", "'zebra'", "lora_r", "batch_size", "packing", "push_to_hub", "push_to_hub",
    ]  # fmt: skip
    with pytest.raises(BadInputError) as refused:
        read_hyperparameters({"lr": 1, "lora_r": 0})
    assert "'lr' is unknown" in str(refused.value)
    assert "lora_r is 0" in str(refused.value)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("epochs", "num_epochs"), ("lr", "learning_rate"), ("per_device_train_batch_size", "batch_size"), ("max_seq_length", "max_length"),
        ("target_modules", "lora_target_modules"), ("load_in_4bit", "quantization"), ("Learning-Rate", "learning_rate"),
        ("lora_rnak", "lora_r"), ("gradient_acumulation_steps", "gradient_accumulation_steps"), ("num_train_epoch", "num_epochs"),
        ("hub_token", "hub_token_secret_arn"), ("val_set_size", "validation_fraction"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_the_one_it_has_here(theirs: str, ours: str) -> None:
    (said,) = problems_of({theirs: 1})
    assert f"its name here is {ours}," in said


def test_a_name_of_two_words_that_are_both_given_is_to_be_left_out() -> None:
    assert problems_of({"epochs": 3, "num_epochs": 3}) == [
        "'epochs' is unknown; num_epochs, which is given as well, is its name here. Leave 'epochs' out."
    ]


def test_every_foreign_name_leads_to_a_hyperparameter_and_is_none_itself() -> None:
    assert set(OURS.values()) <= set(Hyperparameters.model_fields)
    assert set(OURS) & set(Hyperparameters.model_fields) == set()


def test_what_is_no_reference_to_a_secret_is_not_quoted_for_it_may_be_the_secret() -> None:
    said = problems_of({"hub_token_secret_arn": "something-very-secret", "hub_token": "also-very-secret"})
    assert len(said) == 2
    assert "very-secret" not in " ".join(said)
    for reference in (SECRET, "arn:aws:ssm:eu-west-1:123456789012:parameter/hub/token"):
        assert problems_of({"hub_token_secret_arn": reference}) == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"finetuning_type": "full", "quantization": "4bit"}, "quantization"),
        ({"finetuning_type": "qlora"}, "quantization '4bit'"),
        ({"training_method": "dpo", "packing": True}, "packing"),
        ({"training_method": "kto", "batch_size": 1}, "batch_size"),
        ({"training_method": "kto", "eval_batch_size": 3}, "eval_batch_size"),
        ({"quantization": "8bit", "use_dora": True}, "use_dora"),
        ({"training_method": "dpo", "preference_loss": "ipo", "label_smoothing": 0.1}, "label_smoothing"),
        ({"lora_target_modules": "all-linear,q_proj"}, "lora_target_modules"),
        ({"lora_target_modules": []}, "lora_target_modules"),
        ({"push_to_hub": True, "hub_token_secret_arn": SECRET}, "hub_model_id"),
        ({"push_to_hub": True, "hub_model_id": "me/mine"}, "hub_token_secret_arn"),
        ({"model_name": "s3://bucket/base/", "model_revision": "main"}, "model_revision"),
        ({"model_name": "two words"}, "model_name"),
        ({"model_name": "a/b/c"}, "model_name"),
        ({"bf16": False, "weights_dtype": "bfloat16"}, "weights_dtype"),
    ],
    ids=lambda given: ",".join(given) if isinstance(given, dict) else "",
)  # fmt: skip
def test_settings_that_exclude_each_other_are_refused_with_what_to_do(given: dict[str, Any], named: str) -> None:
    (said,) = problems_of(given)
    assert named in said


@pytest.mark.parametrize(
    "name", ["gpt2", "meta-llama/Llama-3.1-8B", "s3://bucket/models/base", "/opt/ml/base", "./base"]
)
def test_a_base_model_is_of_the_hub_or_in_s3_or_a_path(name: str) -> None:
    assert problems_of({"model_name": name}) == []


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({}, 2e-4), ({"finetuning_type": "full"}, 2e-5), ({"training_method": "dpo"}, 1e-5),
        ({"training_method": "kto", "finetuning_type": "full"}, 1e-6), ({"training_method": "dpo", "learning_rate": "3e-5"}, 3e-5),
    ],
    ids=["adapter", "all weights", "preferences", "preferences, all weights", "given"],
)  # fmt: skip
def test_without_a_learning_rate_there_is_one_that_fits_what_is_trained(given: dict[str, Any], rate: float) -> None:
    assert read_hyperparameters(given).learning_rate == rate


def test_weights_are_merged_of_a_quantised_base_model_too() -> None:
    assert read_hyperparameters({"quantization": "4bit"}).merge_weights is True
    assert read_hyperparameters({}).merge_weights is True


def test_what_changes_nothing_is_noted_and_not_refused() -> None:
    given = {"finetuning_type": "full", "lora_r": 8, "beta": 0.2, "training_method": "sft"}
    assert problems_of(given) == []
    assert notes_of(given) == ["lora_r is not used: all weights are trained.", "beta is not used by sft."]


def test_every_hyperparameter_says_what_it_is() -> None:
    assert [name for name, field in Hyperparameters.model_fields.items() if not field.description] == []
