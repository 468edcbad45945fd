"""The engine between real stores: Supabase to S3, and S3 to S3 at the servers; in memory that does not grow with the sizes."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from crossing import PART, Crossing, packed
from embedded_aws import EmbeddedAws
from object_stores import sha256

from trainmaster.storage.copy import Copied, CopyLimits, Tally, Transfer, copy_objects
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.engine import gathering

LIMITS = CopyLimits(part_bytes=PART, pause_seconds=0.01)
LARGE = 120 << 20

CHILD = """
import json, resource, sys
import boto3
from trainmaster.storage.copy import CopyLimits, Tally, Transfer, copy_objects
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source

about = json.loads(sys.argv[1])
client = boto3.client("s3", **about["client"])
source, destination = S3Source(client, about["bucket"]), S3Destination(client, about["bucket"])
destination.can_copy_from = lambda _: False

def copied(*keys):
    wanted = [Transfer(key, key, f"copy/{key}", must_be_gzip=False) for key in keys]
    limits = CopyLimits(in_flight_bytes=64 << 20, part_bytes=5 << 20)
    return [(one.sha256, one.size) for one in copy_objects(source, destination, wanted, limits=limits, tally=tally)]

tally = Tally()
copied("small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
large = copied("large")
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
print(json.dumps({"copied": large, "grown": grown, "most_in_flight": tally.most_in_flight}))
"""


@pytest.fixture
def crossing(embedded: EmbeddedAws, tmp_path: Path) -> Iterator[Crossing]:
    crossing = Crossing(embedded.environment, tmp_path)
    yield crossing
    crossing.close()


def connection(embedded: EmbeddedAws) -> dict[str, Any]:
    environment = embedded.environment
    return {
        "endpoint_url": environment["AWS_ENDPOINT_URL_S3"],
        "region_name": environment["AWS_REGION"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }


@pytest.fixture
def s3(embedded: EmbeddedAws) -> Any:
    return boto3.client("s3", **connection(embedded))


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"engine-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def test_objects_of_supabase_arrive_as_they_are_and_are_found_there_again(crossing: Crossing) -> None:
    folder = uuid.uuid4().hex
    bodies = {f"{folder}/{n}.gz": packed(size, n) for n, size in enumerate([0, 20_000, PART - 100, PART, 3 * PART])}
    wanted = [Transfer(path, crossing.send(path, data), f"to/{path}", size=len(data)) for path, data in bodies.items()]
    wanted += [Transfer(f"unknown {n}", one.source, f"unknown/{one.source}") for n, one in enumerate(wanted)]
    source, destination = crossing.ends(Timeouts(answer_seconds=30))
    outcomes = list(copy_objects(source, destination, wanted, limits=LIMITS))
    assert len(outcomes) == len(wanted)
    for outcome in outcomes:
        assert isinstance(outcome, Copied), outcome
        data = bodies[outcome.transfer.source]
        assert (outcome.sha256, outcome.size, outcome.bytes_read) == (sha256(data), len(data), len(data))
    assert crossing.at_s3("to/") == {f"to/{path}": data for path, data in bodies.items()}
    assert crossing.at_s3("unknown/") == {f"unknown/{path}": data for path, data in bodies.items()}
    assert crossing.uploads() == []
    again = [replace(one, tried_before=True) for one in wanted]
    for outcome in copy_objects(source, destination, again, limits=LIMITS):
        assert isinstance(outcome, Copied), outcome
        assert (outcome.sent, outcome.bytes_read) == (False, 0)


def test_three_hundred_small_objects_of_a_folder_take_little_more_than_two_requests_each(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "LONGEST_WAIT", 90.0)  # however slow this machine is
    folder, data = uuid.uuid4().hex, packed(500)
    paths = [crossing.send(f"{folder}/{uuid.uuid4()}.gz", data) for _ in range(300)]
    wanted = [Transfer(path, path, f"to/{path}", size=len(data)) for path in sorted(paths)]
    source, destination = crossing.ends(Timeouts(answer_seconds=30))
    outcomes = list(copy_objects(source, destination, wanted, limits=LIMITS))
    assert [outcome for outcome in outcomes if not isinstance(outcome, Copied)] == []
    asked = len(crossing.source.passed) + len(crossing.destination.passed)
    assert len(outcomes) == 300
    assert asked <= 2.1 * 300 + 20, "and some to find out what the destination checks"
    assert crossing.at_s3("to/") == {f"to/{path}": data for path in paths}


def test_what_the_servers_can_copy_does_not_pass_through_here_but_to_be_proven(s3: Any, bucket: str) -> None:
    small, large, broken = packed(20_000), packed(2 * PART, "large"), packed(20_000)[:-1]
    for key, data in {"small": small, "large": large, "broken": broken}.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    source, destination, tally = S3Source(s3, bucket), S3Destination(s3, bucket), Tally()
    wanted = [Transfer(key, key, f"to/{key}") for key in ("small", "large", "broken")]
    outcomes = {one.transfer.key: one for one in copy_objects(source, destination, wanted, limits=LIMITS, tally=tally)}
    for key, data in {"small": small, "large": large}.items():
        outcome = outcomes[key]
        assert isinstance(outcome, Copied)
        assert (outcome.sha256, outcome.bytes_read) == (sha256(data), 0)
        assert s3.get_object(Bucket=bucket, Key=f"to/{key}")["Body"].read() == data
    assert "breaks off" in str(outcomes["broken"].error)  # type: ignore[union-attr]
    assert s3.list_objects_v2(Bucket=bucket, Prefix="to/")["KeyCount"] == 2
    assert tally.bytes_read == 0


def test_memory_does_not_grow_with_an_object(embedded: EmbeddedAws, s3: Any, bucket: str) -> None:
    piece = packed(PART)
    s3.put_object(Bucket=bucket, Key="small", Body=piece)
    upload = {"Bucket": bucket, "Key": "large"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    count = -(-LARGE // len(piece))
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=piece)["ETag"]}
        for n in range(1, count + 1)
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    about = json.dumps({"client": connection(embedded), "bucket": bucket})
    child = subprocess.run(
        [sys.executable, "-c", CHILD, about], capture_output=True, text=True, timeout=200, check=False
    )
    assert child.returncode == 0, child.stderr
    said = json.loads(child.stdout)
    assert said["copied"] == [[sha256(piece * count), count * len(piece)]]
    assert said["most_in_flight"] <= 64 << 20
    assert said["grown"] < 96 << 20
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
