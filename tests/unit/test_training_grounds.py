"""One user's jobs neither read nor write over what is another's, whatever the role they run as may."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainmaster.training.grounds import Grounds

OWN, OTHER = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def grounds(**other: Any) -> Grounds:
    whole = {"user_id": OWN, "bucket": "bucket", "datasets": "bucket", "is_own_job": {"mine-1"}.__contains__}
    return Grounds(**{**whole, **other})


def reads(uri: str, **other: Any) -> bool:
    return grounds(**other).reading(uri, "data_uri", "datasets") is None


def keeps(uri: str, **other: Any) -> bool:
    return grounds(**other).keeping(uri) is None


@given(st.uuids(), st.data())
def test_no_address_that_another_users_dataset_begins_with_is_read_and_none_of_ones_own_refused(
    other: UUID, data: Any
) -> None:
    assume(str(other) != OWN)
    key = f"{other}/datasets/{other}.jsonl.gz"
    length = data.draw(st.integers(0, len(key)))
    assert not reads(f"s3://bucket/{key[:length]}")
    assert reads(f"s3://bucket/{OWN}/{key[:length]}")
    assert not keeps(f"s3://bucket/{key[:length]}")


@pytest.mark.parametrize(
    "uri", ["s3://bucket/houses/", "s3://bucket/data", "s3://bucket/cafe/", "s3://bucket/trainmaster/m/data/1/",
            f"s3://bucket/{OWN}", f"s3://elsewhere/{OTHER}/", "s3://elsewhere"],
)  # fmt: skip
def test_what_is_nobodys_folder_is_read(uri: str) -> None:
    assert reads(uri)


def test_without_a_user_every_users_folder_is_anothers() -> None:
    assert not reads(f"s3://bucket/{OWN}/", user_id="")
    assert reads("s3://bucket/houses/", user_id="")


def test_a_bucket_for_each_user_is_that_users_alone() -> None:
    datasets = "data-{user_id}"
    assert reads(f"s3://data-{OWN}/{OWN}/datasets/", datasets=datasets)
    assert not reads(f"s3://data-{OTHER}/houses/", datasets=datasets)
    assert not keeps(f"s3://data-{OTHER}/kept/", datasets=datasets)
    assert reads("s3://data-of-houses/", datasets=datasets)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/kept/", "s3://bucket/kept", "s3://elsewhere/trainmaster/",
            "s3://bucket/trainmaster/m/jobs/mine-1/checkpoints", "s3://bucket/trainmaster/m/jobs/mine-1/checkpoints/"],
)  # fmt: skip
def test_checkpoints_are_kept_where_nothing_else_is_and_gone_on_from_where_a_job_of_ones_own_kept_them(
    uri: str,
) -> None:
    assert keeps(uri)


@pytest.mark.parametrize(
    "key", ["", "trainmaster", "trainmaster/", "train", "trainmaster/m/", "trainmaster/m/jobs/theirs-1/checkpoints",
            "trainmaster/m/jobs/mine-1/output/", "trainmaster/m/source/", f"{OWN}/datasets/", f"{OTHER}/"],
)  # fmt: skip
def test_no_checkpoints_are_kept_among_datasets_or_what_other_jobs_need_and_leave(key: str) -> None:
    assert not keeps(f"s3://bucket/{key}")


def test_none_at_all_are_kept_in_a_bucket_of_datasets() -> None:
    assert not keeps("s3://datasets/kept/", datasets="datasets")
    assert reads("s3://datasets/houses/", datasets="datasets")
