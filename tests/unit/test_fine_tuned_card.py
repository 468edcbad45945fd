"""The card of a fine-tuned model says what it was made of and how it went, the same for people as for machines."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from model.finetune.card import DataFile, Facts, Run, card_of, data_files, readme_of, run_of

ASKED = {"messages": [{"role": "user", "content": "Colour | of the sky?"}], "parameters": {"max_new_tokens": 48}}
FACTS = Facts(
    version="job-1",
    base_name="org/base",
    base_revision="c0ffee",
    hyperparameters={"training_method": "dpo", "finetuning_type": "lora", "chat_template": "a|b"},
    data=[DataFile("training", "a.jsonl", "ab" * 32, 80), DataFile("training-2", "b.jsonl", "cd" * 32, 8), DataFile("validation", "c.jsonl", "ef" * 32, 5)],
    run=Run(steps=7, epochs=1.0, tokens=1234, seconds=61.2, metrics={"eval_loss": 0.5}),
    libraries={"torch": "2.8.0"},
    parameters=1000,
    context_length=512,
    merged=True,
    samples=[{"request": ASKED, "before": "???", "after": "Blue."}],
)  # fmt: skip


def test_the_files_of_all_channels_are_told_with_checksums_and_rows(tmp_path: Path) -> None:
    for channel, name, text in (("training", "x/a.jsonl", "{}\n\n{}\n"), ("validation", "b.jsonl", "{}")):
        path = tmp_path / channel / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    found = data_files({"validation": tmp_path / "validation", "training": tmp_path / "training"})
    assert [(one.channel, one.file, one.rows) for one in found] == [
        ("training", "x/a.jsonl", 2),
        ("validation", "b.jsonl", 1),
    ]
    assert found[1].sha256 == hashlib.sha256(b"{}").hexdigest()


def test_rows_of_a_gzipped_file_are_counted_unpacked_and_its_checksum_is_of_what_was_sent(tmp_path: Path) -> None:
    packed = gzip.compress(b"{}\n{}\n{}\n")
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    [found] = data_files({"training": tmp_path})
    assert (found.rows, found.sha256) == (3, hashlib.sha256(packed).hexdigest())


def test_losses_perplexity_tokens_and_time_are_read_from_the_log() -> None:
    history = [
        {"loss": 4.0, "num_tokens": 100.0, "step": 1},
        {"eval_loss": 1.0, "eval_runtime": 2.0, "eval_samples_per_second": 3.0, "step": 1},
        {"loss": 0.5, "num_tokens": 250.0, "step": 2},
        {"eval_loss": 0.0, "step": 2},
        {"train_loss": 2.25, "train_runtime": 9.5, "step": 2},
    ]
    run = run_of(history, steps=2, epochs=1.0, tokens=0)
    assert run.metrics == {"loss_first": 4.0, "loss_last": 0.5, "eval_loss": 0.0, "train_loss": 2.25, "perplexity": 1.0}
    assert (run.tokens, run.seconds, run.steps) == (250, 9.5, 2)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e6])
def test_a_loss_that_is_no_number_or_beyond_any_perplexity_is_left_out_of_strict_json(loss: float) -> None:
    run = run_of([{"eval_loss": loss}], steps=1, epochs=1.0, tokens=0)
    assert "perplexity" not in run.metrics
    json.dumps(card_of(replace(FACTS, run=run)), allow_nan=False)


def test_rows_are_counted_by_what_their_channel_is_for() -> None:
    card = card_of(FACTS)
    assert card["rows"] == {"training": 88, "validation": 5, "total": 93}
    assert card["algorithm"] == "direct preference optimization (LoRA) of org/base"
    assert card["example"] == ASKED
    assert card["weights"] == "merged"


def test_a_model_nothing_was_asked_of_has_an_example_all_the_same() -> None:
    assert card_of(replace(FACTS, samples=[]))["example"] == {"inputs": "Hello"}


def test_the_readme_is_a_model_card_of_the_hub() -> None:
    lines = readme_of(FACTS).splitlines()
    front = lines[1 : lines.index("---", 1)]
    assert front == [
        'library_name: "transformers"', 'pipeline_tag: "text-generation"', 'base_model: "org/base"',
        'base_model_relation: "finetune"', 'tags: ["trainmaster", "dpo"]',
    ]  # fmt: skip
    assert "Base model: `org/base` at revision `c0ffee`. What is here is merged into the base model's weights." in lines
    assert f"| training | a.jsonl | 80 | `{'ab' * 32}` |" in lines
    assert r'| chat_template | `"a\|b"` |' in lines
    assert lines[lines.index("After:") + 2] == "    Blue."


@pytest.mark.parametrize("base", ["s3://bucket/base/", "/opt/models/base", "the model of channel 'model'"])
def test_a_base_model_that_is_not_on_the_hub_is_not_claimed_to_be(base: str) -> None:
    assert "base_model:" not in readme_of(replace(FACTS, base_name=base))
