"""What only Supabase Storage does to who copies from it: caches, ranges, statuses of its own, rows without bytes, redirects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from object_stores import content
from pydantic import SecretStr
from storage_between import DOWNLOAD, Step, StorageBetween, answering
from waiting import until
from werkzeug.wrappers import Request, Response

from trainmaster.errors import (
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.ends import supabase_source
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.protocols import ThrottledError, Version
from trainmaster.storage.ends.supabase_source import SupabaseSource

INFO = "object/info/"
ALWAYS = 1000
INTERNAL = answering(500, {"statusCode": "500", "error": "Internal", "message": "Internal Server Error"})
"""What Storage says of a file that is not there, as of a backend that is out of reach."""


def source_of(between: StorageBetween, key: str = "") -> SupabaseSource:
    secret = SecretStr(key or between.keys.service_role_key)
    return SupabaseSource(between.url, secret, "training-datasets", timeouts=Timeouts(answer_seconds=20))


@pytest.fixture
def source(between: StorageBetween, key: str) -> SupabaseSource:
    between.overwrite(key, content(1000))
    return source_of(between)


@pytest.fixture
def other(between: StorageBetween, key: str) -> str:
    """The key of an object beside it."""
    between.overwrite(beside := f"{key}-beside", content(1000))
    return beside


def of(key: str) -> str:
    """Calls for the bytes of one object."""
    return f"{DOWNLOAD}training-datasets/{key}$"


def bytes_of(data: bytes, tag: str, start: int = 0, size: int | None = None) -> Step:
    """An answer to a range, of whatever the server says it is."""
    whole = len(data) if size is None else size
    return answering(206, data, ETag=tag, Content_Range=f"bytes {start}-{start + len(data) - 1}/{whole}")


class TestListing:
    def test_of_a_crowd_those_that_begin_alike_are_listed(
        self, between: StorageBetween, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supabase_source, "PAGE", 30)
        paths = [f"{key}/{letter}{n:02}" for letter in "abcd" for n in range(30)]
        for path in paths:
            between.overwrite(path, content(10))
        source = source_of(between)
        assert source.listing(paths[-30:]) == {path: source.look(path) for path in paths[-30:]}
        last_two = set(source.listing([*paths[55:65], *paths[-30:]]))
        assert set(paths[-30:]) <= last_two <= {*paths[55:65], *paths[-30:]}
        assert source.listing([paths[5], *paths[100::10]]).keys() <= {paths[5]}

    def test_a_server_that_cannot_list_says_so(self, between: StorageBetween, source: SupabaseSource, key: str) -> None:
        between.befall("POST", "object/list-v2/", answering(404, {"message": "Route POST:/object/list-v2 not found"}))
        with pytest.raises(TrainmasterError):
            source.listing([key])
        assert source.listing([key]) == {key: source.look(key)}


class TestStaleness:
    def test_what_a_cache_kept_is_asked_for_again_past_it(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        between.befall("GET", DOWNLOAD, answering(200, content(1000)[::-1], ETag='"stale"'))
        assert source.read(key, 0, 5000, source.look(key)).data == content(1000)
        first, second = between.called("GET", DOWNLOAD)
        assert first.query["cacheNonce"] != second.query["cacheNonce"]

    def test_what_stays_stale_is_never_taken(self, between: StorageBetween, source: SupabaseSource, key: str) -> None:
        between.befall("GET", DOWNLOAD, answering(200, content(1000)[::-1], ETag='"stale"'), ALWAYS)
        with pytest.raises(ObjectChangedError, match=key):
            source.read(key, 0, 5000, source.look(key))
        assert len(between.called("GET", DOWNLOAD)) == 2

    def test_a_range_of_another_version_is_not_mixed_in(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)
        between.befall("GET", DOWNLOAD, bytes_of(b"x" * 10, '"other"', 500, 1000), ALWAYS)
        with pytest.raises(ObjectChangedError):
            source.read(key, 500, 10, version)

    def test_a_range_of_something_longer_is_not_mixed_in(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)
        between.befall("GET", DOWNLOAD, bytes_of(b"x" * 10, version.tag, 500, 1001), ALWAYS)
        with pytest.raises(ObjectChangedError):
            source.read(key, 500, 10, version)

    def test_whether_it_changed_is_asked_of_the_database_and_not_of_a_cache(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        before = source.look(key)
        between.overwrite(key, content(1001)[1:])
        assert source.look(key) != before
        assert len(between.called("GET", INFO)) == 2

    def test_a_tag_that_a_proxy_weakened_is_still_the_same(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)
        between.befall("GET", DOWNLOAD, answering(200, content(1000), ETag=f"W/{version.tag}"))
        assert source.read(key, 0, 1000, version).data == content(1000)


class TestAnswers:
    def test_another_range_than_was_asked_for_is_not_taken(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)
        between.befall("GET", DOWNLOAD, bytes_of(b"x" * 10, version.tag, 490, 1000))
        with pytest.raises(StorageUnavailableError):
            source.read(key, 500, 10, version)

    def test_a_server_that_knows_no_ranges_is_noticed(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)
        between.befall("GET", DOWNLOAD, answering(200, content(1000), ETag=version.tag))
        with pytest.raises(StorageUnavailableError, match="all of it where a part"):
            source.read(key, 500, 10, version)

    @pytest.mark.parametrize("announced", [1001, 1 << 40])
    def test_a_body_shorter_than_announced_is_not_taken(
        self, between: StorageBetween, source: SupabaseSource, key: str, announced: int
    ) -> None:
        def short(_: Request) -> Response:
            return Response(iter([content(1000)]), headers={"ETag": '"tag"', "Content-Length": str(announced)})

        between.befall("GET", DOWNLOAD, short)
        with pytest.raises(StorageUnavailableError, match=key):
            source.read(key, 0, 1 << 20)

    def test_bytes_that_were_believed_to_be_there_are_not_made_up(self, source: SupabaseSource, key: str) -> None:
        version = source.look(key)
        with pytest.raises(ObjectChangedError):
            source.read(key, 990, 20, Version(1010, version.tag))

    def test_it_is_never_asked_for_more_than_there_is(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        """Its file backend answers a range that ends behind the object as if that were all there."""
        source.read(key, 990, 500, source.look(key))
        source.read(key, 0, 5000, source.look(key))
        last, whole = between.called("GET", DOWNLOAD)
        assert last.headers["Range"] == "bytes=990-999"
        assert "Range" not in whole.headers

    def test_it_is_asked_not_to_be_given_anything_packed_or_unpacked(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        source.read(key, 0, 1000)
        assert between.called("GET", DOWNLOAD)[0].headers["Accept-Encoding"] == "identity"

    def test_an_object_without_a_tag_or_a_date_is_refused(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        between.befall("GET", DOWNLOAD, answering(200, b"hello"))
        with pytest.raises(RefusedError, match="neither an ETag nor a date"):
            source.read(key, 0, 10)

    @pytest.mark.parametrize("said", [b"", b"null", b"[]", b"<html>", b"{}"])
    def test_a_description_that_is_none_is_never_taken_for_one(
        self, between: StorageBetween, source: SupabaseSource, key: str, said: bytes
    ) -> None:
        between.befall("GET", INFO, answering(200, said))
        with pytest.raises((StorageUnavailableError, ObjectMissingError), match=key):
            source.look(key)

    def test_a_description_whose_length_a_proxy_leaves_out_is_read_all_the_same(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        version = source.look(key)

        def unmeasured(request: Request) -> Response:
            return Response(iter([b""]), headers={"Connection": "close"})

        between.befall("GET", INFO, unmeasured)
        assert source.look(key) == version


class TestRefusals:
    @pytest.mark.parametrize("status", [429, 503, 504, 544])
    def test_pressure_is_told_from_every_other_failure(
        self, between: StorageBetween, source: SupabaseSource, key: str, status: int
    ) -> None:
        source.look(key)
        between.befall("GET", DOWNLOAD, answering(status, "<html></html>"))
        between.befall("GET", INFO, answering(status, "<html></html>"))
        for ask in (lambda: source.read(key, 0, 10), lambda: source.look(key)):
            with pytest.raises(ThrottledError):
                ask()
        assert source.read(key, 0, 1000).data == content(1000)

    def test_pressure_at_the_first_call_says_how_long_to_wait(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        between.befall("GET", "bucket/", answering(429, "", Retry_After="7"))
        with pytest.raises(ThrottledError) as error:
            source.look(key)
        assert error.value.retry_after == 7

    @pytest.mark.parametrize("status", [500, 502, 520])
    def test_an_outage_is_not_taken_for_a_missing_object(
        self, between: StorageBetween, source: SupabaseSource, key: str, status: int
    ) -> None:
        between.befall("GET", DOWNLOAD, answering(status, "<html></html>"))
        with pytest.raises(StorageUnavailableError):
            source.read(key, 0, 10)
        assert source.read(key, 0, 1000).data == content(1000)

    @pytest.mark.parametrize(
        "said",
        [
            (400, {"statusCode": "403", "error": "Unauthorized", "message": "no"}),
            (400, {"statusCode": "400", "error": "InvalidJWT", "message": "exp"}),
            (401, {"message": "Invalid API key"}),
            (403, "<html></html>"),
        ],
        ids=str,
    )
    def test_a_key_that_is_refused_ends_it_all(
        self, between: StorageBetween, source: SupabaseSource, key: str, said: tuple[int, Any]
    ) -> None:
        source.look(key)
        between.befall("GET", DOWNLOAD, answering(*said))
        with pytest.raises(NotConfiguredError, match="SUPABASE_SERVICE_ROLE_KEY"):
            source.read(key, 0, 10)

    def test_a_wrong_key_is_told_before_anything_is_read(self, between: StorageBetween, key: str) -> None:
        with pytest.raises(NotConfiguredError, match="SUPABASE_SERVICE_ROLE_KEY"):
            source_of(between, "a.wrong.key").read(key, 0, 10)

    def test_bytes_that_are_gone_are_missing_at_once_where_storage_says_so(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        between.lose_bytes()
        with pytest.raises(ObjectMissingError, match=r"has its row, but cannot give its content"):
            source.read(key, 0, 10)

    def test_bytes_that_are_gone_are_missing_after_some_tries_once_something_else_was_read(
        self, between: StorageBetween, source: SupabaseSource, key: str, other: str
    ) -> None:
        between.befall("GET", of(other), INTERNAL, ALWAYS)
        for _ in range(4):
            with pytest.raises(StorageUnavailableError):
                source.read(other, 0, 10)
        source.read(key, 0, 10)
        with pytest.raises(ObjectMissingError, match=r"has its row, but cannot give its content"):
            source.read(other, 0, 10)

    def test_where_nothing_else_is_to_be_read_one_byte_of_what_was_read_last_tells_an_outage_from_a_loss(
        self, between: StorageBetween, source: SupabaseSource, key: str, other: str
    ) -> None:
        source.read(key, 0, 10)
        between.befall("GET", of(other), INTERNAL, ALWAYS)
        between.befall("GET", of(key), INTERNAL)
        for _ in range(3):  # what was read before fails the third time as well
            with pytest.raises(StorageUnavailableError):
                source.read(other, 0, 10)
        with pytest.raises(ObjectMissingError):
            source.read(other, 0, 10)
        asked = between.called("GET", of(key))
        assert [each.headers.get("Range") for each in asked] == [None, "bytes=0-0", "bytes=0-0"]
        assert len({each.query["cacheNonce"] for each in asked}) == 3  # or a cache might answer for Supabase

    def test_an_outage_of_all_objects_takes_none_of_them_for_lost(
        self, between: StorageBetween, source: SupabaseSource, key: str, other: str
    ) -> None:
        source.read(key, 0, 10)
        between.befall("GET", DOWNLOAD, INTERNAL, ALWAYS)
        for each in [key, other] * 6:
            with pytest.raises(StorageUnavailableError):
                source.read(each, 0, 10)

    def test_what_was_read_before_an_outage_ended_proves_nothing_of_what_failed_in_it(
        self, between: StorageBetween, source: SupabaseSource, key: str, other: str
    ) -> None:
        failed = threading.Event()

        def slow(_: Request) -> None:
            assert failed.wait(90)

        between.befall("GET", of(key), slow)
        between.befall("GET", DOWNLOAD, INTERNAL, ALWAYS)
        with ThreadPoolExecutor(1) as threads:
            before = threads.submit(source.read, key, 0, 10)
            until(lambda: between.called("GET", of(key)))
            for _ in range(3):
                with pytest.raises(StorageUnavailableError):
                    source.read(other, 0, 10)
            failed.set()
            assert before.result(90).data
        with pytest.raises(StorageUnavailableError):
            source.read(other, 0, 10)

    def test_a_row_without_a_size_is_a_missing_object(
        self, between: StorageBetween, source: SupabaseSource, key: str
    ) -> None:
        between.befall("GET", INFO, answering(200, {"size": None, "etag": None, "metadata": None}))
        with pytest.raises(ObjectMissingError, match="its row"):
            source.look(key)


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageBetween]:
    storage = StorageBetween(tmp_path_factory.mktemp("elsewhere"))
    yield storage
    storage.close()


class TestTheKey:
    @pytest.fixture
    def redirecting(self, between: StorageBetween, elsewhere: StorageBetween) -> Callable[[str], None]:
        def redirect(path: str) -> None:
            # By another name of this machine, which for HTTP is another host.
            there = elsewhere.url.replace("127.0.0.1", "localhost")
            between.befall("GET", path, lambda request: answering(307, Location=f"{there}{request.full_path}")(request))

        return redirect

    @pytest.mark.parametrize("key_given", ["", "sb_secret_of_the_newer_kind"])
    def test_a_project_that_redirects_is_refused_before_the_key_could_follow(
        self,
        between: StorageBetween,
        elsewhere: StorageBetween,
        redirecting: Callable[[str], None],
        key: str,
        key_given: str,
    ) -> None:
        redirecting("bucket/")
        with pytest.raises(NotConfiguredError, match="true address"):
            source_of(between, key_given).look(key)
        assert elsewhere.seen == []

    def test_the_key_does_not_follow_a_redirect_of_one_object_to_another_host(
        self, source: SupabaseSource, elsewhere: StorageBetween, redirecting: Callable[[str], None], key: str
    ) -> None:
        elsewhere.overwrite(key, content(1000))
        elsewhere.seen.clear()
        redirecting(DOWNLOAD)
        with pytest.raises(RefusedError):
            source.read(key, 0, 10)
        assert [each.headers.get("Authorization") for each in elsewhere.seen] == [None]
        assert not any("apikey" in name.lower() for each in elsewhere.seen for name in each.headers)

    def test_a_key_that_is_no_token_is_sent_as_an_api_key_too(self, between: StorageBetween, key: str) -> None:
        between.befall("GET", "bucket/", answering(200, {}))
        source = source_of(between, "sb_secret_of_the_newer_kind")
        with pytest.raises(NotConfiguredError):
            source.read(key, 0, 10)
        assert between.called("GET", DOWNLOAD)[0].headers["Apikey"] == "sb_secret_of_the_newer_kind"

    def test_no_error_quotes_it_or_an_address(self, between: StorageBetween, source: SupabaseSource, key: str) -> None:
        secret = between.keys.service_role_key
        for status in (400, 401, 404, 429, 500, 502):
            between.befall("GET", DOWNLOAD, answering(status, secret))
            with pytest.raises(Exception, match=key) as error:
                source.read(key, 0, 10)
            said = f"{error.value}{error.value!r}{error.value.__context__}{vars(error.value)}"
            assert secret not in said
            assert "cacheNonce" not in said
