"""Calls to Supabase Storage's HTTP API: bounded in time, tried again while that may help, silent about the key.

No exception of httpx leaves this module, nor is any the context of one that does: they hold the request, which holds the key.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from trainmaster.errors import NotConfiguredError, RefusedError, StorageUnavailableError
from trainmaster.storage.bodies import CHUNK

PASSING = frozenset({408, 423, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 544})
LONGEST_ERROR, SLICE = 64 << 10, 256 << 10
T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """Seconds to connect, seconds until the next byte, how often to try, and the first and the longest pause in between."""

    connect_seconds: float = 10
    answer_seconds: float = 60
    tries: int = 5
    pause_seconds: float = 0.5
    longest_pause_seconds: float = 60


class CallFailedError(StorageUnavailableError):
    """Raised when a call did not come through. `status` is 0 where there was no answer, `retry_after` what it asked for."""

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class CallRefusedError(RefusedError):
    """Raised when Storage refuses a call: the status it means, which its HTTP status is mostly not, and its name for that."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"Supabase Storage refused: {_said(status, code, message)}")
        self.status, self.code = status, code


@dataclass(frozen=True)
class Answer:
    """What was answered. `response` is for `chunks` alone, where the body was to be streamed and `content` is empty."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    response: httpx.Response


class SupabaseCalls:
    """Storage's API of one project. May be shared between threads."""

    def __init__(self, url: str, key: SecretStr, timing: Timing) -> None:
        self.base = storage_base(url)
        self.timing, self._auth, self._tls = timing, _Key(key), httpx.create_ssl_context()
        self._client = self.new_client()

    def __repr__(self) -> str:
        return f"SupabaseCalls({self.base})"

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """The JSON answered to a small call that may be repeated."""
        return self.persist(lambda: _json(self.once(self._client, method, path, json=content)))

    def open(self, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Answer:
        """An answer whose body is yet to be read, by `chunks`, before `response` is closed."""
        identity = {"Accept-Encoding": "identity", **headers}  # else a proxy may unpack a .gz on its way
        return self.persist(lambda: self.once(self._client, "GET", path, headers=identity, params=query, stream=True))

    def uplink(self) -> Uplink:
        return Uplink(self)

    def new_client(self) -> httpx.Client:
        seconds = self.timing.answer_seconds
        return httpx.Client(
            auth=self._auth,
            timeout=httpx.Timeout(seconds, connect=self.timing.connect_seconds),
            headers={"User-Agent": "trainmaster"},
            verify=self._tls,
        )

    def persist(self, call: Callable[[], T]) -> T:
        """Its result, tried again while Storage is out of reach or under pressure."""
        attempts = Retrying(
            stop=stop_after_attempt(self.timing.tries),
            wait=self._pause,
            retry=retry_if_exception_type(CallFailedError),
            reraise=True,
        )
        return attempts(call)

    def once(self, client: httpx.Client, method: str, path: str, *, stream: bool = False, **request: Any) -> Answer:
        """The answer to one try. Raises CallFailedError, CallRefusedError or NotConfiguredError."""
        failure, content = "", b""
        try:
            response = client.send(client.build_request(method, f"{self.base}/{path}", **request), stream=True)
            if not stream or response.is_error:
                with closing(response):
                    content = _read(response)
        except httpx.HTTPError as error:
            failure = type(error).__name__
        if failure:  # raised here, not above: see the top of this module
            raise CallFailedError(f"Supabase Storage at {self.base} is out of reach ({failure}). Try again later.")
        answer = Answer(response.status_code, response.headers, content, response)
        if not response.is_success:
            response.close()
            raise self._refusal(answer)
        return answer

    def chunks(self, answer: Answer) -> Generator[bytes]:
        """The bytes as they are sent, a mebibyte at most at a time. Raises CallFailedError where the connection breaks."""
        failure = ""
        try:
            yield from answer.response.iter_raw(CHUNK)
        except httpx.HTTPError as error:
            failure = type(error).__name__
        if failure:
            raise CallFailedError(
                f"The connection to Supabase Storage at {self.base} broke ({failure}). Try again later."
            )

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        longest = min(self.timing.pause_seconds * 2 ** (failures - 1), self.timing.longest_pause_seconds)
        return float(longest * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, CallFailedError) else None
        return max(min(asked or 0, self.timing.longest_pause_seconds), self.pause(state.attempt_number))

    def _refusal(self, answer: Answer) -> Exception:
        status, code, message = _meaning(answer)
        said = _said(status, code, message)
        if status in PASSING:
            return CallFailedError(
                f"Supabase Storage at {self.base} answers {said}. Try again later.", status, _retry_after(answer)
            )
        if status in (401, 403) or code in ("InvalidJWT", "InvalidSignature"):
            return NotConfiguredError(
                f"Supabase Storage at {self.base} refuses our key: {said}. Set SUPABASE_SERVICE_ROLE_KEY to the"
                " service-role key of the project at SUPABASE_URL."
            )
        if status in (413, 415):
            return NotConfiguredError(
                f"Supabase Storage refuses the file: {said}. Raise the project's upload limit and the bucket's"
                " file_size_limit, and allow application/gzip in its allowed_mime_types."
            )
        return CallRefusedError(status, code, message)


class Uplink:
    """A connection of its own for an upload, made anew after every error.

    One that was refused with its body unread would hang whatever comes next on it.
    """

    def __init__(self, calls: SupabaseCalls) -> None:
        self._calls, self._client = calls, calls.new_client()

    def __enter__(self) -> Uplink:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def once(self, method: str, path: str, headers: Mapping[str, str], content: bytes = b"") -> Answer:
        """The answer to one try."""
        length = {"Content-Length": str(len(content))}
        # In slices, and the rest let go at once: httpx's answers hold what was sent until the garbage collector comes by.
        with closing(_slices(content)) as slices:
            try:
                return self._calls.once(self._client, method, path, headers={**headers, **length}, content=slices)
            except BaseException:
                self._client.close()
                self._client = self._calls.new_client()
                raise


def _slices(content: bytes) -> Generator[bytes]:
    for start in range(0, len(content), SLICE):
        yield content[start : start + SLICE]


class _Key(httpx.Auth):
    """Puts the key on a request as it leaves, so that nothing else has to hold it."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        request.headers["apikey"] = self._key.get_secret_value()
        yield request


def storage_base(url: str) -> str:
    """Where a project's Storage is. Raises NotConfiguredError for what is no project's address."""
    target = urlsplit(url)
    if target.scheme not in ("http", "https") or not target.hostname or target.username or target.query:
        raise NotConfiguredError("SUPABASE_URL is not the address of a project, such as https://abc.supabase.co.")
    return url.rstrip("/").removesuffix("/storage/v1") + "/storage/v1"


def object_path(bucket: str, key: str) -> str:
    return f"{quote(bucket, safe='')}/{quote(key, safe='/')}"


def _read(response: httpx.Response) -> bytes:
    """The body of a small answer; of an error's only the beginning: whoever answers must not fill our memory."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if response.is_error and len(body) > LONGEST_ERROR:
            break
    return bytes(body)


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        pass
    raise CallFailedError(f"Supabase Storage answered {answer.status} with something that is not JSON.")


def _meaning(answer: Answer) -> tuple[int, str, str]:
    """Status, code and message; the status in the body, a string, is the true one: the HTTP status is 400 for nearly all."""
    try:
        said = json.loads(answer.content)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        text = (
            ""
            if "html" in answer.headers.get("Content-Type", "")
            else answer.content[:200].decode(errors="replace").strip()
        )
        return answer.status, "", text
    status = str(said.get("statusCode", ""))
    return (
        int(status) if status.isdecimal() else answer.status,
        str(said.get("code") or said.get("error") or ""),
        str(said.get("message") or "")[:200],
    )


def _said(status: int, code: str, message: str) -> str:
    return " ".join(filter(None, (str(status), code, message)))


def _retry_after(answer: Answer) -> float | None:
    """Seconds; the header may also hold a date."""
    said = answer.headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    try:
        return max((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
