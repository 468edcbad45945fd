"""`trainmaster train estimate`, as a user types it: a model, data if any, and the machines with what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import new_dataset

from trainmaster import cli
from trainmaster.catalog.catalogue import open_catalogue

USER = uuid4()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name, value in {
        "TRAINMASTER_STATE_DIR": str(tmp_path), "TRAINMASTER_USER_ID": str(USER), "DATABASE_URL": "", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = cli.main(["train", "estimate", *arguments])
        except SystemExit as ended:  # argparse's own
            code = int(str(ended.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def facts(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run("--json", *arguments)
    assert code in {0, 1}, err
    return dict(json.loads(out))


@pytest.fixture
def dataset(tmp_path: Path) -> UUID:
    catalogue = open_catalogue(None, tmp_path)
    new = new_dataset(USER, ["s3"], total_examples=5000, avg_input_length=600.0, avg_output_length=200.0)
    one = catalogue.datasets.insert(new)
    catalogue.close()
    return one.id


@pytest.mark.parametrize("kind", ["ml.g5.xlrge", "g5.xlarge", "ml.m5.large"])
def test_a_type_that_is_not_known_or_has_no_gpu_is_not_said_to_be_too_small(run: Run, kind: str) -> None:
    code, out, err = run("--parameters", "7B", "--instance-type", "ml.g6e.xlarge", "--instance-type", kind)
    assert (code, out) == (2, "")
    assert f"'{kind}' is no instance type with GPUs that is known here." in err
    assert "Is ml.g5.xlarge meant?" in err


def test_a_model_by_name_and_data_by_numbers_come_to_types_times_and_costs(run: Run) -> None:
    code, out, err = run("--model", "meta-llama/Llama-3.1-8B", "--how", "qlora", "--batch-size", "1", "--examples", "1000", "--tokens", "300")  # fmt: skip
    assert code == 0
    assert out.startswith("meta-llama/Llama-3.1-8B: 8 billion parameters, sft of LoRA on 4 bits, batches of 1 × 2048 ")
    assert "1,000 examples of 300 tokens, 3 epochs" in out
    row = next(line for line in out.splitlines() if line.startswith("ml.g5.xlarge"))
    assert "1 × A10G 24 GB" in row
    assert row.count("$") == 3
    assert "unpriced" in out  # ml.p5en.48xlarge
    assert "docs/fine-tuning.md" in err


def test_machines_get_the_same_with_money_as_strings(run: Run) -> None:
    found = facts(run, "--model", "llama-2-7b", "--batch-size", "1", "--examples", "1000", "--tokens", "300")
    assert (found["parameters"], found["finetuning_type"], found["quantization"]) == (7_000_000_000, "lora", "none")
    first = found["choices"][0]
    assert first["best"] is True
    assert isinstance(first["usd"], str)
    assert float(first["likely_spot_usd"]) < float(first["usd"])
    assert sum(first["needs"].values()) < first["needs_gb"] < first["gpu_memory_gb"]
    assert [one["usd"] for one in found["choices"] if one["instance_type"] == "ml.p5en.48xlarge"] == [None]


def test_parameters_alone_do_and_too_large_a_model_is_refused_with_ways_out(run: Run) -> None:
    assert facts(run, "--parameters", "350M")["parameters"] == 350_000_000
    code, out, _ = run("--parameters", "70B", "--how", "full")
    assert code == 1
    assert "8 × ml.p4de.24xlarge would do: --instance-count 8." in out
    assert "--how lora, or qlora" in out
    assert facts(run, "--parameters", "70B", "--how", "full", "--instance-count", "8")["choices"]
    small = facts(
        run, "--parameters", "8B", "--how", "full", "--batch-size", "1", "--all", "--instance-type", "ml.g5.12xlarge"
    )
    assert small["choices"] == []
    assert small["too_small"][0]["fits_instances"] == 4


def test_a_folder_and_a_config_tell_the_real_shape(run: Run, tmp_path: Path) -> None:
    config = {
        "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14_336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256,
    }  # fmt: skip
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(config), encoding="utf-8")
    assert facts(run, "--model", str(tmp_path / "base"))["parameters"] == pytest.approx(8.03e9, rel=0.01)
    (tmp_path / "base/config.json").write_text("{", encoding="utf-8")
    code, _, err = run("--model", str(tmp_path / "base"))
    assert code == 2
    assert "is no JSON" in err


def test_datasets_and_configs_are_the_catalogues(run: Run, dataset: UUID, tmp_path: Path) -> None:
    found = facts(run, "--model", "llama-2-7b", "--dataset", str(dataset))
    assert found["data"] == {"examples": 5000, "tokens_per_example": 200.0}
    catalogue = open_catalogue(None, tmp_path)
    settings = {
        "training_method": "dpo", "model_name": "Qwen/Qwen2.5-7B", "quantization": "4bit", "batch_size": 2, "max_length": 1024,
    }  # fmt: skip
    config, _ = catalogue.configs.add(USER, "cats", settings, [dataset])
    catalogue.close()
    found = facts(run, "--training-config-id", str(config.id), "--max-length", "512")
    assert (found["model"], found["training_method"], found["quantization"]) == ("Qwen/Qwen2.5-7B", "dpo", "4bit")
    assert (found["batch_size"], found["max_length"], found["data"]["examples"]) == (2, 512, 5000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Which model?"),
        (("--model", "our-own"), "does not tell how large it is. Give --parameters"),
        (("--model", "llama-2-7b", "--examples", "10"), "--examples and --tokens go together"),
        (("--parameters", "seven"), "no number of parameters such as 7B"),
        (("--parameters", "7B", "--batch-size", "0"), "no whole number above 0"),
        (("--parameters", "7B", "--dataset", str(UUID(int=1))), "There is no dataset"),
    ],
    ids=["no model", "an unknown size", "half the data", "a word", "no batch", "no dataset"],
)
def test_what_cannot_be_estimated_is_said_with_what_to_give(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = run(*arguments)
    assert code in {1, 2}
    assert said in err
