"""Resumable uploads (TUS 1.0) to Supabase Storage. With TEST_SUPABASE set, they run against Supabase's own server."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from supabase_project import BUCKET, SupabaseProject

PART = 6 << 20
TUS = {"Tus-Resumable": "1.0.0"}
BODY = bytes(range(256)) * (PART // 256) + b"and a rest"


@pytest.fixture(scope="module")
def service(supabase_project: SupabaseProject) -> Iterator[httpx.Client]:
    with supabase_project.client() as client:
        yield client


@pytest.fixture
def key(service: httpx.Client) -> Iterator[str]:
    name = f"{uuid.uuid4()}/private/{uuid.uuid4()}.jsonl.gz"
    yield name
    service.request("DELETE", f"/object/{BUCKET}", json={"prefixes": [name]}).raise_for_status()


def metadata(key: str, bucket: str = BUCKET) -> str:
    said = {
        "bucketName": bucket,
        "objectName": key,
        "contentType": "application/gzip",
        "cacheControl": "3600",
        "metadata": json.dumps({"sha256": "ab" * 32}),
    }
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())


def created(client: httpx.Client, key: str, length: int = len(BODY), **headers: str) -> httpx.Response:
    path = "/upload/resumable/sign" if "x-signature" in headers else "/upload/resumable"
    asked = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata(key), **headers}
    return client.post(path, headers=asked)


def address(answer: httpx.Response) -> str:
    """Where the upload is, on the server that was asked: what it says is `https` in front of any proxy."""
    assert answer.status_code == 201, answer.text
    path = urlsplit(answer.headers["Location"]).path
    return path[path.index("/upload/resumable") :]


def patched(client: httpx.Client, where: str, offset: int, body: bytes, **headers: str) -> httpx.Response:
    asked = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset), **headers}
    return client.patch(where, content=body, headers=asked)


class TestAResumableUpload:
    def test_is_an_object_once_its_last_byte_is_there(self, service: httpx.Client, key: str) -> None:
        where = address(created(service, key))
        assert service.head(where, headers=TUS).headers["Upload-Offset"] == "0"
        first = patched(service, where, 0, BODY[:PART])
        assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(PART))
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").status_code == 400
        seen = service.head(where, headers=TUS)
        assert (seen.headers["Upload-Offset"], seen.headers["Upload-Length"]) == (str(PART), str(len(BODY)))
        last = patched(service, where, PART, BODY[PART:])
        assert (last.status_code, last.headers["Upload-Offset"]) == (204, str(len(BODY)))
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == BODY
        info = service.get(f"/object/info/{BUCKET}/{key}").json()
        assert (info["size"], info["content_type"]) == (len(BODY), "application/gzip")
        assert info["metadata"] == {"sha256": "ab" * 32}
        assert info["cache_control"] == "max-age=3600"

    def test_takes_its_only_chunk_with_its_creation(self, service: httpx.Client, key: str) -> None:
        asked = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(key)}
        asked["Content-Type"] = "application/offset+octet-stream"
        answer = service.post("/upload/resumable", content=b"whole", headers=asked)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "5")
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"whole"

    def test_can_be_asked_about_once_it_is_done(self, service: httpx.Client, key: str) -> None:
        where = address(created(service, key, 5))
        patched(service, where, 0, b"whole").raise_for_status()
        seen = service.head(where, headers=TUS)
        assert (seen.headers["Upload-Offset"], seen.headers["Upload-Length"]) == ("5", "5")
        assert patched(service, where, 0, b"other").status_code == 409
        assert service.delete(where, headers=TUS).status_code == 400
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"whole"

    def test_refuses_a_chunk_for_another_place(self, service: httpx.Client, key: str) -> None:
        where = address(created(service, key))
        assert patched(service, where, 10, BODY[10:20]).status_code == 409
        patched(service, where, 0, BODY[:PART]).raise_for_status()
        assert patched(service, where, 0, BODY[:PART]).status_code == 409
        assert service.head(where, headers=TUS).headers["Upload-Offset"] == str(PART)

    def test_needs_its_protocol_named(self, service: httpx.Client, key: str) -> None:
        where = address(created(service, key))
        assert created(service, key, **{"Tus-Resumable": "0.2.2"}).status_code == 412
        assert patched(service, where, 0, b"x", **{"Content-Type": "text/plain"}).status_code in (400, 403, 415)
        asked = {**TUS, "Content-Type": "application/offset+octet-stream"}
        assert service.patch(where, content=b"x", headers=asked).status_code in (400, 403)
        assert service.head(where, headers=TUS).headers["Upload-Offset"] == "0"

    def test_is_ended_by_its_removal(self, service: httpx.Client, key: str) -> None:
        where = address(created(service, key))
        patched(service, where, 0, BODY[:PART]).raise_for_status()
        assert service.delete(where, headers=TUS).status_code == 204
        assert service.head(where, headers=TUS).status_code in (404, 410)
        assert patched(service, where, PART, BODY[PART:]).status_code in (404, 410)

    def test_replaces_what_is_there_only_when_asked(self, service: httpx.Client, key: str) -> None:
        service.post(f"/object/{BUCKET}/{key}", content=b"there").raise_for_status()
        assert created(service, key, 3).status_code == 409
        where = address(created(service, key, 3, **{"x-upsert": "true"}))
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"there"
        assert patched(service, where, 0, b"new", **{"x-upsert": "true"}).status_code == 204
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"new"

    def test_into_no_bucket_or_under_no_key_is_refused(self, service: httpx.Client, key: str) -> None:
        asked = {**TUS, "Upload-Length": "3", "Upload-Metadata": metadata(key, "nowhere-at-all")}
        assert service.post("/upload/resumable", headers=asked).status_code == 404
        assert created(service, "tilde~").status_code == 400
        assert service.post("/upload/resumable", headers={**TUS, "Upload-Length": "3"}).status_code == 400

    def test_says_what_it_can(self, service: httpx.Client) -> None:
        answer = service.options("/upload/resumable", headers=TUS)
        assert answer.status_code in (200, 204)
        assert "1.0.0" in answer.headers["Tus-Version"]
        assert {"creation", "termination", "expiration"} <= set(answer.headers["Tus-Extension"].split(","))


class TestWhoMayResume:
    def test_a_user_uploads_into_their_own_folder_only(self, supabase_project: SupabaseProject, key: str) -> None:
        user = key.partition("/")[0]
        with supabase_project.client(supabase_project.token(user)) as client:
            where = address(created(client, key, 4))
            assert patched(client, where, 0, b"mine").status_code == 204
            assert created(client, f"{uuid.uuid4()}/private/x").status_code == 403
        with supabase_project.client(supabase_project.token(str(uuid.uuid4()))) as another:
            assert created(another, f"{key}.2").status_code == 403
        with supabase_project.client("") as anybody:
            assert created(anybody, f"{key}.2").status_code == 400

    def test_another_cannot_add_to_it_or_end_it(
        self, supabase_project: SupabaseProject, service: httpx.Client, key: str
    ) -> None:
        with supabase_project.client(supabase_project.token(key.partition("/")[0])) as owner:
            where = address(created(owner, key, 4))
            with supabase_project.client(supabase_project.token(str(uuid.uuid4()))) as another:
                assert patched(another, where, 0, b"evil").status_code == 403
                assert another.delete(where, headers=TUS).status_code == 403
            assert patched(owner, where, 0, b"good").status_code == 204
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"good"

    def test_a_signed_address_is_enough(
        self, supabase_project: SupabaseProject, service: httpx.Client, key: str
    ) -> None:
        token = service.post(f"/object/upload/sign/{BUCKET}/{key}").json()["token"]
        with supabase_project.client("") as anybody:
            signed = {"x-signature": token}
            assert created(anybody, f"{key}.2", 6, **signed).status_code == 400
            where = address(created(anybody, key, 6, **signed))
            assert patched(anybody, where, 0, b"signed", **signed).status_code == 204
            assert patched(anybody, where, 0, b"signed", **{"x-signature": "no"}).status_code == 400
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").content == b"signed"
