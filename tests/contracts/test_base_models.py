"""A base model in S3 is looked at before anything is paid for: whole, safe, one's own, reachable, and with room for what it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from library_shelves import S3
from training_configs import Bench, bench_at

from trainmaster.errors import TrainingRefusedError
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import prepare_training

WHOLE = {"config.json": b'{"model_type": "llama", "torch_dtype": "bfloat16"}', "model.safetensors": b"12345678", "tokenizer.json": b"{}"}  # fmt: skip
SHARDS = {f"model-0000{number}-of-00003.safetensors": b"1234" for number in (1, 3)}
SETTINGS = {"training_method": "sft", "num_epochs": 1}


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


@pytest.fixture
def dataset(bench: Bench) -> Any:
    return bench.dataset("colours", S3)


def stored(bench: Bench, files: Mapping[str, bytes]) -> str:
    """The prefix that these files are below."""
    prefix = f"base/{uuid4().hex}/"
    for name, content in files.items():
        bench.desk.client("s3").put_object(Bucket=bench.bucket, Key=prefix + name, Body=content)
    return f"s3://{bench.bucket}/{prefix}"


def planned(
    bench: Bench, dataset: Any, model: str, settings: Mapping[str, Any] = SETTINGS, **asked: Any
) -> TrainingPlan:
    config = bench.config({**settings, "model_name": model}, [dataset])
    return prepare_training(bench.desk, bench.request(config, dry_run=True, **asked))


def refused(bench: Bench, dataset: Any, model: str, settings: Mapping[str, Any] = SETTINGS, **asked: Any) -> str:
    with pytest.raises(TrainingRefusedError) as error:
        planned(bench, dataset, model, settings, **asked)
    return "\n".join(one.sentence() for one in error.value.problems)


def test_a_whole_model_comes_by_a_channel_and_the_plan_says_how_large_it_is(bench: Bench, dataset: Any) -> None:
    uri = stored(bench, WHOLE)
    plan = planned(bench, dataset, uri.rstrip("/"))
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"] for one in plan.create_request["InputDataConfig"]}
    assert channels["model"] == {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    assert f"The base model below {uri} comes by the channel 'model': 0 kB, about 4 parameters." in plan.notes
    assert any("ml.m5.large has no GPU" in note for note in plan.notes)
    assert plan.create_request["CheckpointConfig"]["S3Uri"].endswith(f"{plan.job_name}/checkpoints")
    bench.desk.client("s3").put_object(Bucket=bench.bucket, Key=uri.removeprefix(f"s3://{bench.bucket}/") + "config.json", Body=WHOLE["config.json"] + b"\n")  # fmt: skip
    assert planned(bench, dataset, uri).job_name != plan.job_name, "another model is another job"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "nothing is there"),
        ({"model.safetensors": b"1", "tokenizer.json": b"{}"}, "it has no config.json. It has model.safetensors, tokenizer.json"),
        ({f"checkpoint-9/{name}": content for name, content in WHOLE.items()}, "but one is at checkpoint-9/config.json. Give s3://"),
        ({"output/model.tar.gz": b"1"}, "output/model.tar.gz is packed. Unpack it"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"1"}, "it is an adapter, not a model. Merge it"),
        ({**WHOLE, "config.json": b"[]"}, "it names no model_type"),
        ({"config.json": WHOLE["config.json"], "tokenizer.json": b"{}", "pytorch_model.bin": b"1"}, "pickled weights only (pytorch_model.bin)"),
        ({"config.json": WHOLE["config.json"], "tokenizer.json": b"{}"}, "has no weights"),
        ({**{k: v for k, v in WHOLE.items() if "model.s" not in k}, **SHARDS}, "1 of its files of weights are missing, such as model-00002-of-00003"),
        ({name: content for name, content in WHOLE.items() if "token" not in name}, "has no tokenizer"),
    ],
    ids=["nothing", "no-config", "a-folder-deeper", "packed", "adapter", "no-object", "pickle", "no-weights", "a-shard-short", "no-tokenizer"],
)  # fmt: skip
def test_what_cannot_be_loaded_is_refused_with_what_to_do(
    bench: Bench, dataset: Any, files: Mapping[str, bytes], said: str
) -> None:
    assert said in refused(bench, dataset, stored(bench, files))


def test_what_is_not_ones_own_or_not_there_to_read_is_refused_with_all_else_that_is_wrong(
    bench: Bench, dataset: Any
) -> None:
    anothers = f"s3://{bench.bucket}/{uuid4()}/models"
    wrong = refused(bench, dataset, anothers, {**SETTINGS, "learning_rate": 7})
    assert "where datasets of other users are kept" in wrong
    assert "learning_rate" in wrong
    assert "S3 answers NoSuchBucket" in refused(bench, dataset, f"s3://nobodys-{uuid4().hex}/models/")
    assert "is no prefix of S3" in refused(bench, dataset, f"s3://{bench.bucket}")


def test_without_a_network_a_model_of_the_hub_is_refused_and_one_in_s3_is_not(bench: Bench, dataset: Any) -> None:
    wrong = refused(bench, dataset, "meta-llama/Llama-3.2-1B", network_isolation=True, volume_size_gb=60)
    assert (
        "network_isolation gives the job no network, and its base model meta-llama/Llama-3.2-1B is on the Hugging Face Hub"
        in wrong
    )
    plan = planned(bench, dataset, stored(bench, WHOLE), network_isolation=True)
    names = [one["ChannelName"] for one in plan.create_request["InputDataConfig"]]
    assert names == ["training", "model", "code"]


def test_a_model_in_s3_is_held_against_the_memory_of_the_gpus_by_its_config_whatever_it_is_called(
    bench: Bench, dataset: Any
) -> None:
    eight = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14_336, "vocab_size": 128_256,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    }  # fmt: skip
    uri = stored(bench, {**WHOLE, "config.json": json.dumps(eight).encode()})
    asked: dict[str, Any] = {"instance_type": "ml.g5.xlarge", "budget_limit": "50.00"}
    [said] = [note for note in planned(bench, dataset, uri, **asked).notes if "run out of memory" in note]
    assert f"Training {uri} (8.03 billion parameters, LoRA" in said
    assert not any("run out of memory" in note for note in planned(bench, dataset, stored(bench, WHOLE), **asked).notes)


def test_a_model_without_room_for_what_it_becomes_is_refused_with_how_much_it_takes(bench: Bench, dataset: Any) -> None:
    full = {**SETTINGS, "finetuning_type": "full"}
    wrong = refused(
        bench, dataset, "meta-llama/Llama-3.1-8B", full, instance_type="ml.p3.2xlarge", budget_limit="50.00"
    )
    assert "take about 313 GB of disk; volume_size_gb is 30. Set volume_size_gb to at least 345." in wrong
    assert "of disk" not in refused(bench, dataset, "meta-llama/Llama-3.1-8B", {**full, "num_epochs": 0}), (
        "only once it can be told"
    )
    assert "quantization is '4bit', which needs a GPU, and ml.m5.large has none" in refused(
        bench, dataset, stored(bench, WHOLE), {**SETTINGS, "quantization": "4bit"}
    )
