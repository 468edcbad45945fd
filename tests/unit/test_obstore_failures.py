"""obstore's errors as they really are, from a server that answers what a test wants, and what each is taken for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import HTTPStore

from trainmaster.errors import (
    CorruptedUploadError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.ends.end_failures import NO_LENGTH, RANGE_IGNORED, S3, Meaning, Refusal, failure, meaning
from trainmaster.storage.ends.obstore_failures import OBSTORE_ERRORS, refusal_of
from trainmaster.storage.ends.protocols import (
    AlreadyThereError,
    NoBucketError,
    NoRoomError,
    ThrottledError,
    UploadGoneError,
)

if TYPE_CHECKING:
    from obstore import GetOptions


@dataclass
class Answering:
    """A server that says the same to everybody."""

    status: int = 200
    body: bytes = b""
    measured: bool = True

    def __post_init__(self) -> None:
        answering = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(answering.status)
                if answering.measured:
                    self.send_header("Content-Length", str(len(answering.body)))
                else:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answering.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def refusal(self, path: str = "a", options: GetOptions | None = None) -> Refusal:
        """What a GET there is refused by."""
        store = HTTPStore.from_url(
            self.url, client_options={"allow_http": True, "timeout": "30s"}, retry_config={"max_retries": 0}
        )
        with pytest.raises(OBSTORE_ERRORS) as error:
            obstore.get(store, path, options=options)
        return refusal_of(error.value)


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    answering = Answering()
    yield answering
    answering.server.shutdown()
    answering.server.server_close()


def xml(code: str, message: str = "") -> bytes:
    return f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


class TestReading:
    @pytest.mark.parametrize(
        "status", [400, 401, 403, 404, 408, 409, 412, 416, 429, 500, 501, 502, 503, 504, 507, 520, 544]
    )
    def test_the_status_is_the_servers(self, server: Answering, status: int) -> None:
        server.status, server.body, server.measured = status, b"said", True
        assert server.refusal() == Refusal(status, "", "said")

    def test_the_code_is_that_of_s3s_xml(self, server: Answering) -> None:
        server.status, server.body, server.measured = 503, xml("SlowDown", "Reduce your request rate."), True
        assert server.refusal() == Refusal(503, "SlowDown", "Reduce your request rate.")

    def test_the_status_that_supabase_means_is_the_one_in_its_json(self, server: Answering) -> None:
        said = {"statusCode": "404", "error": "not_found", "message": 'Object "a" not found\n'}
        server.status, server.body, server.measured = 400, json.dumps(said).encode(), True
        assert server.refusal() == Refusal(404, "not_found", 'Object "a" not found\n')

    @pytest.mark.parametrize("said", [b"{", b"[]", b"{}", b'{"statusCode": "abc"}', b'{"statusCode": 9999}'])
    def test_what_is_no_json_of_supabases_leaves_the_status_as_it_is(self, server: Answering, said: bytes) -> None:
        server.status, server.body, server.measured = 400, said, True
        assert server.refusal().status == 400

    def test_an_answer_that_is_no_text_is_as_good_as_none(self, server: Answering) -> None:
        server.status, server.body, server.measured = 400, b"\xff\xfe", True
        assert server.refusal() == Refusal(0)

    @given(
        status=st.sampled_from([400, 403, 404, 412, 429, 500, 503]),
        lie=st.sampled_from([401, 404, 409, 507]),
        path=st.text("abc:\\\"'{} -123%é", min_size=1, max_size=20).filter(lambda text: text.strip(".")),
        noise=st.text(max_size=30),
    )
    def test_neither_a_path_nor_an_answer_can_pass_for_a_status(
        self, server: Answering, status: int, lie: int, path: str, noise: str
    ) -> None:
        debugged = f"\n\nDebug source:\nGeneric {{\n    inner: Status {{\n        status: {lie},\n        body: None"
        server.status, server.measured = status, True
        server.body = f"{noise}Server returned non-2xx status code: {lie} {debugged}".encode("utf-8", "ignore")
        found = server.refusal(f"{path} - Server returned non-2xx status code {lie}, status: {lie},")
        assert (found.status, found.code) == (status, "")

    def test_an_answer_without_its_length_is_told_from_none(self, server: Answering) -> None:
        server.status, server.body, server.measured = 200, b"hello", False
        assert server.refusal().code == NO_LENGTH

    def test_the_whole_object_where_a_range_was_asked_for_is_told_from_it(self, server: Answering) -> None:
        server.status, server.body, server.measured = 200, b"hello", True
        assert server.refusal(options={"range": (1, 3)}).code == RANGE_IGNORED

    def test_a_server_that_is_not_there_gives_no_status(self) -> None:
        gone = Answering()
        gone.server.server_close()
        assert gone.refusal() == Refusal(0)


KINDS = [
    (Refusal(0), StorageUnavailableError),
    (Refusal(408), StorageUnavailableError),
    (Refusal(500), StorageUnavailableError),
    (Refusal(502), StorageUnavailableError),
    (Refusal(409, "ConditionalRequestConflict"), StorageUnavailableError),
    (Refusal(400, "ExpiredToken"), StorageUnavailableError),
    (Refusal(200, NO_LENGTH), StorageUnavailableError),
    (Refusal(200, RANGE_IGNORED), StorageUnavailableError),
    (Refusal(429), ThrottledError),
    (Refusal(503), ThrottledError),
    (Refusal(504), ThrottledError),
    (Refusal(544), ThrottledError),
    (Refusal(400, "Throttling"), ThrottledError),
    (Refusal(507), NoRoomError),
    (Refusal(507, "XMinioStorageFull"), NoRoomError),
    (Refusal(500, "InternalError", "write /data/1.dat: no space left on device"), NoRoomError),
    (Refusal(500, "InternalError", "no free volumes left for collection"), NoRoomError),
    (Refusal(500, "InternalError", "Cannot find a writable volume: no writable volumes"), NoRoomError),
    (Refusal(403, "QuotaExceeded"), NoRoomError),
    (Refusal(401), NotConfiguredError),
    (Refusal(403), NotConfiguredError),
    (Refusal(403, "RequestTimeTooSkewed"), NotConfiguredError),
    (Refusal(400, "InvalidJWT"), NotConfiguredError),
    (Refusal(400, "KMS.DisabledException"), NotConfiguredError),
    (Refusal(404, "NoSuchBucket"), NoBucketError),
    (Refusal(404, "Bucket not found"), NoBucketError),
    (Refusal(301, "PermanentRedirect"), NotConfiguredError),
    (Refusal(302), NotConfiguredError),
    (Refusal(404), ObjectMissingError),
    (Refusal(404, "NoSuchKey"), ObjectMissingError),
    (Refusal(404, "NoSuchUpload"), UploadGoneError),
    (Refusal(412), ObjectChangedError),
    (Refusal(416), ObjectChangedError),
    (Refusal(400, "BadDigest"), CorruptedUploadError),
    (Refusal(400, "XAmzContentChecksumMismatch"), CorruptedUploadError),
    (Refusal(400), RefusedError),
    (Refusal(501, "NotImplemented"), RefusedError),
]


class TestMeaning:
    @pytest.mark.parametrize(("refusal", "kind"), KINDS, ids=[f"{refusal}" for refusal, _ in KINDS])
    def test_each_refusal_is_one_kind_of_error(self, refusal: Refusal, kind: type[TrainmasterError]) -> None:
        assert type(failure("s3://b/k", refusal, S3)) is kind

    @pytest.mark.parametrize("refusal", [Refusal(412), Refusal(409), Refusal(412, "PreconditionFailed")])
    def test_a_condition_that_failed_while_creating_means_something_is_there(self, refusal: Refusal) -> None:
        assert type(failure("s3://b/k", refusal, S3, creating=True)) is AlreadyThereError

    def test_how_long_to_wait_is_handed_on(self) -> None:
        error = failure("s3://b/k", Refusal(503, "SlowDown", retry_after=7), S3)
        assert isinstance(error, ThrottledError)
        assert error.retry_after == 7

    @given(st.integers(0, 599), st.text(max_size=40), st.text(max_size=80))
    def test_every_refusal_has_a_meaning_and_its_words_are_never_repeated(
        self, status: int, code: str, words: str
    ) -> None:
        secret = "X-Amz-Signature=deadbeef"
        refusal = Refusal(status, code, words + secret)
        assert meaning(refusal) in Meaning
        assert secret not in str(failure("s3://b/k", refusal, S3))

    @given(st.text(min_size=1).filter(lambda text: not text.isascii() or "=" in text or "/" in text))
    def test_what_does_not_look_like_a_code_is_not_repeated_either(self, code: str) -> None:
        assert code not in str(failure("s3:b", Refusal(418, code), S3)).removeprefix("s3:b")
