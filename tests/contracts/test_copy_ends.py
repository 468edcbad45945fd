"""One contract for everything copies come from, and one for everything they go to."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from altering_proxy import AlteringProxy
from botocore.credentials import RefreshableCredentials
from cutting_proxy import CuttingProxy, silent_server
from object_stores import Server, content, sha256
from pydantic import SecretStr
from web_server import body, certificate_for, ranged, serving

from trainmaster.errors import (
    CorruptedUploadError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
)
from trainmaster.storage.end_failures import SUPABASE_S3
from trainmaster.storage.ends import AlreadyThereError, Checks, Destination, Part, Source, UploadGoneError, Version
from trainmaster.storage.obstore_clients import Timeouts
from trainmaster.storage.s3_destination import S3Destination
from trainmaster.storage.s3_source import S3Source
from trainmaster.storage.supabase_source import SupabaseSource

SMALLEST_PART = 5 << 20
SOON = Timeouts(connect_seconds=20, answer_seconds=2, request_seconds=20)
AT_ONCE = Timeouts(connect_seconds=20, answer_seconds=0.3, request_seconds=0.5)


@dataclass(frozen=True)
class Origin:
    """A source, and the server whose objects it reads."""

    server: Server
    kind: str

    def source(self, url: str = "", *, bucket: str = "", timeouts: Timeouts = Timeouts()) -> Source:  # noqa: B008 - frozen
        server, bucket = self.server, bucket or self.server.bucket
        if self.kind == "supabase":
            return SupabaseSource(url or server.url, SecretStr(server.secret), bucket, timeouts=timeouts)
        whose = {"whose": SUPABASE_S3} if self.kind == "supabase-s3" else {}
        return S3Source(server.client(url), bucket, timeouts=timeouts, **whose)

    def put(self, key: str, data: bytes) -> None:
        """Whatever is there already."""
        store = self.server.store()
        store.delete(key)
        store.put(key, io.BytesIO(data), size=len(data), sha256=sha256(data), content_type="application/gzip")


@pytest.fixture(params=["supabase", "s3", "supabase-s3"])
def origin(request: pytest.FixtureRequest) -> Origin:
    name = "supabase" if request.param == "supabase" else "seaweedfs"
    return Origin(request.getfixturevalue(name), request.param)


@pytest.fixture
def source(origin: Origin) -> Source:
    return origin.source()


class TestSource:
    @pytest.mark.parametrize("size", [0, 1, 300_000])
    def test_what_is_read_is_what_is_there_and_so_is_its_version(
        self, origin: Origin, source: Source, key: str, size: int
    ) -> None:
        data = content(size)
        origin.put(key, data)
        piece = source.read(key, 0, 1 << 20)
        assert piece.data == data
        assert piece.version == source.look(key)
        assert (piece.version.size, source.look(key).sha256) == (size, sha256(data))

    def test_a_range_of_a_version_is_exactly_that(self, origin: Origin, source: Source, key: str) -> None:
        origin.put(key, content(1000))
        version = source.look(key)
        for start, length in ((0, 10), (990, 10), (990, 500), (1, 1), (0, 1000), (0, 5000), (500, 0)):
            piece = source.read(key, start, length, version)
            assert (bytes(piece.data), piece.version) == (content(1000)[start : start + length], version)
        assert len(source.read(key, 1000, 10, version).data) == 0

    def test_more_than_was_asked_for_is_not_read_whatever_its_size_was_thought_to_be(
        self, origin: Origin, source: Source, key: str
    ) -> None:
        origin.put(key, content(3 << 20))
        piece = source.read(key, 0, 1000)
        assert piece.data == content(1000)
        assert piece.version.size == 3 << 20

    def test_a_range_of_no_known_version_is_not_read(self, source: Source, key: str) -> None:
        with pytest.raises(ValueError, match="From byte 10"):
            source.read(key, 10, 10)

    def test_what_was_replaced_is_not_read_for_what_it_was(self, origin: Origin, source: Source, key: str) -> None:
        origin.put(key, content(1000))
        before = source.look(key)
        origin.put(key, content(1001)[1:])
        assert source.look(key) != before
        for start, length in ((0, 10), (0, 1000)):
            with pytest.raises(ObjectChangedError, match=key):
                source.read(key, start, length, before)

    def test_what_is_shorter_than_it_was_has_changed(self, origin: Origin, source: Source, key: str) -> None:
        origin.put(key, content(1000))
        before = source.look(key)
        origin.put(key, content(10))
        with pytest.raises(ObjectChangedError, match=key):
            source.read(key, 500, 500, before)

    def test_what_is_not_there_is_missing(self, source: Source, key: str) -> None:
        with pytest.raises(ObjectMissingError, match=key):
            source.look(key)
        with pytest.raises(ObjectMissingError, match=key):
            source.read(key, 0, 10)
        with pytest.raises(ObjectMissingError, match=key):
            source.read(key, 10, 10, Version(100, '"tag"'))

    def test_a_bucket_that_is_not_there_is_no_missing_object(self, origin: Origin, key: str) -> None:
        source = origin.source(bucket="no-such-bucket")
        with pytest.raises(NotConfiguredError, match="no-such-bucket"):
            source.look(key)
        with pytest.raises(NotConfiguredError, match="no-such-bucket"):
            source.read(key, 0, 10)

    @pytest.mark.parametrize(
        "odd", ["a b+c&d=e,f;g", "x'y(1)!@$:.*", "100%/%20", "ümlaut/…", "back\\slash", 'quo"te', "~t"]
    )
    def test_a_path_is_asked_for_as_it_is(self, origin: Origin, source: Source, key: str, odd: str) -> None:
        name = f"{key}/{odd}"
        try:
            origin.put(name, content(100))
        except RefusedError:  # Supabase takes ASCII alone, and not all of that
            with pytest.raises((ObjectMissingError, RefusedError)):
                source.look(name)
            return
        assert source.read(name, 0, 1000).data == content(100)
        assert source.look(name).size == 100

    @pytest.mark.parametrize("other", ["", "/a", "a/", "a//b", "a/../b", "./a", "a\nb", "a\x7f"])
    def test_a_path_that_would_be_asked_for_as_another_is_refused(self, source: Source, other: str) -> None:
        with pytest.raises(RefusedError, match="cannot be asked for"):
            source.look(other)
        with pytest.raises(RefusedError, match="cannot be asked for"):
            source.read(other, 0, 10)

    def test_a_connection_cut_in_the_middle_of_a_body_gives_no_bytes(self, origin: Origin, key: str) -> None:
        origin.put(key, content(3 << 20))
        with CuttingProxy(origin.server.url) as proxy:
            source = origin.source(proxy.url)
            version = source.look(key)
            proxy.cut_down.append(1 << 20)
            with pytest.raises(StorageUnavailableError, match=key):
                source.read(key, 0, 4 << 20, version)
            assert proxy.cuts == 1
            assert source.read(key, 0, 4 << 20, version).data == content(3 << 20)

    def test_a_server_that_says_nothing_is_not_waited_for_for_ever(self, origin: Origin, key: str) -> None:
        with silent_server() as url:
            source = origin.source(url, timeouts=AT_ONCE)
            with pytest.raises(StorageUnavailableError):
                source.read(key, 0, 10)

    def test_a_body_that_stalls_is_not_waited_for_for_ever(self, origin: Origin, key: str) -> None:
        origin.put(key, content(3 << 20))
        stalled = threading.Event()
        with CuttingProxy(origin.server.url) as proxy:
            source = origin.source(proxy.url, timeouts=SOON)
            version = source.look(key)
            proxy.cut_down_on = stalled
            proxy.cut_down.append(1 << 20)
            with pytest.raises(StorageUnavailableError, match=key):
                source.read(key, 0, 4 << 20, version)
            stalled.set()

    def test_connections_are_used_again(self, origin: Origin, key: str) -> None:
        origin.put(key, content(1000))
        with CuttingProxy(origin.server.url) as proxy:
            source = origin.source(proxy.url)
            version = source.look(key)
            before = proxy.connections
            for _ in range(20):
                source.read(key, 0, 1000, version)
                source.look(key)
            assert proxy.connections <= before + 2

    def test_it_may_be_shared_between_threads(self, origin: Origin, source: Source, key: str) -> None:
        origin.put(key, content(100_000))
        version = source.look(key)

        def part(number: int) -> bytes:
            return bytes(source.read(key, number * 1000, 1000, version).data)

        with ThreadPoolExecutor(16) as threads:
            assert b"".join(threads.map(part, range(100))) == content(100_000)

    def test_neither_it_nor_its_errors_show_a_key(self, origin: Origin, key: str) -> None:
        source = origin.source()
        with pytest.raises(ObjectMissingError) as error:
            source.read(key, 0, 10)
        shown = f"{source!r}{vars(error.value)}{error.value!r}{error.value.__context__}{error.value.__cause__}"
        assert origin.server.secret not in shown
        assert error.value.__context__ is None


@dataclass(frozen=True)
class Target:
    """A server to copy to. `checking`: it verifies the checksums it is sent."""

    server: Server
    checking: bool

    def destination(
        self,
        url: str = "",
        *,
        bucket: str = "",
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        tries: int = 3,
        **settings: Any,
    ) -> S3Destination:
        client = self.server.client(url, tries=tries, seconds=timeouts.request_seconds)
        return S3Destination(client, bucket or self.server.bucket, timeouts=timeouts, **settings)


@pytest.fixture(params=["seaweedfs", "moto"])
def target(request: pytest.FixtureRequest) -> Target:
    return Target(request.getfixturevalue(request.param), checking=request.param == "seaweedfs")


@pytest.fixture
def destination(target: Target) -> S3Destination:
    return target.destination()


def put(destination: Destination, key: str, data: bytes) -> str:
    return destination.put(key, memoryview(data), sha256=sha256(data), source_version='"of the source"')


def all_of(destination: Destination, key: str) -> bytes:
    return bytes(destination.read(key, 0, 1 << 30).data)


def upload(destination: Destination, key: str, data: bytes) -> tuple[str, list[Part]]:
    """An upload of two parts that is yet to be completed."""
    upload_id = destination.begin(key, source_version='"of the source"', sha256=sha256(data))
    pieces = [data[:SMALLEST_PART], data[SMALLEST_PART:]]
    return upload_id, [destination.put_part(key, upload_id, n, memoryview(each)) for n, each in enumerate(pieces, 1)]


class TestDestination:
    @pytest.mark.parametrize("size", [0, 1, 300_000])
    def test_what_was_put_is_there_with_what_was_recorded(
        self, target: Target, destination: S3Destination, key: str, size: int
    ) -> None:
        data = content(size)
        tag = put(destination, key, data)
        held = destination.look(key)
        assert held
        assert (held.size, held.tag, held.sha256, held.source_version) == (size, tag, sha256(data), '"of the source"')
        assert destination.read(key, 0, size + 1, Version(size, tag)).data == data
        assert (
            target.server.client().head_object(Bucket=destination.bucket, Key=key)["ContentType"] == "application/gzip"
        )

    def test_what_is_not_there_is_none(self, destination: S3Destination, key: str) -> None:
        assert destination.look(key) is None

    def test_what_is_there_is_never_overwritten(self, destination: S3Destination, key: str) -> None:
        put(destination, key, b"first")
        with pytest.raises(AlreadyThereError, match=key):
            put(destination, key, b"second")
        assert all_of(destination, key) == b"first"

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

    def test_what_was_deleted_is_gone_and_may_be_put_again(self, destination: S3Destination, key: str) -> None:
        destination.delete(key)
        put(destination, key, b"first")
        destination.delete(key)
        assert destination.look(key) is None
        put(destination, key, b"second")
        assert all_of(destination, key) == b"second"

    def test_whether_it_checks_is_found_out_and_leaves_nothing(self, target: Target, key: str) -> None:
        folder = f"{key}/"
        destination = target.destination(probe_folder=folder)
        assert destination.checks() == Checks(objects=target.checking, parts=target.checking)
        client = target.server.client()
        assert "Contents" not in client.list_objects_v2(Bucket=target.server.bucket, Prefix=folder)
        assert "Uploads" not in client.list_multipart_uploads(Bucket=target.server.bucket, Prefix=folder)
        put(destination, key, b"after it")
        assert all_of(destination, key) == b"after it"

    def test_parts_become_an_object(self, destination: S3Destination, key: str) -> None:
        data = content(SMALLEST_PART + 3)
        upload_id, parts = upload(destination, key, data)
        assert destination.look(key) is None
        assert [(each.number, each.tag, each.size) for each in destination.parts(key, upload_id)] == [
            (each.number, each.tag, each.size) for each in parts
        ]
        assert destination.uploads(key) == [upload_id]
        tag = destination.complete(key, upload_id, parts)
        held = destination.look(key)
        assert held
        assert (held.size, held.tag, held.sha256, held.source_version) == (
            len(data), tag, sha256(data), '"of the source"'
        )  # fmt: skip
        assert all_of(destination, key) == data
        assert destination.uploads(key) == []

    def test_an_upload_is_completed_from_what_is_listed_of_its_parts(
        self, destination: S3Destination, key: str
    ) -> None:
        data = content(SMALLEST_PART + 3)
        upload_id, _ = upload(destination, key, data)
        destination.complete(key, upload_id, destination.parts(key, upload_id))
        assert all_of(destination, key) == data

    def test_a_part_sent_again_takes_the_place_of_the_first(self, destination: S3Destination, key: str) -> None:
        data = content(SMALLEST_PART + 3)
        upload_id, parts = upload(destination, key, data[:-3] + b"bad")
        again = destination.put_part(key, upload_id, 2, memoryview(data)[SMALLEST_PART:])
        destination.complete(key, upload_id, [parts[0], again])
        assert all_of(destination, key) == data

    def test_an_upload_that_was_aborted_is_gone_and_aborting_it_again_does_no_harm(
        self, destination: S3Destination, key: str
    ) -> None:
        upload_id, _ = upload(destination, key, content(SMALLEST_PART + 3))
        destination.abort(key, upload_id)
        destination.abort(key, upload_id)
        assert destination.uploads(key) == []
        with pytest.raises(UploadGoneError):
            destination.parts(key, upload_id)

    def test_uploads_of_keys_that_begin_alike_are_told_apart(self, destination: S3Destination, key: str) -> None:
        mine, other = (destination.begin(each, source_version="v") for each in (key, f"{key}.dropped"))
        assert destination.uploads(key) == [mine]
        destination.abort(key, mine)
        assert destination.uploads(f"{key}.dropped") == [other]
        destination.abort(f"{key}.dropped", other)

    def test_a_bucket_that_is_not_there_ends_it_all(self, target: Target, key: str) -> None:
        destination = target.destination(bucket="no-such-bucket")
        for ask in (
            lambda: put(destination, key, b"data"),
            lambda: destination.look(key),
            lambda: destination.begin(key, source_version="v"),
            lambda: destination.uploads(key),
            lambda: destination.delete(key),
            destination.checks,
        ):
            with pytest.raises(NotConfiguredError, match="no-such-bucket"):
                ask()

    @pytest.mark.parametrize(
        "odd", ["a b+c&d=e,f;g", "x'y(1)!@$:.*", "100%/%20", "ümlaut/…", "back\\slash", 'quo"te', "~t"]
    )
    def test_a_key_is_used_as_it_is(self, target: Target, destination: S3Destination, key: str, odd: str) -> None:
        name = f"{key}/{odd}"
        put(destination, name, b"data")
        assert target.server.client().get_object(Bucket=destination.bucket, Key=name)["Body"].read() == b"data"

    @pytest.mark.parametrize("other", ["", "/a", "a/", "a//b", "a/../b", "a\nb"])
    def test_a_key_that_would_be_another_is_refused(self, destination: S3Destination, other: str) -> None:
        with pytest.raises(RefusedError, match="cannot be asked for"):
            put(destination, other, b"data")


def with_expired_credentials(server: Server) -> tuple[Any, list[datetime]]:
    """A client of a role whose credentials have to be renewed, as often as it was; those it begins with are no good."""
    renewals: list[datetime] = []

    def renewed() -> dict[str, Any]:
        renewals.append(datetime.now(UTC))
        return {
            "access_key": server.key_id,
            "secret_key": server.secret,
            "token": None,
            "expiry_time": (renewals[-1] + timedelta(hours=1)).isoformat(),
        }

    expired = {
        "access_key": "AKIAEXPIRED",
        "secret_key": "expired",
        "token": None,
        "expiry_time": "2020-01-01T00:00:00Z",
    }
    session = botocore.session.Session()
    session._credentials = RefreshableCredentials.create_from_metadata(expired, renewed, "a role of tests")  # type: ignore[attr-defined]
    return session.create_client("s3", endpoint_url=server.url, region_name="us-east-1"), renewals


class TestDestinationThatChecks:
    """SeaweedFS, as AWS does."""

    @pytest.fixture
    def target(self, seaweedfs: Server) -> Target:
        return Target(seaweedfs, checking=True)

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

    def test_it_signs_by_whatever_credentials_the_client_has_by_now(self, target: Target, key: str) -> None:
        client, renewals = with_expired_credentials(target.server)
        destination = S3Destination(client, target.server.bucket)
        put(destination, key, b"data")
        assert renewals
        assert all_of(destination, key) == b"data"

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
        return Origin(seaweedfs, "s3")

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


class TestTrust:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "root.pem"

    @pytest.fixture
    def address(self, root: Path, tmp_path: Path) -> Iterator[str]:
        """A server that has one object, under whatever roof, and a certificate by somebody nobody knows."""
        certificate_for("127.0.0.1", tmp_path / "server.pem", root)
        with serving(tmp_path / "server.pem") as web:
            web.answers["/bucket/a"] = ranged(content(1000))
            web.answers["/storage/v1/object/authenticated/bucket/a"] = ranged(content(1000))
            web.answers["/storage/v1/bucket/bucket"] = body(b"{}")
            yield web.url("", scheme="https")

    def s3(self, address: str, trusted: str | None = None) -> S3Source:
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
        return S3Source(session.client("s3", endpoint_url=address, verify=trusted), "bucket")

    def test_s3_is_trusted_by_whatever_its_client_trusts(self, address: str, root: Path) -> None:
        assert self.s3(address, str(root)).read("a", 0, 1000).data == content(1000)

    def test_s3_is_trusted_by_the_bundle_of_the_environment(
        self, address: str, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(root))
        assert self.s3(address).read("a", 0, 1000).data == content(1000)

    def test_supabase_is_trusted_by_the_roots_of_the_environment(
        self, address: str, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        assert SupabaseSource(address, SecretStr("a.b.c"), "bucket").read("a", 0, 1000).data == content(1000)

    def test_nobody_else_is_trusted(self, address: str) -> None:
        supabase = SupabaseSource(address, SecretStr("a.b.c"), "bucket")
        with pytest.raises(NotConfiguredError, match="AWS_CA_BUNDLE"):
            self.s3(address).read("a", 0, 1000)
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            supabase.read("a", 0, 1000)
