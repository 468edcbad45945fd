"""What only Supabase does to a store: its errors, its races, its resumable uploads, its silence about wrong bytes."""

from __future__ import annotations

import base64
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cutting_proxy import CuttingProxy, silent_server
from object_stores import LARGE, Noise, Server, body, content, folder, put, read, sha256
from pydantic import SecretStr
from storage_between import StorageBetween, altering, answering, meanwhile

from trainmaster.errors import (
    CorruptedUploadError,
    NameConflictError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_calls import Timing

SIZES = pytest.mark.parametrize("size", [1000, LARGE], ids=["raw", "resumable"])
UPLOAD = r"object/training-datasets/|upload/resumable"
DOWNLOAD = "object/authenticated/"


@pytest.fixture
def between(tmp_path: Path) -> Iterator[StorageBetween]:
    storage = StorageBetween(tmp_path / "storage")
    yield storage
    storage.close()


@pytest.fixture
def key() -> str:
    return folder() + "a.jsonl.gz"


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


class TestStoring:
    @SIZES
    def test_bytes_that_change_on_their_way_are_found_out_and_removed(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        spoil = altering(lambda data: bytes([data[0] ^ 1]) + data[1:])
        between.befall("POST", "object/training-datasets/", spoil)
        between.befall("PATCH", "upload/resumable/", spoil)

        with pytest.raises(CorruptedUploadError, match=f"sent {size} bytes.*Supabase holds {size} bytes.*removed"):
            put(between.store(), key, content(size))

        assert between.store().stat(key) is None

    @SIZES
    def test_bytes_that_were_lost_after_they_were_stored_are_found_out(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        between.befall("GET", DOWNLOAD, meanwhile(lambda: _lose_bytes(between)))

        with pytest.raises(CorruptedUploadError, match="removed"):
            put(between.store(), key, content(size))

        assert between.store().stat(key) is None

    @SIZES
    @pytest.mark.parametrize("same", [True, False])
    def test_who_was_faster_while_we_sent_is_seen(
        self, between: StorageBetween, key: str, size: int, same: bool
    ) -> None:
        theirs = content(size) if same else b"theirs"
        other = between.store()
        method, path = ("POST", UPLOAD) if size == 1000 else ("PATCH", UPLOAD)
        between.befall(method, path, meanwhile(lambda: put(other, key, theirs)))

        if same:
            assert not put(between.store(), key, content(size))
        else:
            with pytest.raises(NameConflictError, match=f"6 bytes with SHA-256 {sha256(theirs)}"):
                put(between.store(), key, content(size))

        assert read(between.store(), key) == theirs

    @SIZES
    def test_who_overwrote_us_before_we_looked_is_seen(self, between: StorageBetween, key: str, size: int) -> None:
        between.befall("GET", DOWNLOAD, meanwhile(lambda: _overwrite(between, key, b"theirs")))

        with pytest.raises(NameConflictError, match="Nothing was replaced"):
            put(between.store(), key, content(size))

        assert read(between.store(), key) == b"theirs"

    @SIZES
    def test_an_answer_lost_on_its_way_back_does_not_make_our_object_another_s(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        """Storage has all of it; what it said never arrives, and the next try finds the object in its way."""
        data = content(size)
        between.befall("POST", "object/training-datasets/", _answer_lost(between))
        between.befall("PATCH", "upload/resumable/", _answer_lost(between), times=2)

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data

    def test_what_the_application_stored_without_a_checksum_is_compared_by_its_bytes(
        self, between: StorageBetween, key: str
    ) -> None:
        _overwrite(between, key, b"stored by the application")

        assert not put(between.store(), key, b"stored by the application")
        with pytest.raises(NameConflictError):
            put(between.store(), key, b"stored by its adversary..")

    def test_what_claims_to_be_the_same_is_not_believed(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"given")
        _spoil_bytes(between)

        with pytest.raises(NameConflictError):
            put(between.store(), key, b"given")


class TestResumableUpload:
    def test_it_goes_on_where_it_was_cut_and_sends_no_piece_twice_but_that_one(
        self, between: StorageBetween, key: str
    ) -> None:
        size = 20 << 20
        with CuttingProxy(between.url, cut_up=[15 << 20]) as proxy:
            store = SupabaseStore(
                proxy.url,
                SecretStr(between.keys.service_role_key),
                "training-datasets",
                timing=Timing(pause_seconds=0.01),
            )
            assert store.put(key, body(size), size=size, sha256=sha256(content(size)), content_type="application/gzip")
            assert proxy.cuts == 1

        assert [call.headers["Upload-Offset"] for call in between.called("PATCH", UPLOAD)] == [
            str(piece * (6 << 20)) for piece in (0, 1, 2, 2, 3)
        ]
        assert len(between.called("POST", "upload/resumable")) == 1

    def test_it_goes_on_in_the_middle_of_a_piece_where_storage_kept_the_beginning_of_it(
        self, between: StorageBetween, key: str
    ) -> None:
        """As Supabase's own server does of a piece whose connection broke."""
        data = content(LARGE)
        upload = PiecemealUpload(between)
        between.befall("POST", "upload/resumable", upload.begin)
        between.befall("PATCH", UPLOAD, upload.take_half, times=1)
        between.befall("PATCH", UPLOAD, upload.take, times=99)
        between.befall("HEAD", UPLOAD, upload.say, times=99)

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data
        assert [call.headers["Upload-Offset"] for call in between.called("PATCH", UPLOAD)] == ["0", str(3 << 20)]

    def test_a_wrong_offset_is_set_right_by_asking(self, between: StorageBetween, key: str) -> None:
        data = content(LARGE)
        between.befall("PATCH", UPLOAD, _answer_lost(between, 409, "Upload-Offset conflict\n"))

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data

    def test_one_that_storage_has_forgotten_is_begun_anew(self, between: StorageBetween, key: str) -> None:
        data = content(LARGE)
        between.befall("PATCH", UPLOAD, answering(410, "The file for this url no longer exists\n"))

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data
        assert len(between.called("POST", "upload/resumable")) == 2

    def test_one_that_fails_for_good_is_taken_back(self, between: StorageBetween, key: str) -> None:
        between.befall("PATCH", UPLOAD, answering(503, b"{}"), times=99)

        with pytest.raises(StorageUnavailableError):
            put(between.store(), key, content(LARGE))

        assert len(between.called("PATCH", UPLOAD)) == 3
        assert len(between.called("DELETE", "upload/resumable/")) == 1
        assert between.store().stat(key) is None

    def test_one_that_is_interrupted_is_taken_back(self, between: StorageBetween, key: str) -> None:
        class Interrupted(Noise):
            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                if self.tell() > 6 << 20:
                    raise KeyboardInterrupt
                return super().readinto(buffer)

        given = io.BufferedReader(Interrupted(LARGE))
        with pytest.raises(KeyboardInterrupt):
            between.store().put(key, given, size=LARGE, sha256=sha256(b""), content_type="application/gzip")

        assert len(between.called("DELETE", "upload/resumable/")) == 1

    def test_one_that_storage_is_still_putting_together_is_waited_for(self, between: StorageBetween, key: str) -> None:
        """It has all pieces, answers too late, and knows the object a moment later."""
        upload = PiecemealUpload(between, shown=False)
        between.befall("POST", "upload/resumable", upload.begin)
        between.befall("PATCH", UPLOAD, upload.take, times=99)
        between.befall("HEAD", UPLOAD, upload.say, times=99)
        between.befall("GET", "object/info/", lambda _: None, times=2)
        between.befall("GET", "object/info/", meanwhile(upload.show))

        assert put(between.store(), key, content(LARGE))

        assert len(between.called("POST", "upload/resumable")) == 1

    def test_each_piece_is_six_mebibytes(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, content(LARGE))

        assert [call.sent for call in between.called("PATCH", UPLOAD)] == [6 << 20, LARGE - (6 << 20)]


class TestReading:
    def test_a_row_without_bytes_is_said_to_have_none_and_not_asked_for_ever(
        self, between: StorageBetween, key: str
    ) -> None:
        put(between.store(), key, b"to be lost")
        _lose_bytes(between)

        with pytest.raises(ObjectMissingError, match=r"bytes of .* are missing"):
            read(between.store(), key)

        assert 1 <= len(between.called("GET", DOWNLOAD)[1:]) <= 3

    def test_another_version_of_the_same_size_is_not_taken_for_what_was_asked(
        self, between: StorageBetween, key: str
    ) -> None:
        """Replaced between the look at it and its download, which for itself is whole."""
        put(between.store(), key, b"first")
        between.befall("GET", DOWNLOAD, meanwhile(lambda: _overwrite(between, key, b"other")))

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


class PiecemealUpload:
    """An upload at a server that keeps what has arrived of a piece."""

    def __init__(self, between: StorageBetween, *, shown: bool = True) -> None:
        self._between, self._shown, self._arrived, self._headers = between, shown, bytearray(), {}

    def begin(self, request: Any) -> Any:
        self._headers = dict(request.headers)
        return answering(201, Location="https://elsewhere.example/upload/resumable/piecemeal")(request)

    def take_half(self, request: Any) -> Any:
        data = request.get_data()
        self._arrived += data[: len(data) // 2]
        return answering(502)(request)

    def take(self, request: Any) -> Any:
        assert int(request.headers["Upload-Offset"]) == len(self._arrived)
        self._arrived += request.get_data()
        if self._shown and len(self._arrived) == int(self._headers["Upload-Length"]):
            self.show()
        return self.say(request)

    def show(self) -> None:
        described = dict(each.split(" ") for each in self._headers["Upload-Metadata"].split(","))
        key = base64.b64decode(described["objectName"]).decode()
        _overwrite(self._between, key, bytes(self._arrived), described["metadata"])

    def say(self, request: Any) -> Any:
        return answering(204, Upload_Offset=str(len(self._arrived)))(request)


def _overwrite(between: StorageBetween, key: str, data: bytes, metadata: str = "") -> None:
    """As the application does it, which records no checksum; `metadata` is base64."""
    httpx.post(
        f"{between.url}/storage/v1/object/training-datasets/{key}",
        content=data,
        headers={
            "Authorization": f"Bearer {between.keys.service_role_key}",
            "x-upsert": "true",
            "x-metadata": metadata,
        },
    ).raise_for_status()


def _files(between: StorageBetween) -> list[Path]:
    return [each for each in (between.folder / "supabase" / "objects").rglob("*") if each.is_file()]


def _lose_bytes(between: StorageBetween) -> None:
    for file in _files(between):
        file.unlink()


def _spoil_bytes(between: StorageBetween) -> None:
    for file in _files(between):
        file.write_bytes(file.read_bytes()[::-1])


def _answer_lost(between: StorageBetween, status: int = 502, said: str = "<html></html>") -> Any:
    """The call goes through, and its answer is replaced."""

    def step(request: Any) -> Any:
        between.let_through(request)
        return answering(status, said, Content_Type="text/html")(request)

    return step
