"""Supabase Storage's S3 endpoint: whom it lets in, what it says in its own way, and datasets copied to S3 from it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from copied_shelves import PARTS, applications_own, assert_holds, current, packed, run
from library_shelves import SUPABASE, Shelves
from moved_datasets import put_in_supabase
from object_stores import Server, content, put
from pydantic import SecretStr

from trainmaster.errors import NotConfiguredError
from trainmaster.storage.library import Library
from trainmaster.storage.stores import Stores
from trainmaster.storage.supabase_s3 import SupabaseS3Source, supabase_s3_client

Client = Callable[..., Any]


@pytest.fixture
def client(supabase: Server, supabase_s3_keys: tuple[str, str]) -> Client:
    """With the project's keys for its region, unless others are said."""
    key_id, secret = supabase_s3_keys

    def made(key_id: str = key_id, secret: str = secret, region: str = "us-east-1") -> Any:
        return supabase_s3_client(supabase.url, key_id, secret, region)

    return made


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as error:
        call(Bucket="training-datasets", **asked)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"], str(error.value)


class TestWhoIsLetIn:
    @pytest.mark.parametrize(
        "wrong", [{"key_id": "of nobody"}, {"secret": "other"}, {"region": "eu-central-1"}], ids=str
    )
    def test_only_who_has_the_keys_for_the_region(self, client: Client, wrong: dict[str, str], key: str) -> None:
        assert refusal(client(**wrong).head_object, Key=key)[0] == 403
        assert refusal(client(**wrong).list_objects_v2)[0] == 403
        with pytest.raises(NotConfiguredError, match="SUPABASE_S3_ACCESS_KEY_ID"):
            SupabaseS3Source(client(**wrong), "training-datasets").read(key, 0, 1)

    def test_nobody_without_a_signature_nor_with_a_token_of_the_http_api(self, supabase: Server, key: str) -> None:
        at = f"{supabase.url}/storage/v1/s3/training-datasets/{key}"
        for headers in ({}, {"Authorization": f"Bearer {supabase.secret}"}):
            answer = httpx.get(at, headers=headers)
            assert answer.status_code == 403
            assert "<Code>AccessDenied</Code><Message>Missing signature</Message>" in answer.text

    def test_a_signature_counts_for_what_was_signed_alone(self, client: Client, supabase: Server, key: str) -> None:
        put(supabase.store(), key, b"mine")
        signed: list[Any] = []
        s3 = client()
        s3.meta.events.register("before-send.s3.GetObject", lambda request, **_: signed.append(request))
        assert s3.get_object(Bucket="training-datasets", Key=key)["Body"].read() == b"mine"
        [request] = signed
        headers = {name: _text(value) for name, value in request.headers.items()}
        assert httpx.get(request.url, headers=headers).content == b"mine"
        other = httpx.get(f"{request.url}.other", headers=headers)
        assert (other.status_code, "SignatureDoesNotMatch" in other.text) == (403, True)


class TestWhatItSays:
    def test_refusals_are_xml_of_a_namespace_in_which_botocore_finds_no_code(self, client: Client, key: str) -> None:
        status, said = refusal(client().get_object, Key=key)
        assert (status, "NoSuchKey" in said) == (404, False)

    def test_a_bucket_that_is_not_there_has_just_no_object_but_cannot_be_listed(self, client: Client, key: str) -> None:
        s3, bodies = client(), list[bytes]()
        s3.meta.events.register("after-call.s3", lambda http_response, **_: bodies.append(http_response.content))
        for call in (s3.get_object, s3.list_objects_v2):
            asked = {"Key": key} if call == s3.get_object else {}
            with pytest.raises(ClientError):
                call(Bucket="no-such-bucket", **asked)
        assert [b"<Code>NoSuchKey</Code>" in bodies[0], b"<Code>NoSuchBucket</Code>" in bodies[1]] == [True, True]

    def test_if_match_is_not_looked_at_and_a_range_beyond_the_end_is_refused(
        self, client: Client, supabase: Server, key: str
    ) -> None:
        put(supabase.store(), key, content(1000))
        s3, at = client(), {"Bucket": "training-datasets", "Key": key}
        answer = s3.get_object(**at, IfMatch='"another"', Range="bytes=10-19")
        assert (answer["ContentRange"], answer["Body"].read()) == ("bytes 10-19/1000", content(1000)[10:20])
        assert refusal(s3.get_object, Key=key, Range="bytes=1000-1001")[0] == 416

    def test_what_is_recorded_beside_an_object_is_told_as_far_as_a_header_holds_it(
        self, client: Client, shelves: Shelves, key: str
    ) -> None:
        put_in_supabase(shelves, key, b"x", sha256="abc", who="ümlaut", on="two\nlines")
        answer = client().head_object(Bucket="training-datasets", Key=key)
        told = {name.lower(): value for name, value in answer["Metadata"].items()}
        assert (told, answer["MissingMeta"]) == ({"sha256": "abc"}, 2)

    def test_pages_of_a_listing_follow_each_other_and_folders_are_apart(
        self, client: Client, supabase: Server, key: str
    ) -> None:
        store, names = supabase.store(), [f"{key}/{each}" for each in ("a b", "b.x", "b/1", "b/2", "c")]
        for name in names:
            put(store, name, b"x")
        at = {"Bucket": "training-datasets", "Prefix": f"{key}/"}
        pages = list(client().get_paginator("list_objects_v2").paginate(**at, PaginationConfig={"PageSize": 2}))
        assert [[each["Key"] for each in page["Contents"]] for page in pages] == [names[:2], names[2:4], names[4:]]
        folders = client().list_objects_v2(**at, Delimiter="/", StartAfter=names[0])
        assert [each["Prefix"] for each in folders["CommonPrefixes"]] == [f"{key}/b/"]
        assert [each["Key"] for each in folders["Contents"]] == [names[1], names[4]]


class TestCopying:
    @pytest.fixture
    def library(self, shelves: Shelves, supabase_s3_keys: tuple[str, str]) -> Library:
        key_id, secret = supabase_s3_keys
        keys = {"supabase_s3_access_key_id": key_id, "supabase_s3_secret_access_key": SecretStr(secret)}
        stores = Stores(shelves.settings.model_copy(update=keys), lambda: shelves.s3)
        return replace(shelves.library, stores=stores)

    def test_datasets_are_copied_by_it_small_and_large_and_what_is_missing_is_said(
        self, shelves: Shelves, library: Library
    ) -> None:
        bytes_ = [packed(n) for n in range(8)] + [gzip.compress(os.urandom(17 << 20), 0)]
        datasets = [applications_own(shelves, each) for each in bytes_]
        lost = applications_own(shelves, packed())
        shelves.store(SUPABASE).delete(lost.storage_path)
        result = run(shelves, *datasets, lost, library=library, limits=PARTS)
        assert (result.copied, [(one.dataset_id, one.kind) for one in result.failures]) == (
            9, [(lost.id, "source_missing")],
        )  # fmt: skip
        for dataset, each in zip(datasets, bytes_, strict=True):
            assert_holds(shelves, dataset, each)
        known = current(shelves, datasets[0]).supabase
        assert known
        assert known.version == shelves.library.stores.source(SUPABASE, "training-datasets").look(known.path).tag

    def test_keys_that_are_refused_end_a_run_with_what_to_set(
        self, shelves: Shelves, supabase_s3_keys: tuple[str, str]
    ) -> None:
        dataset = applications_own(shelves, packed())
        wrong = {"supabase_s3_access_key_id": supabase_s3_keys[0], "supabase_s3_secret_access_key": SecretStr("wrong")}
        stores = Stores(shelves.settings.model_copy(update=wrong), lambda: shelves.s3)
        result = run(shelves, dataset, library=replace(shelves.library, stores=stores))
        assert "SUPABASE_S3_SECRET_ACCESS_KEY" in result.ended_early
        assert (result.left, result.failures) == (1, ())
        assert run(shelves, dataset).copied == 1


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
