"""Every dataset of a config comes by a channel of its own, in a stable order, and none is forgotten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import copy_of, new_dataset
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.catalog.datasets import Dataset
from trainmaster.training.channels import Found, channel_of, is_in_s3, missing_problem, named_channels

USER = uuid4()


def datasets(*roles: Any) -> list[Dataset]:
    """One for each role its metadata says, None for none."""
    return [new_dataset(USER, metadata=None if role is None else {"role": role}) for role in roles]


def names(given_: Sequence[Dataset], roles: dict[UUID, str] | None = None) -> list[str]:
    named, problems = named_channels(given_, roles or {})
    assert problems == []
    assert [each.dataset for each in named] == list(given_)
    return [each.channel for each in named]


def test_without_roles_all_are_for_training() -> None:
    assert names(datasets(None)) == ["training"]
    assert names(datasets(None, None, None)) == ["training", "training-2", "training-3"]


def test_a_role_is_that_of_the_config_or_else_that_of_the_dataset() -> None:
    given_ = datasets(None, "validation", "Train", "validation", "test")
    assert names(given_) == ["training", "validation", "training-2", "validation-2", "test"]
    assert names(given_, {given_[0].id: "validation", given_[1].id: "training"}) == [
        "validation", "training", "training-2", "validation-2", "test",
    ]  # fmt: skip


@given(st.lists(st.sampled_from([None, "train", "validation", "test"]), min_size=1, max_size=19))
def test_no_dataset_is_forgotten_and_no_two_share_a_channel(roles: list[str | None]) -> None:
    given_ = datasets(*roles, "train")
    found = names(given_)
    assert len(set(found)) == len(given_)
    assert "training" in found


@pytest.mark.parametrize(
    ("given_", "roles", "said"),
    [
        ([], {}, "has no datasets"),
        (datasets("validation"), {}, "None of the 1 datasets"),
        (datasets(*[None] * 21), {}, "has 21 datasets; SageMaker takes 20"),
        (datasets("trian"), {}, "Did you mean 'train'?"),
        (datasets(7), {}, "7, which is no role"),
        (datasets(None), {UUID(int=1): "training"}, "00000001, which is not one of its datasets"),
    ],
)
def test_what_cannot_be_is_a_problem(given_: list[Dataset], roles: dict[UUID, str], said: str) -> None:
    [problem] = named_channels(given_, roles)[1]
    assert said in problem.message


def test_datasets_that_are_not_in_s3_are_listed_in_one_problem() -> None:
    given_ = [new_dataset(USER, name="cats"), new_dataset(USER, name="dogs")]
    problem = missing_problem(given_, dry_run=False)
    for dataset in given_:
        assert f"{dataset.id} ({dataset.name!r}) is in supabase" in problem.message
    assert "migrate_missing" in problem.remedy


def test_sagemaker_reads_copies_in_s3_and_what_the_application_put_there() -> None:
    assert not is_in_s3(new_dataset(USER))
    assert is_in_s3(new_dataset(USER, ["s3"]))
    assert is_in_s3(new_dataset(USER, ["supabase", "s3"]))
    now, id_ = datetime.now(UTC), uuid4()
    applications: dict[str, Any] = {
        "name": "x",
        "format": "chatml",
        "storage_provider": "s3",
        "created_at": now,
        "updated_at": now,
    }
    assert is_in_s3(Dataset(id=id_, user_id=USER, storage_path=copy_of(id_, USER, "s3").path, **applications))
    assert not is_in_s3(Dataset(id=id_, user_id=USER, storage_path=f"{uuid4()}/datasets/x.jsonl.gz", **applications))


def test_a_manifest_names_one_object_and_lies_where_its_content_says() -> None:
    first = channel_of("training", Found("b", "u/datasets/a.jsonl.gz", "0" * 64, 1), "s3://c/manifests")
    other = channel_of("training", Found("b", "u/datasets/b.jsonl.gz", "0" * 64, 1), "s3://c/manifests")
    assert first == channel_of("training", Found("b", "u/datasets/a.jsonl.gz", "0" * 64, 1), "s3://c/manifests")
    channel, manifest = first
    assert json.loads(manifest) == [{"prefix": "s3://b/u/datasets/"}, "a.jsonl.gz"]
    assert (channel.uri, channel.checksum) == ("s3://b/u/datasets/a.jsonl.gz", "0" * 64)
    assert channel.manifest_uri != other[0].manifest_uri
