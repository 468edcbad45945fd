"""The hourly sweep between two nights of a migration: what was moved is not paid for twice, what nobody will take up goes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError
from catalogues import insert_as_the_application
from library_shelves import S3, SUPABASE, Shelves

from trainmaster.catalog.datasets import Dataset
from trainmaster.errors import StorageUnavailableError
from trainmaster.migration.batches import Batch, Named
from trainmaster.migration.copying import copy_batch
from trainmaster.migration.result import BatchResult
from trainmaster.storage.copy import CopyLimits
from trainmaster.storage.ends.protocols import Part
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.library import dataset_path
from trainmaster.storage.removing import delete_dataset, sweep

PART = 5 << 20
LIMITS = CopyLimits(part_bytes=PART, first_at_once=1, most_at_once=1, tries=1, pause_seconds=0.01)


@pytest.fixture
def large(shelves: Shelves) -> Dataset:
    """One of two parts, in Supabase alone."""
    id_, now, body = uuid4(), datetime.now(UTC), gzip.compress(os.urandom(PART + 1000), 0)
    path, sha256 = dataset_path(SUPABASE, shelves.user_id, id_), hashlib.sha256(body).hexdigest()
    shelves.store(SUPABASE).put(path, io.BytesIO(body), size=len(body), sha256=sha256, content_type="application/gzip")
    dataset = Dataset(id_, shelves.user_id, "theirs", "chatml", "supabase", path, now, now)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def copied(shelves: Shelves, dataset: Dataset) -> BatchResult:
    batch = Batch(1, (Named(dataset.id, "x"),), 0)
    return copy_batch(shelves.library, batch, LIMITS, by="a test")


def broken_off(shelves: Shelves, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of which one part arrived."""
    real = S3Destination.put_part

    def put_part(self: S3Destination, key: str, upload_id: str, number: int, body: memoryview) -> Part:
        if number == 2:
            raise StorageUnavailableError("S3 does not answer.")
        return real(self, key, upload_id, number, body)

    with monkeypatch.context() as patched:
        patched.setattr(S3Destination, "put_part", put_part)
        assert copied(shelves, dataset).copied == 0


def uploads(shelves: Shelves) -> list[str]:
    found = shelves.s3.list_multipart_uploads(Bucket=shelves.store(S3).bucket, Prefix=f"{shelves.user_id}/")
    return [each["UploadId"] for each in found.get("Uploads", []) if "checksums" not in each["Key"]]


def test_parts_that_arrived_are_not_read_again_the_next_night(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(shelves, large, monkeypatch)
    assert sweep(shelves.library).objects == []
    result = copied(shelves, large)
    assert (result.copied, [one.reason for one in result.failures]) == (1, [])
    assert result.bytes_read < PART
    assert (uploads(shelves), shelves.pending()) == ([], 0)


def test_a_whole_object_that_was_not_catalogued_is_not_read_again(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed before it was catalogued")

    with monkeypatch.context() as patched:
        patched.setattr(type(shelves.catalogue.migrations), "copied", dies)
        with pytest.raises(RuntimeError, match="killed"):
            copied(shelves, large)
    assert sweep(shelves.library).objects == []
    result = copied(shelves, large)
    assert (result.copied, result.bytes_read) == (1, 0)


def test_what_nobody_took_up_for_two_days_is_removed(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(shelves, large, monkeypatch)
    shelves.run_out()
    sweep(shelves.library)
    assert (uploads(shelves), shelves.pending()) == ([], 0)


def test_while_parts_cannot_be_aborted_the_claim_on_them_is_kept(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(shelves, large, monkeypatch)
    shelves.run_out()

    def unavailable(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="s3")

    shelves.s3.meta.events.register("before-send.s3.AbortMultipartUpload", unavailable, unique_id="unavailable")
    swept = sweep(shelves.library)
    assert (swept.objects, len(swept.left), shelves.pending(), len(uploads(shelves))) == ([], 1, 1, 1)
    shelves.s3.meta.events.unregister("before-send.s3.AbortMultipartUpload", unique_id="unavailable")
    shelves.run_out()
    assert (sweep(shelves.library).left, uploads(shelves), shelves.pending()) == ([], [], 0)


def test_an_upload_that_no_listing_shows_is_aborted_by_what_the_claim_knows(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(shelves, large, monkeypatch)
    shelves.run_out()

    def elsewhere(params: dict[str, Any], **_: Any) -> None:
        params["Prefix"] = "nothing/is/here"

    event = "provide-client-params.s3.ListMultipartUploads"
    shelves.s3.meta.events.register(event, elsewhere, unique_id="elsewhere")
    assert sweep(shelves.library).left == []
    shelves.s3.meta.events.unregister(event, unique_id="elsewhere")
    assert (uploads(shelves), shelves.pending()) == ([], 0)


def test_what_is_left_of_a_dataset_that_was_deleted_is_removed_at_once(
    shelves: Shelves, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(shelves, large, monkeypatch)
    delete_dataset(shelves.library, large.id, shelves.user_id)
    sweep(shelves.library)
    assert (uploads(shelves), shelves.pending(), shelves.objects()) == ([], 0, set())
