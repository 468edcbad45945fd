"""One contract for everything copies come from, and one for everything they go to."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from cutting_proxy import CuttingProxy, silent_server
from object_stores import Server, content, sha256
from pydantic import SecretStr

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
SOON = Timeouts(connect_seconds=20, answer_seconds=1, request_seconds=2)


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
            assert (piece.data, piece.version) == (content(1000)[start : start + length], version)
        assert source.read(key, 1000, 10, version).data == b""

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
            source = origin.source(url, timeouts=SOON)
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
