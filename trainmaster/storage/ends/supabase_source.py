"""Objects of Supabase Storage as copies are made of them: read by obstore over its HTTP API, a request each."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any
from urllib.parse import quote

import obstore
from obstore.store import HTTPStore
from pydantic import SecretStr

from trainmaster.errors import ObjectChangedError, ObjectMissingError, StorageUnavailableError, TrainmasterError
from trainmaster.storage.ends.end_failures import NO_LENGTH, SUPABASE, Refusal, failure
from trainmaster.storage.ends.obstore_clients import ONCE, Timeouts, client_options
from trainmaster.storage.ends.obstore_failures import OBSTORE_ERRORS, refusal_of
from trainmaster.storage.ends.obstore_reading import PAGE, WORTH_A_PAGE, Reader, plain_tag, require_exact
from trainmaster.storage.ends.protocols import FEWEST_LISTED, Piece, Version
from trainmaster.storage.supabase_calls import CallFailedError, CallRefusedError, SupabaseCalls, Timing, object_path

LONGEST_INFO = 1 << 20
ENOUGH_ERRORS = 3
"""So often Storage must fail to give the bytes of an object it knows until they are held to be lost."""
_LOST = ("ENOENT", "NoSuchKey")
"""What the file system and S3 call that. Storage mostly says no more than `Internal Server Error`, as it does in an outage."""


@dataclass(frozen=True)
class _Failures:
    """How often the bytes of an object were not given, and when that was last, by time.monotonic()."""

    count: int = 0
    last: float = 0.0


@dataclass(frozen=True)
class _Given:
    """An object that was read, and when it was asked for."""

    path: str
    version: Version
    asked: float


class SupabaseSource:
    """A bucket of a Supabase project, to copy from. May be shared between threads; never shows its key.

    What lies there is asked of Storage's database, which no cache stands before; the bytes may come through a CDN, which may
    give what was there a minute ago: they count only where both agree.
    """

    def __init__(
        self,
        url: str,
        service_key: SecretStr,
        bucket: str,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self.name, self.bucket, self._timeouts = f"supabase:{bucket}", bucket, timeouts
        timing = Timing(connect_seconds=timeouts.connect_seconds, answer_seconds=timeouts.answer_seconds, tries=1)
        self._calls = SupabaseCalls(url, service_key, timing)
        self._headers = _headers(service_key)
        self._infos = self._store("object/info")
        self._reader = self._past_caches(self._failure)
        self._lock = threading.Lock()
        self._bucket_found = False
        self._failures: dict[str, _Failures] = {}
        self._given: _Given | None = None

    lists = True

    def __repr__(self) -> str:
        return f"SupabaseSource({self._calls.base}, {self.bucket})"

    def look(self, path: str) -> Version:
        """What Storage's database says is there now."""
        self._require_bucket()
        at, refusal, info = f"{self.name}/{path}", None, b""
        require_exact(at, path)
        try:
            answer = obstore.get(self._infos, path)
            info = bytes(answer.bytes()) if answer.meta["size"] <= LONGEST_INFO else b""
        except OBSTORE_ERRORS as error:
            refusal = refusal_of(error)
        if refusal is None:
            return _version(at, _json(at, info))
        if refusal.code == NO_LENGTH:  # a proxy repacks what is text
            return _version(at, self._asked(f"object/info/{object_path(self.bucket, path)}", at))
        raise failure(at, refusal, SUPABASE)

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        """Those of one folder that Storage's database lists."""
        self._require_bucket()
        return self._listing(sorted(set(paths)))

    def read(self, path: str, start: int, length: int, version: Version | None = None) -> Piece:
        """Bytes of the version asked for; those of another are asked for once more, past whatever cache gave them."""
        self._require_bucket()
        reader, asked = self._reader, time.monotonic()
        try:
            piece = reader.piece(path, start, length, version)
        except ObjectChangedError:
            if version is None:
                raise
            with self._lock:
                if reader is self._reader:
                    self._reader = self._past_caches(self._failure)
                reader = self._reader
            piece = reader.piece(path, start, length, version)
        self._note_given(path, piece.version, asked)
        return piece

    def _require_bucket(self) -> None:
        """Asked once, and by a client that follows no redirect, before the key goes where one could lead."""
        if not self._bucket_found:
            self._asked(f"bucket/{quote(self.bucket, safe='')}", self.name, missing="NoSuchBucket")
            self._bucket_found = True

    def _listing(self, paths: Sequence[str]) -> dict[str, Version]:
        """It can be told how names begin, not from which on: in a crowd, those that begin alike for longer are asked for."""
        wanted, found = set(paths), dict[str, Version]()
        asked = {"prefix": _in_common(paths), "limit": PAGE}
        is_worth_it = True
        while is_worth_it:
            operation = f"object/list-v2/{quote(self.bucket, safe='')}"
            page = self._asked(operation, self.name, method="POST", content=asked)
            ours = _shown(page, wanted)
            found |= ours
            if not page.get("hasNext") or len(found) == len(wanted):
                return found
            asked["cursor"] = page["nextCursor"]
            is_worth_it = len(ours) * WORTH_A_PAGE >= len(wanted)
        for alike in _alike([path for path in paths if path not in found]):
            found |= self._listing(alike)
        return found

    def _asked(self, path: str, at: str, *, missing: str = "", method: str = "GET", content: Any = None) -> Any:
        refusal = None
        try:
            return self._calls.ask(method, path, content)
        except CallFailedError as error:
            refusal = Refusal(error.status, retry_after=error.retry_after)
        except CallRefusedError as error:
            refusal = Refusal(error.status, missing if error.status == 404 else error.code)
        raise failure(at, refusal, SUPABASE)

    def _failure(self, path: str, refusal: Refusal) -> TrainmasterError:
        if refusal.status == 500 and self._is_lost(path, refusal):
            return ObjectMissingError(
                f"The bytes of {self.name}/{path} are missing: Supabase has its row, but cannot give its content."
            )
        return self._refused(path, refusal)

    def _refused(self, path: str, refusal: Refusal) -> TrainmasterError:
        return failure(f"{self.name}/{path}", refusal, SUPABASE)

    def _is_lost(self, path: str, refusal: Refusal) -> bool:
        """Whether an object that Storage's database knows has no bytes: it says so, or could give others between two failures.

        Raises what looking in that database raises.
        """
        with self._lock:
            before, given = self._failures.get(path, _Failures()), self._given
            self._failures[path] = now = _Failures(before.count + 1, time.monotonic())
        others_are_given = given is not None and given.path != path and given.asked > before.last
        if any(word in refusal.words for word in _LOST) or (now.count >= ENOUGH_ERRORS and others_are_given):
            self.look(path)
            self._failures.pop(path, None)
            return True
        if given and given.path != path and now.count > 1:
            self._ask_again_for(given)
        return False

    def _ask_again_for(self, given: _Given) -> None:
        """See by one byte whether Storage can still give what it gave: else it is an outage, of which no object is the cause."""
        asked = time.monotonic()
        try:
            self._past_caches(self._refused).piece(given.path, 0, 1, given.version)
        except TrainmasterError:
            return  # no proof of anything
        self._note_given(given.path, given.version, asked)

    def _note_given(self, path: str, version: Version, asked: float) -> None:
        with self._lock:
            self._failures.pop(path, None)
            if version.size and (self._given is None or self._given.asked < asked):
                self._given = _Given(path, version, asked)

    def _past_caches(self, fail: Callable[[str, Refusal], TrainmasterError]) -> Reader:
        """By an address that nothing was asked by before."""
        store = self._store("object/authenticated", f"?cacheNonce={uuid.uuid4().hex}")
        return Reader(store, self.name, fail, conditional=False)

    def _store(self, operation: str, query: str = "") -> HTTPStore:
        url = f"{self._calls.base}/{operation}/{quote(self.bucket, safe='')}{query}"
        return HTTPStore.from_url(
            url, client_options=client_options(url, self._timeouts, headers=self._headers), retry_config=ONCE
        )


def _headers(service_key: SecretStr) -> dict[str, str]:
    """The key once where that is enough: obstore takes Authorization, but no other header, off what follows a redirect elsewhere.

    Supabase's gateway translates keys of the newer kind, which are no tokens, by the header `apikey` alone.
    """
    key = service_key.get_secret_value()
    sent = {"authorization": f"Bearer {key}", "accept-encoding": "identity"}  # else a proxy may unpack a .gz on its way
    return sent if key.count(".") == 2 else {**sent, "apikey": key}


def _json(at: str, info: bytes) -> dict[str, Any]:
    try:
        found = json.loads(info)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StorageUnavailableError(
            f"{at}: Supabase Storage describes it by something that is not JSON. Try again later."
        )
    return found


def _alike(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Of sorted paths those that have one more letter in common, where these are enough for a listing."""
    depth = len(_in_common(paths))
    for _, together in groupby(paths, key=lambda path: path[: depth + 1]):
        alike = list(together)
        if len(alike) >= FEWEST_LISTED:
            yield alike


def _in_common(paths: Sequence[str]) -> str:
    """What sorted paths begin with."""
    return "".join(one for one, _ in takewhile(lambda both: both[0] == both[1], zip(paths[0], paths[-1], strict=False)))


def _shown(page: Any, wanted: Container[str]) -> dict[str, Version]:
    shown = {}
    for entry in page.get("objects") or ():
        path, about = entry.get("key") or entry.get("name"), entry.get("metadata") or {}
        if path in wanted and about.get("eTag") and isinstance(about.get("size"), int):
            shown[path] = Version(about["size"], plain_tag(about["eTag"]))
    return shown


def _version(at: str, info: dict[str, Any]) -> Version:
    size, tag = info.get("size"), plain_tag(str(info.get("etag") or ""))
    if not isinstance(size, int) or not tag:
        raise ObjectMissingError(f"The bytes of {at} are missing: Supabase has its row, which tells no size of it.")
    recorded = info.get("metadata")
    sha256 = recorded.get("sha256") if isinstance(recorded, dict) else None
    return Version(size, tag, sha256 if isinstance(sha256, str) else None)
