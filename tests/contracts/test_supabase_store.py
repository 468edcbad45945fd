"""What only Supabase does to a store: its errors, its listings, its addresses, its key that nobody may see."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cutting_proxy import CuttingProxy, silent_server
from object_stores import LARGE, Server, content, folder, put, read
from pydantic import SecretStr
from storage_between import DOWNLOAD, UPLOAD, StorageBetween, answering, meanwhile

from trainmaster.errors import (
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_calls import CallRefusedError, SupabaseCalls, Timing


def error_body(status: int, error: str, message: str) -> dict[str, str]:
    return {"statusCode": str(status), "error": error, "message": message}


class TestErrors:
    @pytest.mark.parametrize(
        "answer",
        [
            answering(429, error_body(429, "too_many_requests", "Slow down")),
            answering(500, error_body(500, "Internal", "Internal Server Error")),
            answering(502, "<html>Bad gateway</html>", Content_Type="text/html"),
            answering(503, error_body(503, "SlowDown", "reduce your rate")),
            answering(504, "upstream timed out"),
            answering(544, error_body(544, "DatabaseTimeout", "The connection to the database timed out")),
            answering(400, error_body(544, "DatabaseTimeout", "The connection to the database timed out")),
        ],
        ids=["429", "500", "502", "503", "504", "544", "544 as 400"],
    )
    @pytest.mark.parametrize(("method", "path"), [("GET", "object/info/"), ("POST", UPLOAD), ("PATCH", UPLOAD)])
    def test_pressure_is_waited_out(
        self, between: StorageBetween, key: str, answer: Any, method: str, path: str
    ) -> None:
        between.befall(method, path, answer)

        assert put(between.store(), key, content(LARGE))

        assert read(between.store(), key) == content(LARGE)

    def test_pressure_that_lasts_is_given_up_after_so_many_tries(self, between: StorageBetween, key: str) -> None:
        between.befall("GET", "object/info/", answering(503, error_body(503, "SlowDown", "reduce your rate")), 99)

        with pytest.raises(StorageUnavailableError, match=r"503 SlowDown reduce your rate.*later"):
            between.store().stat(key)

        assert len(between.called("GET", "object/info/")) == 3

    @pytest.mark.parametrize(
        "after", ["1", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)], ids=["seconds", "date"]
    )
    def test_storage_is_left_alone_for_as_long_as_it_asks(self, between: StorageBetween, key: str, after: str) -> None:
        between.befall("GET", "object/info/", answering(429, b"{}", Retry_After=after))

        between.store(timing={"longest_pause_seconds": 1}).stat(key)

        first, second = between.called("GET", "object/info/")
        assert second.at - first.at >= 1

    def test_a_key_that_is_not_accepted_is_said_with_what_to_set(self, between: StorageBetween, key: str) -> None:
        for use in (
            lambda store: store.stat(key),
            lambda store: put(store, key, b"x"),
            lambda store: store.delete(key),
        ):
            with pytest.raises(NotConfiguredError, match="Set SUPABASE_SERVICE_ROLE_KEY"):
                use(between.store(key="eyJhbGciOiJIUzI1NiJ9.e30.wrong"))

    def test_a_file_larger_than_the_bucket_takes_is_said_with_what_to_raise(
        self, between: StorageBetween, key: str
    ) -> None:
        between.befall("POST", "upload/resumable", answering(413, "Maximum size exceeded\n"))

        with pytest.raises(NotConfiguredError, match=r"413 Maximum size exceeded.*file_size_limit"):
            put(between.store(), key, content(LARGE))

    def test_any_other_refusal_is_told_as_it_was_said(self, between: StorageBetween, key: str) -> None:
        between.befall("POST", UPLOAD, answering(400, error_body(422, "Strange", "not today")))

        with pytest.raises(RefusedError, match="422 Strange not today"):
            put(between.store(), key, b"x")

    def test_an_answer_that_is_no_json_is_a_failure_that_may_pass(self, between: StorageBetween, key: str) -> None:
        between.befall("GET", "object/info/", answering(200, "<html>Sign in to the hotel's network</html>"), 99)

        with pytest.raises(StorageUnavailableError, match="not JSON"):
            between.store().stat(key)

    @pytest.mark.parametrize("name", ["käse.gz", "~a.gz", "a//b", "/a", "a/", "../a", "a/./b", "a\nb", "a#b", ""])
    def test_a_key_that_supabase_does_not_take_is_refused_before_anything_is_sent(
        self, between: StorageBetween, name: str
    ) -> None:
        store = between.store()
        for use in (
            lambda: put(store, name, b"x"),
            lambda: store.stat(name),
            lambda: store.sign(name, timedelta(hours=1)),
            lambda: store.delete(name),
            lambda: store.get(name).__enter__(),
        ):
            with pytest.raises(RefusedError, match="does not take"):
                use()
        assert not between.seen

    @pytest.mark.parametrize(
        "url", ["", "abc.supabase.co", "ftp://abc", "https://", "https://user:secret@abc.supabase.co", "https://a?b=c"]
    )
    def test_an_address_that_is_none_is_said(self, url: str) -> None:
        with pytest.raises(NotConfiguredError, match="SUPABASE_URL") as refused:
            SupabaseStore(url, SecretStr("k"), "training-datasets")
        assert "secret" not in str(refused.value)


class TestReading:
    def test_a_row_without_bytes_is_said_to_have_none_and_not_asked_for_ever(
        self, between: StorageBetween, key: str
    ) -> None:
        put(between.store(), key, b"to be lost")
        between.lose_bytes()

        with pytest.raises(ObjectMissingError, match=r"bytes of .* are missing"):
            read(between.store(), key)

        assert 1 <= len(between.called("GET", DOWNLOAD)[1:]) <= 3

    def test_an_empty_object_is_asked_for_as_any_other(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"")
        assert read(between.store(), key) == b""
        between.lose_bytes()

        with pytest.raises(ObjectMissingError, match=r"bytes of .* are missing"):
            read(between.store(), key)

    def test_a_row_that_says_no_size_is_not_taken_for_an_empty_object(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"cats")
        row = {"name": key, "version": "1", "size": None, "etag": None, "metadata": None}
        between.befall("GET", "object/info/", answering(200, row), times=9)

        with pytest.raises(ObjectMissingError, match=r"bytes of .* are missing"):
            read(between.store(), key)

    def test_another_version_of_the_same_size_is_not_taken_for_what_was_asked(
        self, between: StorageBetween, key: str
    ) -> None:
        """Replaced between the look at it and its download, which for itself is whole."""
        put(between.store(), key, b"first")
        between.befall("GET", DOWNLOAD, meanwhile(lambda: between.overwrite(key, b"other")))

        with pytest.raises(ObjectChangedError):
            read(between.store(), key)

    def test_no_cache_and_no_decoding_is_asked_for(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"x")
        for _ in range(3):
            read(between.store(), key)

        calls = between.called("GET", DOWNLOAD)
        assert {call.headers["Accept-Encoding"] for call in calls} == {"identity"}
        assert len({tuple(call.query.items()) for call in calls}) == len(calls) == 4

    def test_a_server_that_ignores_ranges_is_not_read_twice_over(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"0123456789")
        between.befall("GET", DOWNLOAD, answering(200, b"0123456789"))

        with pytest.raises(TrainmasterError):
            read(between.store(), key, start=5)


class TestListing:
    NAMES = ("a", "b/1", "b/2", "b/c/3", "b-1", "d", "e/f/4")

    @pytest.fixture
    def filled(self, between: StorageBetween) -> str:
        within = folder()
        for name in self.NAMES:
            put(between.store(), within + name, name.encode())
        return within

    @pytest.mark.parametrize("page_size", [1, 2, 7, 1000])
    def test_pages_are_followed_to_the_end(self, between: StorageBetween, filled: str, page_size: int) -> None:
        found = list(between.store(page_size=page_size).list(filled))

        assert [each.key for each in found] == sorted(filled + name for name in self.NAMES)

    @pytest.mark.parametrize("page_size", [1, 2, 1000])
    def test_a_server_without_the_newer_listing_is_walked_folder_by_folder(
        self, between: StorageBetween, filled: str, page_size: int
    ) -> None:
        """An older server takes the call for an upload to a bucket named list-v2."""
        missing = answering(400, error_body(404, "Bucket not found", "Bucket not found"))
        between.befall("POST", "object/list-v2/", missing, times=99)

        found = list(between.store(page_size=page_size).list(filled))

        assert [each.key for each in found] == sorted(filled + name for name in self.NAMES)
        assert [each.size for each in found] == [len(each.key) - len(filled) for each in found]


class TestConnections:
    def test_an_upload_has_a_connection_of_its_own(self, supabase: Server, key: str) -> None:
        """One that was refused with its body unread would hang whatever came next on it."""
        with CuttingProxy(supabase.url) as proxy:
            store = supabase.store(proxy.url)
            store.stat(key)
            store.stat(key)
            assert proxy.connections == 1

            put(store, key, content(1_000_000))
            store.stat(key)

            assert proxy.connections == 2

    def test_an_upload_that_was_refused_goes_on_over_another_connection(self, supabase: Server) -> None:
        with CuttingProxy(supabase.url) as proxy:
            calls = SupabaseCalls(proxy.url, SecretStr(supabase.secret), Timing(answer_seconds=10))
            with calls.uplink() as uplink:
                for _ in range(3):
                    with pytest.raises(CallRefusedError, match="Bucket not found"):
                        uplink.once("POST", "object/no-such-bucket/a.gz", {"x-upsert": "false"}, content(500_000))

            assert proxy.connections == 3


class TestDeleting:
    def test_an_answer_that_nothing_was_removed_is_not_taken_for_success(
        self, between: StorageBetween, key: str
    ) -> None:
        """Storage answers [] of what one may not touch, as of what is not there."""
        put(between.store(), key, b"x")
        between.befall("DELETE", "object/", answering(200, []))

        with pytest.raises(NotConfiguredError, match="is there still"):
            between.store().delete(key)


class TestAddress:
    def test_a_project_below_a_path_is_served_and_linked_there(self, tmp_path: Path, key: str) -> None:
        storage = StorageBetween(tmp_path / "storage", prefix="/projects/abc")
        try:
            assert put(storage.store(), key, content(LARGE))
            link = storage.store().sign(key, timedelta(hours=1), download_as="a b.gz")

            assert link.startswith(f"{storage.url}/storage/v1/object/sign/")
            assert httpx.get(link).content == content(LARGE)
        finally:
            storage.close()

    def test_the_host_and_scheme_that_storage_says_an_upload_has_are_not_used(
        self, between: StorageBetween, key: str
    ) -> None:
        def elsewhere(request: Any) -> None:
            request.environ["HTTP_HOST"] = "elsewhere.example"

        between.befall("POST", "upload/resumable", elsewhere)

        assert put(between.store(), key, content(LARGE))

    @pytest.mark.parametrize("name", ["a b.gz", "a+b & c=d.gz", "50,000 (new)?.gz"])
    def test_any_character_that_supabase_takes_can_be_in_a_key(self, between: StorageBetween, name: str) -> None:
        key = folder() + name
        put(between.store(), key, b"cats")

        assert read(between.store(), key) == b"cats"
        assert httpx.get(between.store().sign(key, timedelta(hours=1))).content == b"cats"
        assert between.store().delete(key)


class TestSecrets:
    """Searched with the values of all variables of our own and httpx's frames, as error reporters render them."""

    @pytest.fixture(autouse=True)
    def _all_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)

    @staticmethod
    def rendered(error: BaseException) -> str:
        assert error.__traceback__
        error = error.with_traceback(error.__traceback__.tb_next)  # without the test, which knows the key
        known: BaseException | None = error
        while known:  # httpx's hold the request, and that the key, whether or not it can be seen by printing them
            assert type(known).__module__.startswith("trainmaster.")
            known = known.__cause__ or known.__context__
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    def test_the_key_is_in_no_error_log_or_representation(
        self, between: StorageBetween, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = between.keys.service_role_key
        store = between.store()
        between.befall("GET", "object/info/", answering(503, b"{}"), times=3)
        between.befall("POST", UPLOAD, answering(400, error_body(422, "Strange", "no")), times=1)
        with silent_server() as url, CuttingProxy(between.url, cut_up=[100] * 99) as proxy:
            quick = Timing(connect_seconds=0.2, answer_seconds=0.2, tries=2, pause_seconds=0.01)
            silent, cut, closed = (
                SupabaseStore(where, SecretStr(secret), "training-datasets", timing=quick)
                for where in (url, proxy.url, "http://127.0.0.1:9")
            )
            uses: list[Callable[[], object]] = [
                lambda: store.stat(key),
                lambda: put(store, key, b"x"),
                lambda: store.get(key).__enter__(),
                *(
                    use
                    for broken in (silent, cut, closed)
                    for use in (
                        lambda broken=broken: broken.stat(key),
                        lambda broken=broken: put(broken, key, content(LARGE)),
                        lambda broken=broken: broken.sign(key, timedelta(hours=1)),
                        lambda broken=broken: list(broken.list("a/")),
                    )
                ),
            ]
            for use in uses:
                with pytest.raises(TrainmasterError) as failed:
                    use()
                assert secret not in self.rendered(failed.value)
        assert secret not in repr(store)
        assert secret not in caplog.text

    def test_a_link_is_in_no_log(self, between: StorageBetween, key: str, caplog: pytest.LogCaptureFixture) -> None:
        put(between.store(), key, b"x")

        token = between.store().sign(key, timedelta(hours=1)).partition("token=")[2]

        assert len(token) > 50
        assert token not in caplog.text
