"""How much GPU memory a model takes is read from its name and how it is trained; what cannot be read is not guessed."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.training.sizing import MemoryNeed, can_hold, gpu_memory_gb, memory_need, method_of, parameters_of


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
    ("settings", "method"),
    [
        ({}, "full"), ({"epochs": 3, "learning-rate": 1e-4}, "full"), ({"use_lora": False}, "full"), ({"lora_r": 0}, "full"),
        ({"lora_r": 16}, "lora"), ({"method": "LoRA"}, "lora"), ({"use_peft": "true"}, "lora"), ({"peft_type": "lora"}, "lora"),
        ({"load_in_8bit": True, "lora_r": 8}, "lora on 8 bits"), ({"quantization": "int8"}, "lora on 8 bits"),
        ({"method": "qlora"}, "lora on 4 bits"), ({"load_in_4bit": "True"}, "lora on 4 bits"),
        ({"quantization": "nf4"}, "lora on 4 bits"), ({"quantization": "none", "bits": 16}, "full"),
    ],
)  # fmt: skip
def test_the_method_is_read_from_the_hyperparameters(settings: dict[str, Any], method: str) -> None:
    assert method_of(settings) == method


def test_nested_hyperparameters_count_too_however_they_are_spelt() -> None:
    need = memory_need({"model": {"name": "Llama-2-7b"}, "LoRA": {"r": 16}})
    assert (need and need.model, need and need.billions, need and need.method) == ("Llama-2-7b", 7, "lora")
    need = memory_need({"base-model": "Llama-2-7b", "lora": {"enabled": False, "r": 16}})
    assert need
    assert need.method == "full"


def test_what_does_not_tell_its_size_is_not_guessed() -> None:
    assert memory_need({}) is None
    assert memory_need({"base_model": "our-own", "lora_r": 8}) is None
    assert memory_need({"base_model": "our-own", "model_name": "opt-1.3b"}) is not None


@pytest.mark.parametrize(
    ("need", "holds", "does_not"),
    [
        (MemoryNeed("m", 7, "lora on 4 bits"), "ml.g4dn.xlarge", "ml.m5.24xlarge"),
        (MemoryNeed("m", 7, "lora"), "ml.g5.xlarge", "ml.g4dn.xlarge"),
        (MemoryNeed("m", 7, "full"), "ml.g5.48xlarge", "ml.g5.12xlarge"),
        (MemoryNeed("m", 70, "lora on 4 bits"), "ml.p5.4xlarge", "ml.g6e.xlarge"),
        (MemoryNeed("m", 0.5, "full"), "ml.g4dn.xlarge", "ml.c5.large"),
    ],
)  # fmt: skip
def test_models_people_know_land_where_people_know_them_to_fit(need: MemoryNeed, holds: str, does_not: str) -> None:
    assert need.fits(holds, 1)
    assert not need.fits(does_not, 1)


def test_the_formula_is_the_one_that_is_documented() -> None:
    assert MemoryNeed("m", 7, "full").gigabytes == pytest.approx(1.2 * 7 * 16 + 1.5)
    assert MemoryNeed("m", 7, "lora").gigabytes == pytest.approx(1.2 * 7 * 2.16 + 1.5)
    assert "is estimated to take 20 GB of GPU memory" in MemoryNeed("m", 7, "lora").sentence()


def test_several_instances_share_a_model() -> None:
    need = MemoryNeed("m", 7, "full")
    assert (need.fits("ml.g5.12xlarge", 1), need.fits("ml.g5.12xlarge", 2)) == (False, True)


def test_of_unknown_size_no_type_with_less_gpu_memory_is_as_good() -> None:
    assert can_hold(None, "ml.g5.xlarge", "ml.g6.xlarge", 1)
    assert not can_hold(None, "ml.g5.xlarge", "ml.g4dn.xlarge", 1)
    assert can_hold(None, "ml.m5.large", "ml.c5.xlarge", 1)
    assert gpu_memory_gb("ml.never.heard") == 0
