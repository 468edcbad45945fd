"""What only an S3 that checks does to who copies to it: altered bodies, cuts, races, encryption, copies at the servers."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from altering_proxy import AlteringProxy
from copy_ends import AT_ONCE, SMALLEST_PART, Origin, Target, all_of, put, upload
from cutting_proxy import CuttingProxy, silent_server
from object_stores import LARGE, Server, content, sha256
from pydantic import SecretStr

from trainmaster.errors import (
    CorruptedUploadError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.copy import Copied, CopyLimits, Transfer, copy_objects
from trainmaster.storage.ends.protocols import AlreadyThereError, Source, UploadGoneError, Version
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.ends.supabase_source import SupabaseSource


@pytest.fixture
def target(seaweedfs: Server) -> Target:
    return Target(seaweedfs, checking=True)


@pytest.fixture
def destination(target: Target) -> S3Destination:
    return target.destination()


class TestSending:
    def test_of_all_who_put_the_same_key_one_does(self, destination: S3Destination, key: str) -> None:
        together = threading.Barrier(8)

        def race(number: int) -> bool:
            together.wait()
            try:
                put(destination, key, bytes([number]) * 1000)
            except AlreadyThereError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(race, range(8)))
        assert won.count(True) == 1
        assert all_of(destination, key) == bytes([won.index(True)]) * 1000

    def test_an_object_that_was_altered_on_its_way_is_refused(self, target: Target, key: str) -> None:
        with AlteringProxy(target.server.url, b"good bytes", b"evil bytes") as proxy:
            destination = target.destination(proxy.url)
            with pytest.raises(CorruptedUploadError, match=key):
                put(destination, key, b"some good bytes")
            assert proxy.altered
        assert target.destination().look(key) is None

    def test_a_part_that_was_altered_on_its_way_is_refused(self, target: Target, key: str) -> None:
        with AlteringProxy(target.server.url, b"good bytes", b"evil bytes") as proxy:
            destination = target.destination(proxy.url)
            upload_id = destination.begin(key, source_version="v")
            with pytest.raises(CorruptedUploadError, match=key):
                destination.put_part(key, upload_id, 1, memoryview(b"some good bytes"))
            assert proxy.altered
            assert destination.parts(key, upload_id) == []
            destination.abort(key, upload_id)

    def test_parts_in_another_order_than_they_were_sent_are_no_object(
        self, destination: S3Destination, key: str
    ) -> None:
        upload_id, (first, second) = upload(destination, key, content(2 * SMALLEST_PART))
        with pytest.raises(CorruptedUploadError, match=key):
            destination.complete(key, upload_id, [replace(first, checksum=second.checksum), second])
        assert destination.look(key) is None
        destination.abort(key, upload_id)

    def test_an_upload_that_is_gone_takes_no_part_and_is_not_completed(
        self, destination: S3Destination, key: str
    ) -> None:
        upload_id, parts = upload(destination, key, content(SMALLEST_PART + 3))
        destination.abort(key, upload_id)
        with pytest.raises(UploadGoneError):
            destination.put_part(key, upload_id, 1, memoryview(b"more"))
        with pytest.raises(UploadGoneError):
            destination.complete(key, upload_id, parts)

    def test_it_refuses_to_complete_where_somebody_was_faster(self, destination: S3Destination, key: str) -> None:
        upload_id, parts = upload(destination, key, content(SMALLEST_PART + 3))
        put(destination, key, b"theirs")
        with pytest.raises(AlreadyThereError, match=key):
            destination.complete(key, upload_id, parts)
        assert all_of(destination, key) == b"theirs"
        destination.abort(key, upload_id)

    def test_a_connection_cut_while_an_object_is_sent_leaves_none(self, target: Target, key: str) -> None:
        with CuttingProxy(target.server.url, cut_up=[1 << 20]) as proxy:
            with pytest.raises(StorageUnavailableError, match=key):
                put(target.destination(proxy.url), key, content(3 << 20))
            assert proxy.cuts == 1
        assert target.destination().look(key) is None

    def test_a_connection_cut_while_a_part_is_sent_leaves_none(self, target: Target, key: str) -> None:
        upload_id = target.destination().begin(key, source_version="v")
        with CuttingProxy(target.server.url, cut_up=[1 << 20]) as proxy:
            destination = target.destination(proxy.url)
            with pytest.raises(StorageUnavailableError, match=key) as error:
                destination.put_part(key, upload_id, 1, memoryview(content(3 << 20)))
            assert proxy.cuts == 1
            assert "Signature" not in f"{error.value}{error.value.__context__}{error.value.__cause__}"
            assert destination.parts(key, upload_id) == []
            assert destination.put_part(key, upload_id, 1, memoryview(content(3 << 20))).size == 3 << 20
        destination.abort(key, upload_id)

    def test_an_object_whose_answer_was_lost_is_there_when_it_is_sent_again(self, target: Target, key: str) -> None:
        with CuttingProxy(target.server.url, cut_down=[0]) as proxy:
            destination = target.destination(proxy.url)
            with pytest.raises(StorageUnavailableError):
                put(destination, key, b"data")
            with pytest.raises(AlreadyThereError):
                put(destination, key, b"data")
            held = destination.look(key)
            assert held
            assert held.sha256 == sha256(b"data")

    def test_a_server_that_says_nothing_is_not_waited_for_for_ever(self, target: Target, key: str) -> None:
        with silent_server() as url:
            destination = target.destination(url, timeouts=AT_ONCE, tries=1)
            for ask in (
                lambda: put(destination, key, b"data"),
                lambda: destination.look(key),
                lambda: destination.put_part(key, "upload", 1, memoryview(b"data")),
                lambda: destination.begin(key, source_version="v"),
            ):
                with pytest.raises(StorageUnavailableError):
                    ask()

    def test_credentials_that_are_refused_end_it_all(self, seaweedfs: Server, key: str) -> None:
        target = Target(replace(seaweedfs, secret="another"), checking=True)
        destination = target.destination()
        for ask in (
            lambda: put(destination, key, b"data"),
            lambda: destination.look(key),
            lambda: destination.begin(key, source_version="v"),
            lambda: destination.put_part(key, "upload", 1, memoryview(b"data")),
        ):
            with pytest.raises(NotConfiguredError, match="s3:PutObject") as error:
                ask()
            assert "another" not in str(error.value)

    def test_no_log_shows_what_would_let_others_send_parts(
        self, target: Target, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "urllib3")
        destination = target.destination()
        upload_id, _ = upload(destination, key, content(SMALLEST_PART + 1))
        said = [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")]
        assert any("PUT " in line and f"uploadId={upload_id}" in line for line in said)
        assert not [line for line in said if "x-amz-" in line.lower() or "signature" in line.lower()]

    def test_parts_are_signed_with_a_token_that_is_temporary(
        self, moto: Server, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What S3 is shown are headers; their token is that of the moment."""
        seen: list[Any] = []
        client = boto3.client(
            "s3",
            endpoint_url=moto.url,
            region_name="us-east-1",
            aws_access_key_id=moto.key_id,
            aws_secret_access_key=moto.secret,
            aws_session_token="of-the-moment",
        )
        destination = S3Destination(client, moto.bucket)
        real = destination._http.send

        def send(request: Any) -> Any:
            seen.append(request)
            return real(request)

        monkeypatch.setattr(destination._http, "send", send)
        upload(destination, key, content(SMALLEST_PART + 1))
        assert {each.headers["X-Amz-Security-Token"] for each in seen} == {"of-the-moment"}
        assert {each.headers["X-Amz-Content-SHA256"] for each in seen} == {"UNSIGNED-PAYLOAD"}
        assert all("x-amz-checksum-crc32" in each.headers["Authorization"] for each in seen)
        assert not [each.url for each in seen if "of-the-moment" in each.url]

    def test_encryption_is_asked_for_with_every_way_to_create(self, moto: Server, key: str) -> None:
        with AlteringProxy(moto.url) as proxy:
            destination = Target(moto, checking=False).destination(
                proxy.url, encryption="aws:kms", kms_key_id="our-key"
            )
            put(destination, key, b"data")
            destination.abort(key, destination.begin(key, source_version="v"))
        asked = [head for head in proxy.heads if head.startswith((b"PUT", b"POST"))]
        assert len(asked) == 2
        for head in asked:
            assert b"x-amz-server-side-encryption: aws:kms\r\n" in head.lower()
            assert b"x-amz-server-side-encryption-aws-kms-key-id: our-key\r\n" in head.lower()


SIZES = pytest.mark.parametrize("size", [1000, 2 * SMALLEST_PART + 3], ids=["whole", "in parts"])


class TestServerSideCopy:
    @pytest.fixture
    def origin(self, seaweedfs: Server) -> Origin:
        return Origin(seaweedfs)

    @pytest.fixture
    def source(self, seaweedfs: Server) -> S3Source:
        return S3Source(seaweedfs.client(), seaweedfs.bucket)

    @pytest.fixture
    def destination(self, seaweedfs: Server) -> S3Destination:
        return S3Destination(
            seaweedfs.client(), seaweedfs.bucket, largest_copy=SMALLEST_PART, copied_part=SMALLEST_PART
        )

    def test_only_what_is_at_the_same_place_is_copied_there(
        self, destination: S3Destination, source: S3Source, supabase: Server, moto: Server, key: str
    ) -> None:
        elsewhere: list[Source] = [
            S3Source(moto.client(), moto.bucket),
            SupabaseSource(supabase.url, SecretStr(supabase.secret), supabase.bucket),
        ]
        assert destination.can_copy_from(source)
        assert [destination.can_copy_from(each) for each in elsewhere] == [False, False]
        with pytest.raises(ValueError, match="have to be read"):
            destination.copy_from(elsewhere[0], key, Version(1, '"tag"'), key)

    @SIZES
    def test_bytes_are_copied_without_passing_here(
        self, destination: S3Destination, source: S3Source, origin: Origin, key: str, size: int
    ) -> None:
        origin.put(key, content(size))
        version = source.look(key)
        tag = destination.copy_from(source, key, version, f"{key}.copy", sha256=sha256(content(size)))
        held = destination.look(f"{key}.copy")
        assert held
        assert (held.size, held.tag, held.sha256, held.source_version) == (
            size, tag, sha256(content(size)), version.tag
        )  # fmt: skip
        assert all_of(destination, f"{key}.copy") == content(size)
        assert destination.uploads(f"{key}.copy") == []

    @SIZES
    def test_what_was_replaced_meanwhile_is_not_copied(
        self, destination: S3Destination, source: S3Source, origin: Origin, key: str, size: int
    ) -> None:
        origin.put(key, content(size))
        before = source.look(key)
        origin.put(key, content(size + 1)[1:])
        with pytest.raises(ObjectChangedError):
            destination.copy_from(source, key, before, f"{key}.copy")
        assert destination.look(f"{key}.copy") is None
        assert destination.uploads(f"{key}.copy") == []

    @SIZES
    def test_what_is_there_is_not_copied_over(
        self, destination: S3Destination, source: S3Source, origin: Origin, key: str, size: int
    ) -> None:
        origin.put(key, content(size))
        put(destination, f"{key}.copy", b"theirs")
        with pytest.raises(AlreadyThereError):
            destination.copy_from(source, key, source.look(key), f"{key}.copy")
        assert all_of(destination, f"{key}.copy") == b"theirs"

    def test_what_is_not_there_is_missing(self, destination: S3Destination, source: S3Source, key: str) -> None:
        with pytest.raises(ObjectMissingError):
            destination.copy_from(source, key, Version(10, '"tag"'), f"{key}.copy")

    def test_what_a_killed_copy_in_parts_left_is_aborted_by_the_next(
        self, destination: S3Destination, source: S3Source, origin: Origin, key: str
    ) -> None:
        """Nobody wrote down its upload, so the key alone tells."""
        origin.put(key, content(LARGE))
        destination.begin(f"{key}.copy", source_version="v")
        other = destination.begin(f"{key}.copy.of-another", source_version="v")
        copying = Transfer(key, key, f"{key}.copy", must_be_gzip=False)
        [copied] = copy_objects(source, destination, [copying], limits=CopyLimits(part_bytes=SMALLEST_PART))
        assert isinstance(copied, Copied)
        assert destination.uploads(f"{key}.copy") == []
        assert destination.uploads(f"{key}.copy.of-another") == [other]
        destination.abort(f"{key}.copy.of-another", other)
