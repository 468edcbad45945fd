"""Each method trains a tiny model in a few steps: an adapter or all weights, packed or not, the same by the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_runs import CHATS, LABELLED, PAIRS, REWARDED, TEXTS, Run, asked, tiny_model

from model.finetune import base_model, methods
from model.finetune.problems import BadInputError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in run.trainer.model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "rows", "finetuning_type"),
    [
        ("sft", CHATS, "lora"), ("sft", CHATS, "full"), ("sft", PAIRS, "lora"), ("dpo", PAIRS, "lora"), ("dpo", PAIRS, "full"),
        ("orpo", PAIRS, "lora"), ("kto", LABELLED, "lora"), ("kto", REWARDED, "lora"), ("cpt", TEXTS, "lora"), ("cpt", CHATS, "full"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[0]),
)  # fmt: skip
def test_a_method_learns(method: str, rows: list[Any], finetuning_type: str, base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, base, {"training": rows}, training_method=method, finetuning_type=finetuning_type)
    before = weights(run)
    losses = run.losses()
    assert losses[-1] < losses[0], losses
    changed = {name for name, value in weights(run).items() if not torch.equal(value, before[name])}
    if finetuning_type == "lora":
        assert isinstance(run.trainer.model, PeftModel)
        assert changed
        assert all("lora_" in name for name in changed)
    else:
        assert len(changed) == len(before)


def test_preferences_are_compared_with_the_base_model_without_its_adapter(base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, base, {"training": PAIRS}, training_method="dpo")
    assert run.trainer.ref_model is None
    batch = next(iter(run.trainer.get_train_dataloader()))
    before = run.trainer.compute_ref_log_probs(batch)
    run.losses()
    after = run.trainer.compute_ref_log_probs(batch)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    learned = run.trainer.concatenated_forward(run.trainer.model, batch)["chosen_logps"]
    assert not torch.allclose(learned, after[0], atol=1e-2)


def test_of_all_weights_a_copy_is_the_reference(base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, base, {"training": LABELLED}, training_method="kto", finetuning_type="full")
    mine = {id(value) for value in run.trainer.model.parameters()}
    assert run.trainer.ref_model is not None
    assert not mine & {id(value) for value in run.trainer.ref_model.parameters()}
    assert not any(value.requires_grad for value in run.trainer.ref_model.parameters())


def test_the_reference_of_kto_lies_in_parts_where_its_model_does(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL (0.23) leaves it whole in the memory of the host, where it cannot compute with what is on GPUs; and unread but by one process."""
    parted = list[Any]()
    monkeypatch.setattr(methods, "prepare_fsdp", lambda model, _: parted.append(model) or "in parts")
    for method, rows, finetuning_type in (
        ("kto", LABELLED, "full"), ("kto", LABELLED, "lora"), ("dpo", PAIRS, "full"),
    ):  # fmt: skip
        given = {"training_method": method, "finetuning_type": finetuning_type}
        trainer = Run(tmp_path / f"{method}-{finetuning_type}", base, {"training": rows}, **given).trainer
        before = trainer.ref_model
        methods.part_reference(trainer)
        assert trainer.ref_model is before
        trainer.is_fsdp_enabled = True
        methods.part_reference(trainer)
        wanted = [before] if (method, finetuning_type) == ("kto", "full") else []
        assert parted == wanted
        assert (trainer.ref_model == "in parts") is bool(wanted)
        parted.clear()


def test_the_same_seed_trains_the_same_weights_and_another_does_not(base: Path, tmp_path: Path) -> None:
    losses = {}
    for name, seed in {"one": 3, "again": 3, "other": 4}.items():
        losses[name] = Run(tmp_path / name, base, {"training": CHATS}, seed=seed, num_epochs=2).losses()
    assert losses["one"] == losses["again"] != losses["other"]


@pytest.mark.parametrize(("method", "rows"), [("sft", CHATS), ("cpt", TEXTS)], ids=["sft", "cpt"])
def test_packed_examples_see_nothing_of_one_another(method: str, rows: list[Any], base: Path, tmp_path: Path) -> None:
    """The loss of a packed batch is the loss of its examples apart, weighted by their learned tokens."""
    apart = Run(
        tmp_path / "apart", base, {"training": rows}, training_method=method, finetuning_type="full", batch_size=1
    )
    packed = Run(
        tmp_path / "packed", base, {"training": rows}, training_method=method, finetuning_type="full", packing=True, batch_size=2
    )  # fmt: skip
    assert len(packed.trainer.train_dataset) < len(apart.trainer.train_dataset)
    losses = {}
    for name, run in {"apart": apart, "packed": packed}.items():
        total, tokens = 0.0, 0
        model = run.trainer.model.eval()
        for batch in run.trainer.get_train_dataloader():
            with torch.no_grad():
                loss = model(**batch, use_cache=False).loss
            learned = int((batch["labels"][:, 1:] != -100).sum())
            total, tokens = total + float(loss) * learned, tokens + learned
        losses[name] = (total / tokens, tokens)
    assert losses["packed"][1] == losses["apart"][1]
    assert losses["packed"][0] == pytest.approx(losses["apart"][0], abs=1e-4)


def test_an_evaluation_is_of_the_validation_data(base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, base, {"training": CHATS, "validation": CHATS[:3]}, num_epochs=2)
    run.losses()
    assert len([entry for entry in run.trainer.state.log_history if "eval_loss" in entry]) == 2


def test_what_trl_takes_otherwise_is_told_to_it(base: Path, tmp_path: Path) -> None:
    args = Run(tmp_path, base, {"training": PAIRS}, training_method="dpo", beta=0.3, max_length=50).trainer.args
    assert (args.beta, args.max_length, args.max_prompt_length, args.loss_type) == (0.3, 50, None, "sigmoid")
    assert (args.bf16, args.fp16, args.report_to) == (False, False, [])


class TestQuantised:
    def test_is_refused_without_a_gpu_before_any_weights_are_read(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="needs a GPU, and this machine has none"):
            Run(tmp_path, base, {"training": CHATS}, quantization="4bit")

    def test_to_4_bits_is_nf4_quantised_twice_and_computes_in_bfloat16(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.metadata.version", lambda _: "0.47.0")  # bitsandbytes is not installed here
        config = base_model._bits_and_bytes(asked(quantization="4bit", bf16=True))
        assert config.quantization_method() == "nf4"
        assert config.bnb_4bit_use_double_quant
        assert config.bnb_4bit_compute_dtype == config.bnb_4bit_quant_storage == torch.bfloat16
        assert (
            base_model._bits_and_bytes(asked(quantization="4bit", bf16=False)).bnb_4bit_compute_dtype == torch.float16
        )

    def test_to_8_bits_is_another_method(self) -> None:
        assert base_model._bits_and_bytes(asked(quantization="8bit")).quantization_method() == "llm_int8"


def test_an_adapter_is_on_the_layers_that_are_asked_for(base: Path, tmp_path: Path) -> None:
    given = {
        "lora_target_modules": '["q_proj", "v_proj"]',
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_modules_to_save": "embed_tokens",
    }
    run = Run(tmp_path, base, {"training": CHATS}, **given)
    trained = {name for name, value in run.trainer.model.named_parameters() if value.requires_grad}
    assert {name.split(".lora_")[0].rsplit(".")[-1] for name in trained if ".lora_" in name} == {"q_proj", "v_proj"}
    assert any("embed_tokens.modules_to_save" in name for name in trained)
    assert run.trainer.model.peft_config["default"].r == 4


def test_weights_that_are_all_trained_are_kept_in_float32_also_where_bfloat16_computes() -> None:
    assert base_model.weights_dtype(asked(finetuning_type="full", bf16=True)) == torch.float32
    assert base_model.weights_dtype(asked(bf16=True)) == torch.bfloat16
    assert base_model.weights_dtype(asked()) == torch.float32
    assert base_model.weights_dtype(asked(finetuning_type="full", weights_dtype="bfloat16")) == torch.bfloat16
