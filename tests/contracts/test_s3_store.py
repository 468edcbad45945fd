"""What only S3 does to a store: conditional creation, checksums, parts, encryption, signatures."""

from __future__ import annotations

import io
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from altering_proxy import AlteringProxy
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session
from cutting_proxy import CuttingProxy
from object_stores import LARGE, Noise, Server, content, put, read, sha256
from web_server import certificate_for, ranged, serving

from tasks.aws import may_pass
from trainmaster.errors import (
    CorruptedUploadError,
    NameConflictError,
    NotConfiguredError,
    StorageUnavailableError,
)
from trainmaster.storage.s3 import S3Store

SIZES = pytest.mark.parametrize("size", [1000, LARGE], ids=["whole", "in parts"])
PARTS = {"part_size": 5 << 20, "multipart_from": 6 << 20}


def uploads(server: Server, key: str) -> list[str]:
    """The multipart uploads of a key that nobody ended."""
    found = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=key).get("Uploads", [])
    return [each["UploadId"] for each in found]


def forbidding(request: Any, **_: Any) -> AWSResponse:
    """What S3 answers to who may not; nothing is sent."""
    said = io.BytesIO(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    raw: Any = SimpleNamespace(stream=lambda **_: iter([said.read()]))
    return AWSResponse(request.url, 403, {}, raw)


class TestCreation:
    @SIZES
    def test_of_all_who_create_the_same_key_one_wins(self, seaweedfs: Server, key: str, size: int) -> None:
        stores = [seaweedfs.store() for _ in range(6)]
        given = [bytes([n]) + content(size) for n in range(6)]
        together = threading.Barrier(6)

        def race(number: int) -> bool:
            together.wait()
            try:
                return put(stores[number], key, given[number])
            except NameConflictError:
                return False

        with ThreadPoolExecutor(6) as threads:
            outcomes = list(threads.map(race, range(6)))

        assert outcomes.count(True) == 1
        assert read(stores[0], key) == given[outcomes.index(True)]
        assert uploads(seaweedfs, key) == []

    @SIZES
    def test_of_all_who_create_the_same_bytes_one_says_so_and_none_fails(
        self, seaweedfs: Server, key: str, size: int
    ) -> None:
        together = threading.Barrier(4)

        def race(store: Any) -> bool:
            together.wait()
            return put(store, key, content(size))

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(race, [seaweedfs.store() for _ in range(4)])) == 1

    def test_who_was_faster_while_we_sent_parts_is_not_overwritten(self, seaweedfs: Server, key: str) -> None:
        class Slow(Noise):
            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                if self.tell() > 5 << 20:
                    put(seaweedfs.store(), key, b"theirs")
                return super().readinto(buffer)

        with pytest.raises(NameConflictError):
            seaweedfs.store().put(
                key,
                io.BufferedReader(Slow(LARGE)),
                size=LARGE,
                sha256=sha256(content(LARGE)),
                content_type="text/plain",
            )

        assert read(seaweedfs.store(), key) == b"theirs"
        assert uploads(seaweedfs, key) == []

    @SIZES
    def test_an_answer_lost_on_its_way_back_does_not_make_our_object_another_s(
        self, seaweedfs: Server, key: str, size: int
    ) -> None:
        """S3 has all of it; what it said never arrives, and botocore's next try finds the object in its way."""
        client, lost = seaweedfs.client(), []

        def lose(request: Any, **_: Any) -> None:
            if not lost:
                lost.append(URLLib3Session().send(request))
                raise ConnectionClosedError(endpoint_url=request.url)

        operation = "PutObject" if size == 1000 else "CompleteMultipartUpload"
        client.meta.events.register(f"before-send.s3.{operation}", lose)

        assert put(S3Store(client, seaweedfs.bucket, **PARTS), key, content(size))

        assert [answer.status_code for answer in lost] == [200]
        assert read(seaweedfs.store(), key) == content(size)
        assert uploads(seaweedfs, key) == []

    def test_what_others_stored_without_a_checksum_is_compared_by_its_bytes(self, seaweedfs: Server, key: str) -> None:
        seaweedfs.client().put_object(Bucket=seaweedfs.bucket, Key=key, Body=b"stored by hand")

        assert not put(seaweedfs.store(), key, b"stored by hand")
        with pytest.raises(NameConflictError):
            put(seaweedfs.store(), key, b"stored by foot")


class TestVerification:
    def test_bytes_that_change_between_two_tries_are_refused(self, seaweedfs: Server, key: str) -> None:
        """S3 asks for a second try when others create the same key; each part then has the checksum of what it holds."""
        given, client, asked = io.BytesIO(content(LARGE)), seaweedfs.client(), []

        def conflict(request: Any, **_: Any) -> AWSResponse | None:
            asked.append(request)
            if len(asked) > 1:
                return None
            given.getbuffer()[:5] = b"other"
            answer = io.BytesIO(b"<Error><Code>ConditionalRequestConflict</Code><Message/></Error>")
            return AWSResponse(request.url, 409, {}, SimpleNamespace(stream=lambda: [answer.read()]))

        client.meta.events.register("before-send.s3.CompleteMultipartUpload", conflict)

        with pytest.raises(CorruptedUploadError, match="changed"):
            S3Store(client, seaweedfs.bucket, **PARTS).put(
                key, given, size=LARGE, sha256=sha256(content(LARGE)), content_type="application/gzip"
            )

        assert len(asked) == 1
        assert seaweedfs.store().stat(key) is None
        assert uploads(seaweedfs, key) == []

    @SIZES
    def test_bytes_that_change_on_their_way_are_refused(self, seaweedfs: Server, key: str, size: int) -> None:
        client = seaweedfs.client(tries=1)

        def spoil(request: Any, **_: Any) -> None:
            if request.method == "PUT":
                body = request.body if isinstance(request.body, bytes) else request.body.read()
                request.body = bytes([body[0] ^ 1]) + body[1:]

        client.meta.events.register("before-send.s3", spoil)

        with pytest.raises(CorruptedUploadError, match="other bytes than were sent"):
            put(S3Store(client, seaweedfs.bucket, **PARTS), key, content(size))

        assert seaweedfs.store().stat(key) is None
        assert uploads(seaweedfs, key) == []

    def test_an_object_that_is_not_what_was_sent_is_removed(self, moto: Server, key: str) -> None:
        """By a server that checks nothing."""
        client = moto.client()

        def shorten(params: dict[str, Any], **_: Any) -> None:
            params["Body"], params["ContentLength"] = b"short", 5
            del params["ChecksumSHA256"]

        client.meta.events.register("provide-client-params.s3.PutObject", shorten)

        with pytest.raises(CorruptedUploadError, match=r"sent 1000 bytes.*holds 5 bytes.*removed"):
            put(S3Store(client, moto.bucket), key, content(1000))

        assert moto.store().stat(key) is None

    @SIZES
    def test_s3_keeps_the_checksum_it_has_checked(self, seaweedfs: Server, key: str, size: int) -> None:
        put(seaweedfs.store(), key, content(size))

        head = seaweedfs.client().head_object(Bucket=seaweedfs.bucket, Key=key, ChecksumMode="ENABLED")

        assert head["ChecksumSHA256"]
        assert head["Metadata"]["sha256"] == sha256(content(size))
        assert head["ContentType"] == "application/gzip"


class TestParts:
    @pytest.fixture(params=["seaweedfs", "moto"])
    def server(self, request: pytest.FixtureRequest) -> Server:
        found: Server = request.getfixturevalue(request.param)
        return found

    def test_parts_left_by_a_killed_process_go_when_next_the_key_is_stored(self, server: Server, key: str) -> None:
        with CuttingProxy(server.url, hold_up=6 << 20) as proxy:
            child = subprocess.Popen(server.child(proxy.url, key, LARGE))
            assert proxy.held.wait(60)
            child.kill()
            child.wait(90)
        assert len(uploads(server, key)) == 1
        other = server.client().create_multipart_upload(Bucket=server.bucket, Key=f"{key}.not-ours")["UploadId"]

        assert put(server.store(), key, content(LARGE))

        assert uploads(server, key) == [other]

    def test_parts_left_by_a_killed_process_go_when_its_object_is_removed(self, server: Server, key: str) -> None:
        """As a sweep does, which is all that ever comes back to an upload nobody tries again."""
        for each in (key, f"{key}.not-ours"):
            server.client().create_multipart_upload(Bucket=server.bucket, Key=each)

        assert not server.store().delete(key)

        assert uploads(server, key) == uploads(server, f"{key}.not-ours") != []

    def test_however_many_uploads_were_left_none_survives_the_object(self, server: Server, key: str) -> None:
        client = server.client()
        for _ in range(5):
            client.create_multipart_upload(Bucket=server.bucket, Key=key)

        def two_a_page(params: dict[str, Any], **_: Any) -> None:
            params["MaxUploads"] = 2

        client.meta.events.register("provide-client-params.s3.ListMultipartUploads", two_a_page)

        S3Store(client, server.bucket).delete(key)

        assert uploads(server, key) == []

    @pytest.mark.parametrize("call", ["ListMultipartUploads", "AbortMultipartUpload"])
    def test_who_removes_an_object_is_told_when_parts_are_left(self, server: Server, key: str, call: str) -> None:
        client = server.client()
        client.create_multipart_upload(Bucket=server.bucket, Key=key)
        client.meta.events.register(f"before-send.s3.{call}", forbidding)
        with pytest.raises(NotConfiguredError, match=key):
            S3Store(client, server.bucket).delete(key)

    def test_what_is_stored_is_stored_though_parts_of_an_earlier_try_are_left(self, server: Server, key: str) -> None:
        client = server.client()
        client.create_multipart_upload(Bucket=server.bucket, Key=key)
        client.meta.events.register("before-send.s3.AbortMultipartUpload", forbidding)
        assert put(S3Store(client, server.bucket, **PARTS), key, content(LARGE))
        assert read(server.store(), key) == content(LARGE)

    def test_an_upload_is_aborted_by_its_id_and_one_nobody_knows_is_gone_already(
        self, server: Server, key: str
    ) -> None:
        one, other = (
            server.client().create_multipart_upload(Bucket=server.bucket, Key=key)["UploadId"] for _ in range(2)
        )
        store = S3Store(server.client(), server.bucket)
        store.abort(key, one)
        store.abort(key, one)
        assert uploads(server, key) == [other]

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
    def test_parts_of_a_failure_are_taken_back_at_once(
        self, server: Server, key: str, failure: type[BaseException]
    ) -> None:
        class Failing(Noise):
            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                if self.tell() > 5 << 20:
                    assert len(uploads(server, key)) == 1
                    raise failure
                return super().readinto(buffer)

        with pytest.raises(failure):
            server.store().put(
                key, io.BufferedReader(Failing(LARGE)), size=LARGE, sha256=sha256(b""), content_type="text/plain"
            )

        assert uploads(server, key) == []


class TestEncryption:
    @SIZES
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({}, {}),
            ({"encryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
            ({"encryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms"}),
            (
                {"encryption": "aws:kms", "kms_key_id": "alias/datasets"},
                {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/datasets"},
            ),
        ],
    )
    def test_objects_are_encrypted_as_asked(
        self, moto: Server, key: str, size: int, asked: dict[str, str], found: dict[str, str]
    ) -> None:
        put(S3Store(moto.client(), moto.bucket, **PARTS, **asked), key, content(size))  # type: ignore[arg-type]

        head = moto.client().head_object(Bucket=moto.bucket, Key=key)
        assert {name: head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if name in head} == found


class TestCuts:
    def test_a_record_of_tls_that_was_spoilt_is_a_cut_like_any_other(self, tmp_path: Path) -> None:
        certificate = tmp_path / "server.pem"
        certificate_for("127.0.0.1", certificate)
        with serving(certificate) as web, AlteringProxy(web.url("", scheme="https"), spoil_down=1 << 20) as proxy:
            web.answers["/bucket/a/b"] = ranged(content(3 << 20))
            client = boto3.client(
                "s3", endpoint_url=proxy.url, region_name="us-east-1", verify=str(certificate),
                aws_access_key_id="any", aws_secret_access_key="any",
            )  # fmt: skip
            assert read(S3Store(client, "bucket"), "a/b") == content(3 << 20)
            assert proxy.altered
            assert len(web.seen) == 2


class TestErrors:
    def test_wrong_credentials_are_said_with_what_to_allow(self, seaweedfs: Server, key: str) -> None:
        wrong = Server("wrong", "s3", seaweedfs.url, seaweedfs.bucket, seaweedfs.key_id, "wrong").store()

        for use in (lambda: wrong.stat(key), lambda: put(wrong, key, b"x"), lambda: list(wrong.list("a/"))):
            with pytest.raises(NotConfiguredError, match=r"AWS refused it.*Allow"):
                use()

    def test_no_credentials_at_all_is_said_with_what_to_set(
        self, seaweedfs: Server, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        client = boto3.session.Session().client("s3", endpoint_url=seaweedfs.url, region_name="us-east-1")

        with pytest.raises(NotConfiguredError, match="TRAINMASTER_AWS_CREDENTIALS_BLOCK"):
            put(S3Store(client, seaweedfs.bucket), key, b"x")

    def test_a_step_whose_store_was_unavailable_is_tried_again_and_one_refused_is_not(self) -> None:
        from prefect.states import Failed

        assert may_pass(None, None, Failed(data=StorageUnavailableError("later")))  # type: ignore[arg-type]
        assert not may_pass(None, None, Failed(data=NotConfiguredError("never")))  # type: ignore[arg-type]


def test_links_are_signed_by_version_4_for_as_long_as_asked(seaweedfs: Server, key: str) -> None:
    put(seaweedfs.store(), key, b"x")

    asked = parse_qs(urlsplit(seaweedfs.store().sign(key, timedelta(days=7))).query)

    assert asked["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert asked["X-Amz-Expires"] == ["604800"]
