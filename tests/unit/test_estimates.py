"""An estimate of memory and time is near what others have measured, and says which machines fit, for how long and how much."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.budget.hardware import Hardware, hardware_of
from trainmaster.budget.prices import PriceList, shipped_prices
from trainmaster.training.estimate import (
    Choice,
    Market,
    data_of,
    estimate,
    instances_needed,
    together,
)
from trainmaster.training.memory import Setup, fits, memory
from trainmaster.training.shapes import Shape, shape_of_config, shape_of_size
from trainmaster.training.speed import Data, batch_seconds, seconds

QWEN = {
    1.8: Shape(1.84e9, 2048, 24, 5504, 2048, 151_936),
    7: Shape(7.72e9, 4096, 32, 11_008, 4096, 151_936),
    14: Shape(14.2e9, 5120, 40, 13_696, 5120, 152_064),
    72: Shape(72.3e9, 8192, 80, 24_576, 8192, 152_064),
}
LLAMA_7 = Shape(6.74e9, 4096, 32, 11_008, 4096, 32_000)
LLAMA_13 = Shape(13.0e9, 5120, 40, 13_824, 5120, 32_000)
LLAMA_8 = Shape(8.03e9, 4096, 32, 14_336, 1024, 128_256)
LORA = Setup(rank=64, batch_size=1)
QLORA = replace(LORA, bits="4bit")
FULL = Setup(trained="full", batch_size=1)
OF_QWEN = {  # README, "Profiling of Memory and Speed": A100 80 GB, batches of 1, 8 of them a step; GB and seconds by length
    ("LoRA", 1.8): (LORA, {1024: (8.4, 1.1), 2048: (11.0, 1.7), 4096: (16.2, 3.3), 8192: (21.8, 6.8)}),
    ("LoRA", 7): (LORA, {1024: (21.5, 2.8), 2048: (23.8, 5.2), 4096: (29.7, 10.1), 8192: (36.6, 21.3)}),
    ("LoRA", 14): (LORA, {1024: (35.3, 4.4), 2048: (37.4, 8.4), 4096: (42.5, 17.0), 8192: (55.2, 36.0)}),
    ("QLoRA", 7): (QLORA, {1024: (12.3, 3.5), 2048: (13.9, 7.0), 4096: (16.9, 11.6), 8192: (23.5, 22.3)}),
    ("QLoRA", 14): (QLORA, {1024: (18.9, 8.2), 2048: (19.9, 11.8), 4096: (23.0, 20.1), 8192: (27.9, 38.3)}),
    ("QLoRA", 72): (QLORA, {1024: (62.9, 41.4), 2048: (64.1, 59.5), 4096: (68.0, 97.7), 8192: (75.6, 179.8)}),
}  # fmt: skip
QWEN_ROWS = [(how, size, length) for (how, size), (_, rows) in OF_QWEN.items() for length in rows]
MEASURED = {  # elsewhere: shape, setup, GPUs, GB of each
    "Qwen, full 7B on two": (QWEN[7], replace(FULL, max_length=512), 2, 74.0),
    "Qwen, full 7B on two, 1,024 tokens": (QWEN[7], replace(FULL, max_length=1024), 2, 81.0),
    "Qwen, LoRA 72B on four, ZeRO-3": (QWEN[72], replace(LORA, sharding="full"), 4, 57.2),
    "Lightning, LoRA 7B": (LLAMA_7, Setup(rank=2, batch_size=1, checkpointing=False, max_length=1304), 1, 21.3),
    "Lightning, LoRA 7B, batches of two": (LLAMA_7, Setup(rank=2, batch_size=2, checkpointing=False, max_length=1304), 1, 29.07),
    "Lightning, QLoRA 7B": (LLAMA_7, Setup(rank=2, batch_size=1, checkpointing=False, max_length=1304, bits="4bit"), 1, 13.84),
    "Lightning, LoRA 13B": (LLAMA_13, Setup(rank=2, batch_size=1, checkpointing=False, max_length=1304), 1, 38.12),
    "Lightning, QLoRA 13B": (LLAMA_13, Setup(rank=2, batch_size=1, checkpointing=False, max_length=1304, bits="4bit"), 1, 22.55),
    "Unsloth's of Hugging Face, QLoRA 8B in 16 GB": (LLAMA_8, Setup(rank=32, batch_size=1, max_length=2551, bits="4bit"), 1, 16.0),
    "Unsloth's of Hugging Face, QLoRA 8B in 24 GB": (LLAMA_8, Setup(rank=32, batch_size=1, max_length=5789, bits="4bit"), 1, 24.0),
    "LLaMA-Factory, full 7B": (LLAMA_7, replace(FULL, max_length=512), 1, 120.0),
    "LLaMA-Factory, LoRA 7B": (LLAMA_7, Setup(rank=8, batch_size=1, max_length=512), 1, 16.0),
    "LLaMA-Factory, 8 bits 7B": (LLAMA_7, Setup(rank=8, batch_size=1, max_length=512, bits="8bit"), 1, 10.0),
    "LLaMA-Factory, 4 bits 7B": (LLAMA_7, Setup(rank=8, batch_size=1, max_length=512, bits="4bit"), 1, 6.0),
}  # fmt: skip
US = "us-east-1"
DATA = Data(10_000, 400)


@pytest.mark.parametrize(("how", "size", "length"), QWEN_ROWS)
def test_memory_is_within_the_stated_error_of_what_qwen_measured(how: str, size: float, length: int) -> None:
    setup, rows = OF_QWEN[how, size]
    got = memory(QWEN[size], replace(setup, max_length=length)).gigabytes / rows[length][0]
    if how == "LoRA":
        assert 0.9 < got < 1.1
    else:  # Q-LoRA on DeepSpeed: longer sequences took less than ours
        assert 0.9 < got < (1.2 if length <= 4096 else 1.35)


@pytest.mark.parametrize("name", list(MEASURED))
def test_memory_is_within_a_fifth_of_what_others_measured(name: str) -> None:
    shape, setup, gpus, measured = MEASURED[name]
    assert 0.8 < memory(shape, setup, gpus=gpus).gigabytes / measured < 1.2


def test_the_largest_model_that_the_paper_of_qlora_trains_on_a_gpu_of_48_gb_fits_it() -> None:
    shape = shape_of_size(65, "llama-65b")
    assert memory(shape, Setup(bits="4bit", batch_size=1, rank=16, max_length=512)).gigabytes < 48
    assert (
        memory(shape, Setup(trained="full", batch_size=1, max_length=512)).gigabytes > 780
    )  # what it says 16 bits take


@pytest.mark.parametrize(("how", "size", "length"), QWEN_ROWS)
def test_time_is_within_the_stated_error_of_what_qwen_measured(how: str, size: float, length: int) -> None:
    setup, rows = OF_QWEN[how, size]
    took = batch_seconds(QWEN[size], setup, "A100", length)
    assert took
    assert 0.85 < 8 * took / rows[length][1] < (1.15 if length > 1024 else 1.5)


@pytest.mark.parametrize(
    ("name", "billions", "hidden", "layers"),
    [("llama-2-7b", 7, 4096, 32), ("llama-2-13b", 13, 5120, 40), ("llama-3.1-70b", 70, 8192, 80), ("qwen2.5-0.5b", 0.5, 896, 24)],
)  # fmt: skip
def test_a_shape_by_size_alone_needs_about_the_memory_of_the_real_one(
    name: str, billions: float, hidden: int, layers: int
) -> None:
    guessed = shape_of_size(billions, name)
    real = replace(guessed, hidden=hidden, layers=layers, middle=round(8 * hidden / 3), heads_width=hidden)
    for setup in (LORA, QLORA, FULL):
        assert memory(guessed, setup).gigabytes == pytest.approx(memory(real, setup).gigabytes, rel=0.15)


def test_a_config_tells_the_shape_of_its_model() -> None:
    shape = shape_of_config({
        "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14_336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256,
    })  # fmt: skip
    assert shape
    assert shape.parameters == pytest.approx(8.03e9, rel=0.01)
    assert (shape.hidden, shape.layers, shape.heads_width, shape.tied) == (4096, 32, 1024, False)
    assert shape.adapter(16) == pytest.approx(41.9e6, rel=0.01)  # as PEFT says of rank 16 on all linear layers
    gpt = shape_of_config({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257})
    assert gpt
    assert gpt.parameters == pytest.approx(0.124e9, rel=0.02)
    assert shape_of_config({"model_type": "clip"}) is None
    assert shape_of_config({"n_embd": float("nan"), "n_layer": 12, "n_head": 12, "vocab_size": 50_257}) is None
    assert shape_of_config({"n_embd": float("inf"), "n_layer": 12, "n_head": 12, "vocab_size": 50_257}) is None


def test_each_setting_moves_the_memory_the_way_people_know() -> None:
    base = Setup(trained="full", batch_size=4)

    def of(**changes: Any) -> float:
        return memory(LLAMA_8, replace(base, **changes)).gigabytes

    assert of(trained="lora", bits="4bit") < of(trained="lora", bits="8bit") < of(trained="lora") < of()
    assert of(optimizer="sgd") < of(optimizer="adamw_8bit") < of() == of(optimizer="adamw_torch_fused")
    assert of(narrow=True) < 0.6 * of()
    assert of(batch_size=2) < of() < of(checkpointing=False)
    assert of(method="orpo") > of()  # two answers at once
    assert of(method="dpo") > of(method="orpo")  # and a model to compare with
    lora = replace(base, trained="lora")
    assert memory(LLAMA_8, replace(lora, method="dpo")) == memory(LLAMA_8, replace(lora, method="orpo"))
    assert memory(LLAMA_8, base, longest=100).gigabytes < of()
    assert memory(LLAMA_8, replace(base, packing=True), longest=100) == memory(LLAMA_8, replace(base, packing=True))


@given(
    billions=st.floats(0.1, 400), batch=st.integers(1, 64), length=st.sampled_from([256, 2048, 32_768]),
    bits=st.sampled_from(["none", "8bit", "4bit"]), gpus=st.sampled_from([1, 2, 4, 8]),
)  # fmt: skip
def test_more_gpus_never_need_more_of_each_once_they_share_and_none_does_with_what_is_not_sharded(
    billions: float, batch: int, length: int, bits: Any, gpus: int
) -> None:
    shape, setup = shape_of_size(billions), Setup(batch_size=batch, max_length=length, bits=bits, sharding="full")
    one, two = memory(shape, setup, gpus=gpus), memory(shape, setup, gpus=2 * gpus)
    if bits == "none" and gpus > 1:
        assert two.gigabytes < one.gigabytes
    if bits != "none":
        assert two == one
    assert two.activations == one.activations > 0


def test_each_gpu_must_have_the_memory_not_their_sum() -> None:
    assert memory(LLAMA_8, LORA, gpus=8) == memory(LLAMA_8, LORA)  # a copy on each
    need = memory(LLAMA_8, Setup(batch_size=8, max_length=8192, sharding="full"), gpus=8)
    assert need.gigabytes > 24
    assert not fits(need, Hardware(192, 768, 8, "A10G", 24))
    assert fits(need, Hardware(192, 768, 8, "A100", 80)) is (need.gigabytes < 76)


def choices(setup: Setup = QLORA, data: Data | None = DATA, prices: PriceList | None = None) -> tuple[Choice, ...]:
    return estimate(LLAMA_8, setup, data, Market(prices or shipped_prices(), US)).choices


def test_types_that_fit_come_cheapest_first_with_time_and_cost() -> None:
    found = choices()
    priced = [one for one in found if one.usd is not None]
    assert [one.usd for one in priced] == sorted(one.usd for one in priced if one.usd is not None)
    for one in priced:
        assert one.hourly
        assert one.seconds
        assert float(one.usd or 0) == pytest.approx(float(one.hourly) * one.seconds / 3600, rel=0.01)
        assert one.spot_usd(Decimal("0.3")) == one.usd * Decimal("0.3")
    assert {one.instance_type for one in found} >= {"ml.g5.xlarge", "ml.p4d.24xlarge"}


def test_the_best_are_those_that_no_other_beats_in_both_money_and_time() -> None:
    found = [one for one in choices() if one.usd is not None and one.seconds is not None]
    for one in found:
        beaten = any(
            other.usd <= one.usd and other.seconds <= one.seconds and other is not one  # type: ignore[operator]
            for other in found
        )
        assert one.is_best is not beaten


def test_what_has_no_price_is_listed_last_as_unpriced_and_never_guessed() -> None:
    prices = PriceList(price for price in shipped_prices() if price.item != "ml.g5.xlarge")
    found = choices(prices=prices)
    (unpriced,) = [one for one in found if one.instance_type == "ml.g5.xlarge"]
    assert (unpriced.hourly, unpriced.usd, unpriced.is_best) == (None, None, False)
    assert unpriced.seconds
    assert all(one.hourly is None for one in found[found.index(unpriced) :])


def test_without_data_there_is_neither_time_nor_cost_but_what_fits_by_the_hour() -> None:
    found = choices(data=None)
    assert all(one.seconds is None and one.usd is None for one in found)
    hourly = [one.hourly for one in found if one.hourly]
    assert hourly == sorted(hourly)


def test_what_does_not_fit_one_instance_says_how_many_it_fits() -> None:
    assert instances_needed(LLAMA_8, FULL, "ml.g6e.12xlarge") == 1
    assert instances_needed(LLAMA_8, FULL, "ml.g5.12xlarge") == 4
    assert instances_needed(shape_of_size(70, "llama-2-70b"), QLORA, "ml.g5.48xlarge") is None  # not sharded
    assert instances_needed(LLAMA_8, FULL, "ml.m5.large") is None


def test_time_follows_tokens_steps_and_gpus() -> None:
    one, four = hardware_of("ml.g5.xlarge"), hardware_of("ml.g5.12xlarge")
    assert one
    assert four
    data = Data(100_000, 500)

    def took(setup: Setup = QLORA, data: Data = data, hardware: Hardware = one) -> float:
        found = seconds(LLAMA_8, setup, data, hardware)
        assert found
        return found - seconds(LLAMA_8, replace(setup, max_steps=1), data, hardware)  # type: ignore[operator]

    assert took(data=Data(200_000, 500)) == pytest.approx(2 * took(), rel=0.01)
    assert took(replace(QLORA, epochs=6)) == pytest.approx(2 * took(), rel=0.01)
    assert took(hardware=four) < took() / 2
    assert took(replace(LORA, method="dpo")) > 2 * took(LORA)
    assert took(replace(QLORA, max_length=250)) < took()
    assert took(replace(QLORA, packing=True)) < took(replace(QLORA, batch_size=1))
    assert took(replace(QLORA, max_steps=100)) < took() / 100
    assert seconds(LLAMA_8, QLORA, data, Hardware(4, 16, 1, "TPU", 16)) is None


@pytest.mark.parametrize("packing", [False, True])
def test_raw_text_is_split_and_none_of_it_lost_so_all_of_it_takes_time(packing: bool) -> None:
    gpu = hardware_of("ml.g5.xlarge")
    assert gpu
    text = replace(QLORA, method="cpt", max_length=2048, packing=packing)
    long, short = seconds(LLAMA_8, text, Data(10, 2048 * 50), gpu), seconds(LLAMA_8, text, Data(500, 2048), gpu)
    assert long == short
    cut = replace(text, method="sft")  # an example that is no raw text loses its end
    assert seconds(LLAMA_8, cut, Data(10, 2048 * 50), gpu) == seconds(LLAMA_8, cut, Data(10, 2048), gpu)


def test_steps_that_are_asked_for_are_taken_however_little_data_there_is() -> None:
    gpu = hardware_of("ml.g5.xlarge")
    assert gpu
    asked = replace(QLORA, max_steps=10_000)
    assert seconds(LLAMA_8, asked, Data(100, 400), gpu) == seconds(LLAMA_8, asked, Data(1_000_000, 400), gpu)


def test_a_dataset_is_what_the_catalogue_counted_of_it() -> None:
    assert data_of(1000, 400.0) == Data(1000, 100.0)
    assert data_of(1000, 400.0, {"statistics": {"exact_tokens": 150_000}}) == Data(1000, 150.0)
    metadata = {"statistics": {"input_length": {"high": 800}, "output_length": {"high": 400}, "exact_tokens": None}}
    assert data_of(1000, 400.0, metadata) == Data(1000, 100.0, 450)
    assert data_of(None, 400.0) is None
    assert data_of(1000, None) is None
    assert together([Data(100, 50, 80), Data(300, 150, 200)]) == Data(400, 125.0, 200)
    assert together([Data(100, 50, 80), Data(300, 150)]) == Data(400, 125.0, 0)
    assert together([Data(100, 50), None]) is None
    assert together([]) is None
