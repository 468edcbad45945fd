"""What a run leaves is whole or no model at all, says where it comes from, and answers from the disk as it did in memory."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.tiny_model import make_tiny_model
from model.finetune import card, inference, output, samples
from model.finetune.hyperparameters import Hyperparameters, read_hyperparameters
from model.finetune.problems import BadInputError
from model.finetune.publishing import publish

ROWS = [
    {"messages": [{"role": "user", "content": f"What is the colour of {thing}?"}, {"role": "assistant", "content": "Blue."}]}
    for thing in ("sky", "sea", "plum", "sky", "ice")
]  # fmt: skip
DATA = [card.DataFile("training", "part.jsonl", "ab" * 32, 5)]


@dataclass
class Trained:
    """A tiny base model on disk, and what a training made of it."""

    base: Path
    folder: Path

    def load(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.base)

    @property
    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.base)

    def adapted(self) -> PeftModel:
        """With an adapter that changes what it says."""
        model = get_peft_model(
            self.load(),
            LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
            autocast_adapter_dtype=False,
        )
        torch.manual_seed(1)
        for name, weights in model.named_parameters():
            if "lora_" in name:
                weights.data = torch.randn_like(weights) * 0.3
        return model.eval()

    def write(self, model: Any, rebuilt: Callable[[], Any] | None = None, **told: Any) -> card.Facts:
        requests = samples.requests_of(ROWS)
        story = output.Story(card.Run(steps=7), "job-1", "org/base", "c0ffee", DATA, requests, ["?"] * len(requests))
        return output.write_output(
            self.folder, model, self.tokenizer, asked(**told), story, rebuilt=rebuilt or self.load
        )

    def answers(self, model: Any | None = None) -> list[str]:
        """Of the model, or of what serves the folder."""
        if model is None:
            loaded = inference.model_fn(str(self.folder))
        else:
            loaded = inference.Loaded(model, self.tokenizer, "job-1", 512)
        return samples.texts_of(loaded, samples.requests_of(ROWS))


def asked(**told: Any) -> Hyperparameters:
    return read_hyperparameters({"bf16": "false", **told})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [text["content"] for row in ROWS for text in row["messages"]]
    return make_tiny_model(tmp_path_factory.mktemp("base"), texts, layers=1, hidden=32)


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> Trained:
    (tmp_path / "model").mkdir()
    return Trained(base, tmp_path / "model")


def test_a_merged_adapter_answers_from_the_disk_as_it_did_in_memory(trained: Trained) -> None:
    model = trained.adapted()
    before, plain = trained.answers(model), trained.answers(trained.load())
    facts = trained.write(model)
    assert trained.answers() == before != plain
    assert facts.merged
    names = {path.relative_to(trained.folder).as_posix() for path in trained.folder.rglob("*") if path.is_file()}
    assert {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "model_card.json", "smoke_test.json",
        "code/inference.py", "code/requirements.txt",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".bin", ".pt", ".jinja")) or "unfinished" in name]
    assert (trained.folder / "code/requirements.txt").read_text() == "transformers==4.56.2\n"


def test_all_weights_are_written_in_shards_no_larger_than_asked(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LARGEST_SHARD", "20KB")
    model = trained.load()
    before = trained.answers(model)
    trained.write(model, finetuning_type="full")
    assert len(list(trained.folder.glob("model-*.safetensors"))) > 1
    assert (trained.folder / "model.safetensors.index.json").is_file()
    assert trained.answers() == before


def test_weights_computed_in_bfloat16_are_left_in_it(trained: Trained) -> None:
    trained.write(trained.adapted(), bf16="true")
    assert AutoModelForCausalLM.from_pretrained(trained.folder, dtype="auto").dtype == torch.bfloat16


def test_an_adapter_alone_is_served_on_the_base_model_that_its_card_names(trained: Trained) -> None:
    model = trained.adapted()
    before = trained.answers(model)
    facts = trained.write(model, merge_weights="false")
    assert not facts.merged
    assert not (trained.folder / "config.json").exists()
    assert "peft==0.17.1" in (trained.folder / "code/requirements.txt").read_text()
    told = json.loads((trained.folder / "model_card.json").read_text())
    assert told["base_model"] == {"name": "org/base", "revision": "c0ffee"}
    adapter = json.loads((trained.folder / "adapter/adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("org/base", "c0ffee")
    told["base_model"]["name"] = str(trained.base)  # in place of the Hub
    (trained.folder / "model_card.json").write_text(json.dumps(told))
    assert trained.answers() == before


def test_an_adapter_of_a_quantized_base_is_merged_into_the_base_as_it_was_published(trained: Trained) -> None:
    model = trained.adapted()
    wanted = copy.deepcopy(model).merge_and_unload().state_dict()
    rounded = model.get_base_model()
    with torch.no_grad():
        for weights in rounded.parameters():
            weights.mul_(8).round_().div_(8)  # as 4 bits would; the adapter's own do not matter here
    model.load_state_dict(trained.adapted().state_dict() | {
        name: weights for name, weights in model.state_dict().items() if "lora_" not in name
    })  # fmt: skip
    rounded.is_quantized = True
    trained.write(model, rebuilt=trained.load)
    left = AutoModelForCausalLM.from_pretrained(trained.folder).state_dict()
    assert all(torch.allclose(left[name], weights, atol=1e-6) for name, weights in wanted.items())


@pytest.mark.parametrize("merged", [True, False], ids=["merged", "adapter alone"])
@pytest.mark.parametrize(
    "trained_parts",
    [
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["lm_head"]},
    ],
    ids=["last layer", "embeddings", "both", "an adapter on the last layer"],
)
def test_what_shared_its_weights_is_left_apart_once_one_of_it_is_trained(
    base: Path, tmp_path: Path, trained_parts: dict[str, Any], merged: bool
) -> None:
    """As of small models, whose last layer is their embeddings: merged into one it would change both, and read it would be both again."""
    tied = Path(shutil.copytree(base, tmp_path / "tied"))
    (tied / "config.json").write_text(
        json.dumps(json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True})
    )
    (tmp_path / "model").mkdir()
    trained = Trained(tied, tmp_path / "model")
    model = get_peft_model(trained.load(), LoraConfig(r=4, task_type="CAUSAL_LM", **trained_parts)).eval()
    torch.manual_seed(1)
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = weights.data + torch.randn_like(weights) * 0.3
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        wanted = model(tokens).logits
    trained.write(model, merge_weights=str(merged))
    card_file = trained.folder / "model_card.json"
    told = json.loads(card_file.read_text())
    told["base_model"] = {"name": str(tied)}  # in place of the Hub
    card_file.write_text(json.dumps(told))
    with torch.no_grad():
        left = inference.model_fn(str(trained.folder)).model(tokens).logits
    torch.testing.assert_close(left, wanted, atol=1e-4, rtol=1e-4)


def test_the_examples_say_how_much_of_each_answer_any_machine_gives(trained: Trained) -> None:
    trained.write(trained.adapted())
    told = json.loads((trained.folder / "smoke_test.json").read_text())["answers"]
    assert [one["generated_text"] for one in told] == trained.answers()
    assert len(told) == 4
    assert all(one["generated_text"].startswith(one["certain_text"]) for one in told)


def test_what_is_killed_while_it_is_written_is_no_model_and_can_be_written_again(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.write(trained.adapted())

    def killed(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(card, "readme_of", killed)
        with pytest.raises(KeyboardInterrupt):
            trained.write(trained.adapted())
    assert not (trained.folder / "code").exists()
    assert not (trained.folder / "model_card.json").exists()
    trained.write(trained.adapted())
    assert (trained.folder / "code/inference.py").is_file()


def test_a_disk_too_small_is_told_before_anything_is_trained(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> Any:
        return shutil._ntuple_diskusage(100, 100, 0)  # type: ignore[attr-defined]

    output.require_room(trained.folder, trained.adapted(), asked())
    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(BadInputError, match="Raise the volume size"):
        output.require_room(trained.folder, trained.adapted(), asked())
    output.require_room(trained.folder, trained.adapted(), asked(merge_weights="false"))


def test_a_hub_that_cannot_be_reached_costs_nothing_but_a_line_without_the_token(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    trained.write(trained.adapted())
    to = asked(
        push_to_hub="true", hub_model_id="me/mine",
        hub_token_secret_arn="arn:aws:secretsmanager:us-east-1:123456789012:secret:hub",
    )  # fmt: skip
    assert not publish(trained.folder, to, "hf_abcdefghijkl", endpoint="http://127.0.0.1:9")
    said = capfd.readouterr().out
    assert "The model was not pushed to me/mine" in said
    assert "hf_abcdefghijkl" not in said
    assert (trained.folder / "model_card.json").is_file()


FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a conversation": (ROWS[0], {"messages": ROWS[0]["messages"][:1]}),
    "a prompt": ({"prompt": "2+2", "completion": "4"}, {"inputs": "2+2"}),
    "a preference": (
        {
            "prompt": [{"role": "user", "content": "a"}],
            "chosen": [{"role": "assistant", "content": "b"}],
            "rejected": [],
        },
        {"messages": [{"role": "user", "content": "a"}]},
    ),
    "a preference without its prompt": (
        {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": []},
        {"messages": [{"role": "user", "content": "a"}]},
    ),
    "text": ({"text": "the sky is blue"}, {"inputs": "the s"}),
}


@pytest.mark.parametrize(("row", "prompt"), FORMATS.values(), ids=FORMATS)
def test_prompts_are_taken_from_rows_of_every_format(row: dict[str, Any], prompt: dict[str, Any]) -> None:
    [request] = samples.requests_of([row, row])
    assert request == {**prompt, "parameters": {"max_new_tokens": samples.TOKENS}}


def test_a_row_without_anything_asked_and_a_long_one_are_passed_over() -> None:
    assert samples.requests_of([{"messages": []}, {"prompt": "a" * 3000}, {"label": True}]) == []
