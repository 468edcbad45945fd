"""A file from the web: nothing inside the worker's network is reached, nothing secret in its address is said."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from trainmaster.errors import DatasetRefusedError, StorageUnavailableError
from trainmaster.storage.reachable import Resolve, reachable_addresses, resolve

MOST_REDIRECTS = 5
LONGEST_SECONDS = 6 * 3600
"""However slowly a server drips, a fetch ends."""
TIMEOUT = httpx.Timeout(60, connect=10)
_PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def shown_address(url: httpx.URL) -> str:
    """The address without what may be secret in it: user, password, query (a presigned one's signature), fragment."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


class _QuerylessFilter(logging.Filter):
    """httpx logs every address it asks, at INFO, whole."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown_address(one) if isinstance(one, httpx.URL) else one for one in record.args)
        return True


logging.getLogger("httpx").addFilter(_QuerylessFilter())


@dataclass(frozen=True)
class WebLimits:
    """How much may be fetched, from where, and how often it is tried. Plain http is for private networks only."""

    largest: int
    allow_private: bool = False
    resolve: Resolve = resolve
    attempts: int = 5


class _CutOffError(Exception):
    """Raised when a server fails or the connection is cut: what has arrived is kept, the rest is asked for again."""


def download(address: str, to: Path, limits: WebLimits) -> None:
    """Fetch what is at an https address into a file of at most `limits.largest` bytes, resuming after a cut where the server can.

    Raises DatasetRefusedError (not there, too large, an address inside, too many redirects) and StorageUnavailableError
    (cut or failing still after every try, or six hours gone).
    """
    url, partial = _parsed(address, limits), _Partial(to, time.monotonic() + LONGEST_SECONDS)
    retrying = Retrying(
        retry=retry_if_exception_type(_CutOffError),
        stop=stop_after_attempt(limits.attempts),
        wait=wait_exponential_jitter(multiplier=0.5, max=15),
        reraise=True,
    )
    try:
        retrying(_try_once, url, partial, limits)
    except _CutOffError as error:
        raise StorageUnavailableError(
            f"{shown_address(url)} could not be fetched in {limits.attempts} tries: {error}. Try again later."
        ) from error


@dataclass
class _Partial:
    """What has arrived of a file so far; `version` is the strong ETag the server gave it, if it did."""

    path: Path
    deadline: float
    version: str = ""
    size: int = 0

    @property
    def wanted(self) -> dict[str, str]:
        if not (self.size and self.version):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.version}


def _try_once(url: httpx.URL, partial: _Partial, limits: WebLimits) -> None:
    try:
        with _answer(url, partial.wanted, limits) as answer:
            _require_success(url, answer)
            _receive(url, answer, partial, limits)
    except httpx.TransportError as error:
        raise _CutOffError(type(error).__name__) from error


def _receive(url: httpx.URL, answer: httpx.Response, partial: _Partial, limits: WebLimits) -> None:
    resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
    if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {partial.size}-"):
        partial.version = ""  # start over: this is some other part than was asked for
        raise _CutOffError("the server answered another range")
    etag = answer.headers.get("ETag", "")
    partial.version = "" if etag.startswith("W/") else etag
    partial.size = partial.size if resumed else 0
    promised = answer.headers.get("Content-Length", "")
    if promised.isdecimal() and partial.size + int(promised) > limits.largest:
        raise _too_large(url, f"{partial.size + int(promised):,}", limits)
    with partial.path.open("ab" if resumed else "wb") as file:
        for chunk in answer.iter_raw():  # as stored: a Content-Encoding is the file's own compression
            partial.size += len(chunk)
            if partial.size > limits.largest:
                raise _too_large(url, "more", limits)
            if time.monotonic() > partial.deadline:
                raise StorageUnavailableError(
                    f"{shown_address(url)} had sent {partial.size:,} bytes after {LONGEST_SECONDS // 3600} hours. Try another place."
                )
            file.write(chunk)


@contextmanager
def _answer(url: httpx.URL, headers: dict[str, str], limits: WebLimits) -> Iterator[httpx.Response]:
    """The answer at the end of the redirects, each of which is as suspect as the address it started from."""
    start = url
    for _ in range(1 + MOST_REDIRECTS):
        with _ask(url, headers, limits) as answer:
            if not answer.has_redirect_location:
                yield answer
                return
            url = _parsed(str(url.join(answer.headers["Location"])), limits, came_from=start)
    raise DatasetRefusedError(
        f"{shown_address(start)} redirects more than {MOST_REDIRECTS} times. Give the address it leads to."
    )


@contextmanager
def _ask(url: httpx.URL, headers: dict[str, str], limits: WebLimits) -> Iterator[httpx.Response]:
    """A GET at an address that was checked, and not at whatever the name means a moment later.

    No proxy of the environment is used: it would resolve the name for itself.
    """
    host, port = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
    addresses = reachable_addresses(host, port, allow_private=limits.allow_private, resolve=limits.resolve)
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Accept-Encoding": "identity",
        "User-Agent": "trainmaster",
        **headers,
    }
    with httpx.Client(timeout=TIMEOUT, trust_env=False, verify=httpx.create_ssl_context()) as client:
        for address in addresses:
            request = client.build_request(
                "GET", url.copy_with(host=address), headers=headers, extensions={"sni_hostname": host}
            )
            try:
                answer = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
                continue
            try:
                yield answer
            finally:
                answer.close()
            return


def _parsed(address: str, limits: WebLimits, came_from: httpx.URL | None = None) -> httpx.URL:
    """Raises DatasetRefusedError for what is no https address of a host, saying nothing of what may be secret in it."""
    redirected = f"{shown_address(came_from)} redirects to what" if came_from else "This"
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:  # its message may quote any part of the address
        raise DatasetRefusedError(f"{redirected} is no web address. Write https://host/path.") from None
    if url.userinfo:
        raise DatasetRefusedError(
            f"{redirected} has a user or password in it ({shown_address(url)}), which would be kept with the run's parameters."
            " Give a presigned address, or a file."
        )
    schemes = {"https", "http"} if limits.allow_private else {"https"}
    if url.scheme not in schemes or not url.host:
        raise DatasetRefusedError(f"{redirected} is not fetched ({shown_address(url)}): write https://host/path.")
    return url


def _require_success(url: httpx.URL, answer: httpx.Response) -> None:
    status = answer.status_code
    if status in _PASSING_STATUSES:
        raise _CutOffError(f"HTTP status {status}")
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        hint = " The link may have expired." if status in (400, 401, 403) else ""
        raise DatasetRefusedError(f"{shown_address(url)} answered HTTP status {status}; wanted the file.{hint}")


def _too_large(url: httpx.URL, size: str, limits: WebLimits) -> DatasetRefusedError:
    return DatasetRefusedError(
        f"{shown_address(url)} has {size} bytes; at most {limits.largest:,} are fetched. Split the file, or set"
        " TRAINMASTER_LARGEST_FETCH_BYTES on the worker."
    )
