"""Objects of Supabase Storage over plain HTTP. With TEST_SUPABASE set, these run against Supabase's own server, unchanged."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from supabase_project import SupabaseProject

WITHIN = 90.0


@pytest.fixture(scope="module")
def service(supabase_project: SupabaseProject) -> Iterator[httpx.Client]:
    with supabase_project.client() as client:
        yield client


@pytest.fixture(scope="module")
def bucket(service: httpx.Client) -> Iterator[str]:
    """A private bucket of this module's own."""
    name = f"test-{uuid.uuid4().hex}"
    service.post("/bucket", json={"name": name, "public": False}).raise_for_status()
    yield name
    service.post(f"/bucket/{name}/empty").raise_for_status()
    service.delete(f"/bucket/{name}")


@pytest.fixture
def key() -> str:
    return f"of a test/{uuid.uuid4().hex}.bin"


@pytest.fixture(scope="module")
def path(service: httpx.Client, bucket: str) -> str:
    """Where ten bytes are."""
    service.post(f"/object/{bucket}/ranged", content=b"0123456789").raise_for_status()
    return f"/object/authenticated/{bucket}/ranged"


def refused(answer: httpx.Response, status: str, error: str | None = None) -> bool:
    """Whether it is HTTP 400 with this string as the status in its body."""
    body = answer.json()
    return answer.status_code == 400 and body["statusCode"] == status and error in (None, body["error"])


class TestAnUpload:
    def test_has_one_tag_and_size_whether_it_is_read_or_described(
        self, service: httpx.Client, bucket: str, key: str
    ) -> None:
        """So who has read it can ask whether that is what is there still."""
        for data in (b"first", b"another"):
            service.post(f"/object/{bucket}/{key}", content=data, headers={"x-upsert": "true"}).raise_for_status()
            read = service.get(f"/object/authenticated/{bucket}/{key}", headers={"Accept-Encoding": "identity"})
            described = service.get(f"/object/info/{bucket}/{key}").json()
            assert (described["etag"], described["size"]) == (read.headers["ETag"], len(data))

    def test_is_readable_with_what_was_said_of_it(self, service: httpx.Client, bucket: str, key: str) -> None:
        metadata = {"sha256": "ab" * 32, "of": "ümläut"}
        headers = {
            "Content-Type": "application/gzip",
            "Cache-Control": "max-age=60",
            "x-metadata": base64.b64encode(json.dumps(metadata).encode()).decode(),
        }
        answer = service.post(f"/object/{bucket}/{key}", content=b"0123456789", headers=headers)
        assert answer.status_code == 200
        assert answer.json()["Key"] == f"{bucket}/{key}"
        found = service.get(f"/object/authenticated/{bucket}/{key}")
        assert (found.status_code, found.content) == (200, b"0123456789")
        assert found.headers["Content-Type"] == "application/gzip"
        assert found.headers["ETag"] == f'"{hashlib.md5(b"0123456789", usedforsecurity=False).hexdigest()}"'
        assert "max-age=60" in found.headers["Cache-Control"]
        info = service.get(f"/object/info/{bucket}/{key}").json()
        assert info["metadata"] == metadata
        assert (info["name"], info["size"], info["content_type"]) == (key, 10, "application/gzip")
        assert info["etag"] == found.headers["ETag"]
        assert info["version"]

    def test_as_a_form_has_the_type_and_metadata_of_its_fields(
        self, service: httpx.Client, bucket: str, key: str
    ) -> None:
        fields = {"cacheControl": "120", "metadata": json.dumps({"sha256": "cd" * 32})}
        body = b"x" * 700_000  # more than fits into a parser's memory
        file = {"file": ("any.jsonl", body, "application/jsonl")}
        answer = service.post(f"/object/{bucket}/{key}", data=fields, files=file)
        assert answer.status_code == 200
        info = service.get(f"/object/info/{bucket}/{key}").json()
        assert info["metadata"] == {"sha256": "cd" * 32}
        assert (info["size"], info["content_type"], info["cache_control"]) == (
            700_000,
            "application/jsonl",
            "max-age=120",
        )
        assert service.get(f"/object/authenticated/{bucket}/{key}").content == body

    def test_does_not_replace_another_unless_asked(self, service: httpx.Client, bucket: str, key: str) -> None:
        path = f"/object/{bucket}/{key}"
        service.post(path, content=b"first").raise_for_status()
        before = service.get(f"/object/info/{bucket}/{key}").json()
        assert refused(service.post(path, content=b"second"), "409", "Duplicate")
        assert refused(service.post(path, content=b"second", headers={"x-upsert": "false"}), "409", "Duplicate")
        assert service.get(path).content == b"first"
        assert service.post(path, content=b"third", headers={"x-upsert": "true"}).status_code == 200
        assert service.get(path).content == b"third"
        assert service.put(path, content=b"fourth").status_code == 200
        assert service.get(path).content == b"fourth"
        after = service.get(f"/object/info/{bucket}/{key}").json()
        assert after["id"] == before["id"]
        assert after["version"] != before["version"]

    @pytest.mark.parametrize("name", ["tilde~", "ümläut", "日本", "hash#", "per%cent", "back\\slash"])
    def test_of_a_key_with_unsafe_characters_is_refused(self, service: httpx.Client, bucket: str, name: str) -> None:
        address = httpx.URL(f"{service.base_url}object/{bucket}/").copy_with(
            raw_path=f"{service.base_url.path}object/{bucket}/a/".encode()
            + b"".join(b"%%%02X" % b for b in name.encode())
        )
        assert refused(service.post(address, content=b""), "400", "InvalidKey")

    @pytest.mark.parametrize("name", ["a b/c", "plus+at@=&$,;:!*'()", "dots/../up", "double//slash", "what?is"])
    def test_of_a_key_with_odd_characters_is_stored(self, service: httpx.Client, bucket: str, name: str) -> None:
        name = f"{uuid.uuid4().hex}/{name}"
        raw = f"{service.base_url.path}object/{bucket}/".encode() + b"".join(
            bytes([b]) if chr(b).isalnum() or b == 47 else b"%%%02X" % b for b in name.encode()
        )
        address = service.base_url.copy_with(raw_path=raw)
        assert service.post(address, content=b"odd").status_code == 200
        listed = service.post(f"/object/list-v2/{bucket}", json={"prefix": name}).json()["objects"]
        assert [each["name"] for each in listed] == [name]
        assert service.get(address).content == b"odd"

    def test_needs_no_length_announced(self, service: httpx.Client, bucket: str, key: str) -> None:
        parts = (b"x" * 100_000 for _ in range(8))
        assert service.post(f"/object/{bucket}/{key}", content=parts).status_code == 200
        assert service.get(f"/object/info/{bucket}/{key}").json()["size"] == 800_000

    def test_of_several_at_once_to_one_key_leaves_one_whole(self, service: httpx.Client, bucket: str, key: str) -> None:
        bodies = [bytes([number]) * 200_000 for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda body: service.put(f"/object/{bucket}/{key}", content=body).status_code, bodies))
        assert done == [200] * 8
        found = service.get(f"/object/authenticated/{bucket}/{key}")
        assert found.content in bodies
        assert found.headers["ETag"] == f'"{hashlib.md5(found.content, usedforsecurity=False).hexdigest()}"'

    def test_does_not_disturb_who_is_reading_what_it_replaces(
        self, service: httpx.Client, bucket: str, key: str
    ) -> None:
        path = f"/object/{bucket}/{key}"
        service.put(path, content=b"a" * 5_000_000).raise_for_status()
        with service.stream("GET", path) as reading:
            parts = reading.iter_raw()
            first = next(parts)
            service.put(path, content=b"b" * 5_000_000).raise_for_status()
            assert first + b"".join(parts) == b"a" * 5_000_000
        assert service.get(path).content == b"b" * 5_000_000

    def test_into_a_bucket_that_is_not_there_is_refused(self, service: httpx.Client) -> None:
        assert refused(service.post("/object/nowhere-at-all/a", content=b"x"), "404", "Bucket not found")

    def test_of_nothing_is_an_object_of_nothing(self, service: httpx.Client, bucket: str, key: str) -> None:
        assert service.post(f"/object/{bucket}/{key}", content=b"").status_code == 200
        assert service.get(f"/object/authenticated/{bucket}/{key}").content == b""
        assert service.get(f"/object/info/{bucket}/{key}").json()["size"] == 0


class TestADownload:
    @pytest.mark.parametrize(
        ("asked", "said", "body"),
        [
            ("bytes=2-5", "bytes 2-5/10", b"2345"),
            ("bytes=7-", "bytes 7-9/10", b"789"),
            ("bytes=-3", "bytes 7-9/10", b"789"),
            ("bytes=8-100", "bytes 8-9/10", b"89"),
        ],
    )
    def test_of_a_range_is_that_range(
        self, service: httpx.Client, path: str, asked: str, said: str, body: bytes
    ) -> None:
        answer = service.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.headers["Content-Range"], answer.content) == (206, said, body)

    def test_of_a_range_beyond_the_end_is_refused(self, service: httpx.Client, path: str) -> None:
        assert service.get(path, headers={"Range": "bytes=10-"}).status_code in (400, 416)

    def test_does_not_look_at_if_match(self, service: httpx.Client, path: str) -> None:
        assert service.get(path, headers={"If-Match": '"another"'}).status_code == 200

    def test_of_what_has_not_changed_has_no_body(self, service: httpx.Client, path: str) -> None:
        etag = service.get(path).headers["ETag"]
        assert service.get(path, headers={"If-None-Match": etag}).status_code == 304

    def test_is_a_file_of_the_name_asked_for(self, service: httpx.Client, path: str) -> None:
        said = service.get(path, params={"download": "my data.gz"}).headers["Content-Disposition"]
        assert said.startswith("attachment; filename=my%20data.gz;")
        assert service.get(path, params={"download": ""}).headers["Content-Disposition"] == "attachment;"

    def test_has_a_head_without_a_body(self, service: httpx.Client, path: str) -> None:
        answer = service.head(path)
        assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "10", b"")

    def test_of_what_is_not_there_is_refused(self, service: httpx.Client, bucket: str) -> None:
        for path in (f"authenticated/{bucket}", bucket, f"info/{bucket}", f"info/authenticated/{bucket}"):
            assert refused(service.get(f"/object/{path}/not-there"), "404"), path
        assert service.head(f"/object/authenticated/{bucket}/not-there").status_code == 400

    def test_of_a_public_bucket_needs_no_token(self, supabase_project: SupabaseProject, service: httpx.Client) -> None:
        name = f"public-{uuid.uuid4().hex}"
        service.post("/bucket", json={"name": name, "public": True}).raise_for_status()
        service.post(f"/object/{name}/a/b.txt", content=b"to all").raise_for_status()
        with supabase_project.client("") as anybody:
            for path in (f"/object/public/{name}/a/b.txt", f"/object/{name}/a/b.txt"):
                assert anybody.get(path).content == b"to all", path
            assert anybody.get(f"/object/info/public/{name}/a/b.txt").json()["size"] == 6
            service.put(f"/bucket/{name}", json={"public": False}).raise_for_status()
            assert anybody.get(f"/object/public/{name}/a/b.txt").status_code == 400
            assert anybody.get(f"/object/{name}/a/b.txt").status_code == 400
        service.delete(f"/object/{name}/a/b.txt").raise_for_status()
        service.delete(f"/bucket/{name}").raise_for_status()


class TestASignedAddress:
    @pytest.fixture
    def anybody(self, supabase_project: SupabaseProject) -> Iterator[httpx.Client]:
        with supabase_project.client("") as client:
            yield client

    def test_reads_its_object_and_no_other(
        self, service: httpx.Client, anybody: httpx.Client, bucket: str, key: str
    ) -> None:
        service.post(f"/object/{bucket}/{key}", content=b"signed").raise_for_status()
        signed = service.post(f"/object/sign/{bucket}/{key}", json={"expiresIn": 60}).json()["signedURL"]
        assert signed.startswith(f"/object/sign/{bucket}/{key}?token=")
        answer = anybody.get(f"{signed}&download=it.txt", headers={"Range": "bytes=1-3"})
        assert (answer.status_code, answer.content) == (206, b"ign")
        assert "it.txt" in answer.headers["Content-Disposition"]
        service.post(f"/object/{bucket}/{key}2", content=b"another").raise_for_status()
        assert refused(anybody.get(signed.replace("?", "2?")), "400", "InvalidSignature")
        assert refused(anybody.get(signed[:-9]), "400", "InvalidJWT")
        assert anybody.get(signed.partition("?")[0]).status_code == 400
        assert anybody.put(signed.replace("/object/sign", "/object/upload/sign"), content=b"no").status_code == 400

    def test_says_when_it_has_expired(
        self, service: httpx.Client, anybody: httpx.Client, bucket: str, key: str
    ) -> None:
        service.post(f"/object/{bucket}/{key}", content=b"brief").raise_for_status()
        signed = service.post(f"/object/sign/{bucket}/{key}", json={"expiresIn": 1}).json()["signedURL"]
        deadline = time.monotonic() + WITHIN
        while (answer := anybody.get(signed)).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert refused(answer, "400", "InvalidJWT")

    def test_is_made_for_what_is_there_only(self, service: httpx.Client, bucket: str, key: str) -> None:
        assert refused(service.post(f"/object/sign/{bucket}/{key}", json={"expiresIn": 60}), "404", "not_found")
        assert service.post(f"/object/sign/{bucket}/{key}", json={}).status_code == 400
        service.post(f"/object/{bucket}/{key}", content=b"there").raise_for_status()
        made = service.post(f"/object/sign/{bucket}", json={"expiresIn": 60, "paths": [key, "not-there"]}).json()
        assert [each["path"] for each in made] == [key, "not-there"]
        assert made[0]["error"] is None
        assert made[1]["signedURL"] is None
        assert service.get(made[0]["signedURL"]).content == b"there"

    def test_for_an_upload_takes_one(self, service: httpx.Client, anybody: httpx.Client, bucket: str, key: str) -> None:
        made = service.post(f"/object/upload/sign/{bucket}/{key}").json()
        assert made["url"].startswith(f"/object/upload/sign/{bucket}/{key}?token=")
        answer = anybody.put(made["url"], content=b"by anybody", headers={"Content-Type": "text/csv"})
        assert answer.json()["Key"] == f"{bucket}/{key}"
        assert service.get(f"/object/authenticated/{bucket}/{key}").content == b"by anybody"
        assert refused(anybody.put(made["url"], content=b"again"), "409")
        assert anybody.get(f"/object/sign/{bucket}/{key}", params={"token": made["token"]}).status_code == 400


class TestMovingCopyingDeleting:
    def test_a_move_leaves_nothing_behind(self, service: httpx.Client, bucket: str, key: str) -> None:
        service.post(f"/object/{bucket}/{key}", content=b"moved").raise_for_status()
        asked = {"bucketId": bucket, "sourceKey": key, "destinationKey": f"{key}.new"}
        assert service.post("/object/move", json=asked).json()["message"] == "Successfully moved"
        assert service.get(f"/object/authenticated/{bucket}/{key}.new").content == b"moved"
        assert refused(service.get(f"/object/authenticated/{bucket}/{key}"), "404")
        assert refused(service.post("/object/move", json=asked), "404")

    def test_a_copy_is_one_of_its_own(self, service: httpx.Client, bucket: str, key: str) -> None:
        metadata = base64.b64encode(b'{"sha256": "ef"}').decode()
        service.post(f"/object/{bucket}/{key}", content=b"copied", headers={"x-metadata": metadata}).raise_for_status()
        asked = {"bucketId": bucket, "sourceKey": key, "destinationKey": f"{key}.copy"}
        assert service.post("/object/copy", json=asked).json()["Key"] == f"{bucket}/{key}.copy"
        service.put(f"/object/{bucket}/{key}", content=b"other").raise_for_status()
        assert service.get(f"/object/authenticated/{bucket}/{key}.copy").content == b"copied"
        assert service.get(f"/object/info/{bucket}/{key}.copy").json()["metadata"] == {"sha256": "ef"}

    def test_neither_replaces_what_is_there(self, service: httpx.Client, bucket: str, key: str) -> None:
        for name in (key, f"{key}.taken"):
            service.post(f"/object/{bucket}/{name}", content=name.encode()).raise_for_status()
        asked = {"bucketId": bucket, "sourceKey": key, "destinationKey": f"{key}.taken"}
        assert refused(service.post("/object/move", json=asked), "409", "Duplicate")
        assert refused(service.post("/object/copy", json=asked), "409", "Duplicate")
        assert service.get(f"/object/authenticated/{bucket}/{key}.taken").content == f"{key}.taken".encode()

    def test_a_removal_names_what_it_removed(self, service: httpx.Client, bucket: str, key: str) -> None:
        for name in (key, f"{key}.2"):
            service.post(f"/object/{bucket}/{name}", content=b"x").raise_for_status()
        asked = {"prefixes": [key, f"{key}.2", f"{key}.3"]}
        removed = service.request("DELETE", f"/object/{bucket}", json=asked)
        assert {each["name"] for each in removed.json()} == {key, f"{key}.2"}
        again = service.request("DELETE", f"/object/{bucket}", json=asked)
        assert (again.status_code, again.json()) == (200, [])
        assert refused(service.get(f"/object/authenticated/{bucket}/{key}"), "404")

    def test_a_prefix_is_no_folder_to_remove(self, service: httpx.Client, bucket: str, key: str) -> None:
        service.post(f"/object/{bucket}/{key}", content=b"x").raise_for_status()
        folder = key.rpartition("/")[0]
        for name in (folder, f"{folder}/"):
            removed = service.request("DELETE", f"/object/{bucket}", json={"prefixes": [name]})
            assert removed.json() == [], name
        assert service.get(f"/object/authenticated/{bucket}/{key}").status_code == 200

    def test_one_object_is_removed_by_its_address(self, service: httpx.Client, bucket: str, key: str) -> None:
        service.post(f"/object/{bucket}/{key}", content=b"x").raise_for_status()
        assert service.delete(f"/object/{bucket}/{key}").json()["message"] == "Successfully deleted"
        assert refused(service.delete(f"/object/{bucket}/{key}"), "404")


class TestABucket:
    def test_is_made_changed_emptied_and_deleted(self, service: httpx.Client) -> None:
        name = f"test-{uuid.uuid4().hex}"
        limits = {"file_size_limit": 1000, "allowed_mime_types": ["text/*", "application/gzip"]}
        assert service.post("/bucket", json={"name": name, **limits}).json()["name"] == name
        assert refused(service.post("/bucket", json={"name": name}), "409", "Duplicate")
        found = service.get(f"/bucket/{name}").json()
        assert (found["id"], found["public"], found["file_size_limit"]) == (name, False, 1000)
        assert name in [each["name"] for each in service.get("/bucket").json()]
        text = {"Content-Type": "text/plain"}
        assert refused(service.post(f"/object/{name}/a", content=b"x" * 1001, headers=text), "413")
        assert refused(service.get(f"/object/authenticated/{name}/a"), "404")
        assert service.post(f"/object/{name}/a", content=b"x" * 1000, headers=text).status_code == 200
        wrong = {"Content-Type": "image/png"}
        assert refused(service.post(f"/object/{name}/b", content=b"x", headers=wrong), "415", "invalid_mime_type")
        assert refused(service.delete(f"/bucket/{name}"), "409")
        service.put(f"/bucket/{name}", json={"public": True, "file_size_limit": None}).raise_for_status()
        assert service.get(f"/bucket/{name}").json()["public"] is True
        service.post(f"/bucket/{name}/empty").raise_for_status()
        deadline = time.monotonic() + WITHIN
        while service.post(f"/object/list/{name}", json={"prefix": ""}).json():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.delete(f"/bucket/{name}").json()["message"] == "Successfully deleted"
        assert refused(service.get(f"/bucket/{name}"), "404", "Bucket not found")
