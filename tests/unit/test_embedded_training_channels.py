"""Which objects a channel holds, under which names, on which host."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.training.channels import ManifestError, described, manifest_entries, shard
from trainmaster.embedded.sagemaker.training.objects import Download, fetch, name_below


@pytest.mark.parametrize(
    ("prefix", "key", "name"),
    [
        ("data/train/", "data/train/a.csv", "a.csv"),
        ("data/train", "data/train/a.csv", "a.csv"),
        ("data/train", "data/train/deep/a.csv", "deep/a.csv"),
        ("data/train", "data/training.csv", "training.csv"),
        ("data/train.csv", "data/train.csv", "train.csv"),
        ("train.csv", "train.csv", "train.csv"),
        ("", "data/a.csv", "data/a.csv"),
    ],
)
def test_a_file_is_named_by_its_key_without_the_prefixs_folder(prefix: str, key: str, name: str) -> None:
    assert name_below(prefix, key) == name


@given(st.lists(st.text(), max_size=50), st.integers(1, 8))
def test_sharding_gives_every_object_to_exactly_one_host(keys: list[str], hosts: int) -> None:
    shares = [list(shard(keys, index, hosts)) for index in range(hosts)]
    assert sorted(key for share in shares for key in share) == sorted(keys)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_manifest_lists_objects_relative_to_its_prefix() -> None:
    entries = manifest_entries('[{"prefix": "s3://bucket/data/"}, "a.csv", "deep/b.csv"]')
    assert [(str(entry.location), entry.name) for entry in entries] == [
        ("s3://bucket/data/a.csv", "a.csv"),
        ("s3://bucket/data/deep/b.csv", "deep/b.csv"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '["a.csv"]',
        '[{"prefix": 1}, "a"]',
        '[{"prefix": "s3://b/"}, 7]',
        '[{"prefix": "http://b/"}, "a"]',
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        manifest_entries(text)


@pytest.mark.parametrize("uri", ["", "bucket/key", "s3:/bucket", "s3://", "https://bucket/key"])
def test_what_is_no_s3_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not an S3 URI"):
        Location.parse(uri)


def test_locations_below_a_prefix_have_one_slash() -> None:
    assert str(Location.parse("s3://bucket/out/").below("job/output")) == "s3://bucket/out/job/output"
    assert str(Location.parse("s3://bucket").below("job/output")) == "s3://bucket/job/output"


def test_inputdataconfig_says_what_the_channel_says_and_defaults_the_rest() -> None:
    source = {
        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k", "S3DataDistributionType": "ShardedByS3Key"}
    }
    plain = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}
    channels = [
        {"ChannelName": "train", "DataSource": source, "ContentType": "text/csv", "InputMode": "FastFile"},
        {"ChannelName": "test", "DataSource": plain},
    ]
    assert described(channels, "File") == {
        "train": {
            "TrainingInputMode": "FastFile", "S3DistributionType": "ShardedByS3Key", "RecordWrapperType": "None",
            "ContentType": "text/csv",
        },
        "test": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"},
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../escaped", "deep/../../escaped", "/etc/escaped", ".", ""])
def test_an_object_never_lands_outside_its_channel(tmp_path: Path, name: str) -> None:
    no_client: Any = None
    with pytest.raises(OSError, match="cannot be stored"):
        fetch(no_client, [Download(Location("bucket", "key"), name)], tmp_path / "channel", lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_a_download_ends_as_soon_as_its_job_has_to_halt(tmp_path: Path) -> None:
    def halt() -> None:
        raise InterruptedError

    no_client: Any = None
    downloads = (Download(Location("bucket", str(key)), str(key)) for key in range(10**6))
    with pytest.raises(InterruptedError):
        fetch(no_client, downloads, tmp_path, halt)
    assert next(downloads).name != "999999"  # nor was the rest of the list read
