"""One contract for everything copies come from, and one for everything they go to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from copy_ends import AT_ONCE, SMALLEST_PART, SOON, Origin, Target, all_of, put, upload
from cutting_proxy import CuttingProxy, silent_server
from object_stores import HOSTED, content, sha256

from trainmaster.errors import (
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
)
from trainmaster.storage.ends.protocols import (
    AlreadyThereError,
    Checks,
    NoBucketError,
    Source,
    UploadGoneError,
    Version,
)
from trainmaster.storage.ends.s3_destination import S3Destination


@pytest.fixture(params=["supabase", *(["hosted_supabase"] if HOSTED else []), "s3", "supabase-s3"])
def origin(request: pytest.FixtureRequest) -> Origin:
    name = {"s3": "seaweedfs", "supabase-s3": "supabase"}.get(request.param, request.param)
    keys = request.getfixturevalue("supabase_s3_keys") if request.param == "supabase-s3" else None
    return Origin(request.getfixturevalue(name), keys)


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
        with pytest.raises(NoBucketError, match="no-such-bucket"):
            source.look(key)
        with pytest.raises(NoBucketError, match="no-such-bucket") as error:
            source.read(key, 0, 10)
        assert ("Supabase" in str(error.value)) is (origin.server.provider == "supabase")

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

    def test_what_a_listing_shows_is_what_a_look_would_say(self, origin: Origin, source: Source, key: str) -> None:
        paths = [f"{key}/{n:03}" for n in range(40)]
        for n, path in enumerate(paths):
            origin.put(path, content(n))
        origin.put(f"{key}/005/below", content(1))
        origin.put(f"{key}/005.beside", content(1))
        asked = [paths[3], *paths[10:], f"{key}/not-there"]
        assert source.lists
        before = dict(source.listing(asked))
        assert before == {path: source.look(path) for path in asked[:-1]}
        origin.put(paths[20], content(1000))
        after = source.listing(asked)
        assert after[paths[20]] == source.look(paths[20]) != before[paths[20]]

    def test_a_listing_of_names_that_begin_otherwise_shows_most(self, origin: Origin, source: Source, key: str) -> None:
        paths = [f"{key}/{'aabbc'[n % 5]}{n:02}" for n in range(55)]
        for path in paths:
            origin.put(path, content(10))
        shown = source.listing(paths[::-1])
        assert shown == {path: source.look(path) for path in shown}
        assert set(shown) >= {path for n, path in enumerate(paths) if n % 5 < 4}

    def test_a_bucket_that_is_not_there_is_not_listed(self, origin: Origin, key: str) -> None:
        with pytest.raises(NoBucketError, match="no-such-bucket"):
            origin.source(bucket="no-such-bucket").listing([f"{key}/{n}" for n in range(30)])

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
            assert (
                proxy.connections < before + 20
            )  # of 40 requests: one may come before the last one's connection is free

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
        assert not [secret for secret in origin.secrets if secret in shown]
        assert error.value.__context__ is None


@pytest.fixture(params=["seaweedfs", "moto"])
def target(request: pytest.FixtureRequest) -> Target:
    return Target(request.getfixturevalue(request.param), checking=request.param == "seaweedfs")


@pytest.fixture
def destination(target: Target) -> S3Destination:
    return target.destination()


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

    def test_what_a_listing_shows_is_what_was_put(self, destination: S3Destination, key: str) -> None:
        keys = [f"{key}/{n:03}" for n in range(40)]
        tags = {each: put(destination, each, content(n)) for n, each in enumerate(keys)}
        put(destination, f"{key}/005.beside", b"data")
        asked = [*keys[::-1], f"{key}/not-there"]
        assert destination.lists
        assert destination.listing(asked) == {each: Version(n, tags[each]) for n, each in enumerate(keys)}
        destination.delete(keys[7])
        destination.delete(keys[8])
        put(destination, keys[8], b"")
        after = destination.listing(asked)
        assert keys[7] not in after
        assert after[keys[8]].size == 0

    def test_a_listing_goes_on_to_further_pages_while_these_are_worth_it(
        self, destination: S3Destination, key: str
    ) -> None:
        keys = [f"{key}/{n:04}" for n in range(1100)]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda each: put(destination, each, b""), keys))
        assert set(destination.listing(keys[:500] + keys[-400:])) == {*keys[:500], *keys[-400:]}
        assert set(destination.listing([keys[0], *keys[-30:]])) == {keys[0]}, "of the first page that is all"
        assert set(destination.listing(keys[-30:])) == set(keys[-30:])

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
            with pytest.raises(NoBucketError, match="no-such-bucket"):
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
