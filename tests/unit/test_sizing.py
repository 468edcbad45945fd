"""How much GPU memory a model takes is read from its name and how it is trained; what cannot be read is not guessed."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.budget.prices import shipped_prices
from trainmaster.training.memory import setup_of
from trainmaster.training.shapes import parameters_of
from trainmaster.training.sizing import MemoryNeed, can_hold, gpu_memory_gb, memory_need


def need_of(name: str, **settings: Any) -> MemoryNeed:
    need = memory_need({"model_name": name, "training_method": "sft", "batch_size": 1, **settings})
    assert need
    return need


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8), ("Qwen/Qwen2.5-0.5B", 0.5), ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("HuggingFaceTB/SmolLM2-135M", 0.135), ("mistralai/Mixtral-8x7B-v0.1", 56), ("EleutherAI/pythia-1.4b", 1.4),
        ("facebook/opt_13b", 13), ("Qwen/Qwen3-30B-A3B", 30), ("openai-community/gpt2-xl", 1.558), ("gpt2", 0.124),
        ("google/gemma-2-27b-it/", 27),
        ("meta-llama/Llama-4-Scout-17B-16E", None), ("my-model", None), ("bert-base", None), ("model-v2", None), ("", None),
    ],
)  # fmt: skip
def test_the_size_is_read_from_the_name(model: str, billions: float | None) -> None:
    assert parameters_of(model) == billions


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_length", "nan"), ("batch_size", "inf"), ("batch_size", 1e400), ("lora_r", 10**400), ("num_epochs", "nan")],
    ids=["length no number", "batch endless", "batch endless number", "rank too long", "epochs no number"],
)
def test_a_number_that_is_none_is_as_if_it_were_not_said(name: str, value: Any) -> None:
    assert need_of("llama-7b", batch_size=4) == need_of("llama-7b", **{"batch_size": 4, name: value})


def test_what_nobody_has_is_estimated_all_the_same() -> None:
    assert not need_of("llama-7b", batch_size=1e200, max_length=1e200).fits("ml.p5.48xlarge", 1)
    assert parameters_of(f"our-{'9' * 400}x7b") is parameters_of(f"our-{'9' * 400}b") is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "full"), ({"epochs": 3, "learning-rate": 1e-4}, "full"), ({"use_lora": False}, "full"), ({"lora_r": 0}, "full"),
        ({"lora_r": 16}, "lora"), ({"method": "LoRA"}, "lora"), ({"use_peft": "true"}, "lora"), ({"peft_type": "lora"}, "lora"),
        ({"load_in_8bit": True, "lora_r": 8}, "lora on 8 bits"), ({"quantization": "int8"}, "lora on 8 bits"),
        ({"method": "qlora"}, "lora on 4 bits"), ({"load_in_4bit": "True"}, "lora on 4 bits"),
        ({"quantization": "nf4"}, "lora on 4 bits"), ({"quantization": "none", "bits": 16}, "full"),
    ],
)  # fmt: skip
def test_the_method_is_read_from_the_hyperparameters(settings: dict[str, Any], said: str) -> None:
    setup = setup_of(settings)
    assert setup.sentence() == ("all its parameters" if said == "full" else said.replace("lora", "LoRA"))


def test_batches_sequences_and_optimizer_are_read_by_the_names_of_usual_trainers() -> None:
    setup = setup_of({
        "training_method": "dpo", "per_device_train_batch_size": "2", "max_seq_length": 4096, "gradient_checkpointing": "false",
        "optim": "paged_adamw_8bit", "lora": {"r": 64}, "num_train_epochs": 2, "packing": True,
    })  # fmt: skip
    assert (setup.method, setup.batch_size, setup.max_length, setup.checkpointing) == ("dpo", 2, 4096, False)
    assert (setup.optimizer, setup.rank, setup.epochs, setup.packing) == ("paged_adamw_8bit", 64, 2, True)
    assert setup_of({"training_method": "sft"}).trained == "lora"  # as our own trainer has it
    assert setup_of({"training_method": "sft", "finetuning_type": "full"}).trained == "full"
    assert setup_of({"batch_size": "many", "max_length": ""}).batch_size == 4


def test_nested_hyperparameters_count_too_however_they_are_spelt() -> None:
    need = memory_need({"model": {"name": "Llama-2-7b"}, "LoRA": {"r": 16}})
    assert need
    assert (need.model, need.shape.parameters, need.setup.trained) == ("Llama-2-7b", 7e9, "lora")
    need = memory_need({"base-model": "Llama-2-7b", "lora": {"enabled": False, "r": 16}})
    assert need
    assert need.setup.trained == "full"


def test_what_does_not_tell_its_size_is_not_guessed() -> None:
    assert memory_need({}) is None
    assert memory_need({"base_model": "our-own", "lora_r": 8}) is None
    assert memory_need({"base_model": "our-own", "model_name": "opt-1.3b"}) is not None


@pytest.mark.parametrize(
    ("need", "holds", "does_not"),
    [
        (need_of("llama-2-7b", quantization="4bit", max_length=512), "ml.g4dn.xlarge", "ml.m5.24xlarge"),
        (need_of("llama-2-7b"), "ml.g5.xlarge", "ml.g4dn.xlarge"),
        (need_of("llama-2-7b", finetuning_type="full"), "ml.g5.48xlarge", "ml.g5.12xlarge"),
        (need_of("llama-2-70b", quantization="4bit"), "ml.p5.4xlarge", "ml.g6e.xlarge"),
        (need_of("qwen2.5-0.5b", finetuning_type="full"), "ml.g4dn.xlarge", "ml.c5.large"),
    ],
    ids=["QLoRA 7B", "LoRA 7B", "full 7B", "QLoRA 70B", "full 0.5B"],
)
def test_models_people_know_land_where_people_know_them_to_fit(need: MemoryNeed, holds: str, does_not: str) -> None:
    assert need.fits(holds, 1)
    assert not need.fits(does_not, 1)


def test_several_instances_share_a_model_that_is_not_quantised() -> None:
    need = need_of("llama-2-7b", finetuning_type="full")
    assert (need.fits("ml.g5.12xlarge", 1), need.fits("ml.g5.12xlarge", 2)) == (False, True)
    quantised = need_of("llama-2-70b", quantization="4bit")
    assert not quantised.fits("ml.g5.48xlarge", 8)  # 192 GB each, and 24 on each GPU


def test_the_sentence_says_what_it_takes_of_each_gpu_and_what_fits_at_what_price() -> None:
    need = need_of("llama-2-13b", batch_size=4)
    assert need.sentence("ml.g5.xlarge", 1) == (
        "Training llama-2-13b (13 billion parameters, LoRA, batches of 4 × 2048 tokens) is estimated to take 38 GB of each GPU;"
        " 1 × ml.g5.xlarge has 24 GB on each"
    )
    assert need.sentence("ml.m5.large", 2).endswith("needs a GPU, and 2 × ml.m5.large has none")
    said = need.suggestion(shipped_prices(), "us-east-1", 1)
    assert said.startswith("It fits ml.g6e.xlarge ($2.62 an hour), ")
    assert "no type of known price" in need_of("llama-3.1-405b", finetuning_type="full").suggestion(
        shipped_prices(), "us-east-1", 1
    )


def test_of_unknown_size_no_type_with_less_gpu_memory_is_as_good() -> None:
    assert can_hold(None, "ml.g5.xlarge", "ml.g6.xlarge", 1)
    assert not can_hold(None, "ml.g5.xlarge", "ml.g4dn.xlarge", 1)
    assert can_hold(None, "ml.m5.large", "ml.c5.xlarge", 1)
    assert gpu_memory_gb("ml.never.heard") == 0
    assert not need_of("llama-2-7b").fits("ml.never.heard", 1)
