"""Reading by obstore: one request, and proof that what came is what was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import obstore

from trainmaster.errors import ObjectChangedError, RefusedError, StorageUnavailableError, TrainmasterError
from trainmaster.storage.bodies import CHUNK
from trainmaster.storage.ends.end_failures import Refusal
from trainmaster.storage.ends.obstore_failures import OBSTORE_ERRORS, refusal_of
from trainmaster.storage.ends.protocols import Piece, Version, folder_of

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, GetResult, ObjectMeta
    from obstore.store import HTTPStore, S3Store

T = TypeVar("T")
PAGE, WORTH_A_PAGE = 1000, 5
"""Objects on a page of a listing (S3), and of how many of those that are looked for one must be on it to ask for the next."""
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
_EXACT = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Reader:
    """Objects of one store. `name` is what messages call it; `conditional`: it honours If-Match.

    `fail` makes an error of the refusal of a path.
    """

    store: HTTPStore | S3Store = field(repr=False)
    name: str
    fail: Callable[[str, Refusal], TrainmasterError]
    conditional: bool

    def at(self, path: str) -> str:
        return f"{self.name}/{path}"

    def describe(self, path: str) -> tuple[Version, Attributes]:
        """Which version is there, and what is recorded beside it. Raises as `Source.look`."""
        at = self.at(path)
        require_exact(at, path)
        answer = unquoted(lambda: obstore.get(self.store, path, options={"head": True}), partial(self.fail, path))
        return version_of(at, answer.meta, answer.attributes.get("sha256")), answer.attributes

    def piece(self, path: str, start: int, length: int, version: Version | None) -> Piece:
        """`length` bytes from `start`, fewer only where the object ends. Raises as `Source.read`.

        Never more is asked for than there is: a server may answer as if it were there. What is larger than was asked for is
        cut off with its connection, no more than a chunk after that is in memory.
        """
        require_exact(self.at(path), path)
        if version is None and start:
            raise ValueError(f"From byte {start} on only a known version can be read.")
        if version is not None and version.size and start >= min(start + length, version.size):
            return Piece(memoryview(b""), version)
        return unquoted(lambda: self._piece(path, start, length, version), partial(self.fail, path))

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        """Those that a listing shows, as far as its pages have at least a fifth of them each. Raises as `Source.listing`."""
        wanted, folder = set(paths), folder_of(paths[0])
        return unquoted(lambda: self._listing(folder, wanted), partial(self.fail, folder))

    def _listing(self, folder: str, wanted: set[str]) -> dict[str, Version]:
        found: dict[str, Version] = {}
        before, last = min(wanted)[:-1], max(wanted)
        for page in obstore.list(self.store, folder or None, offset=before, chunk_size=PAGE):
            ours = {
                entry["path"]: version_of(self.at(entry["path"]), entry) for entry in page if entry["path"] in wanted
            }
            found |= ours
            if len(found) == len(wanted) or len(ours) * WORTH_A_PAGE < len(wanted) or page[-1]["path"] >= last:
                break
        return found

    def _piece(self, path: str, start: int, length: int, version: Version | None) -> Piece:
        at = self.at(path)
        answer = obstore.get(self.store, path, options=self._options(start, length, version))
        found = version_of(at, answer.meta, answer.attributes.get("sha256"))
        if version is not None and found != version:
            raise ObjectChangedError(
                f"{at}: {found.size:,} bytes of version {found.tag} came where {version.size:,} of {version.tag} were asked"
                " for. It was replaced. Start anew."
            )
        expected = min(length, found.size - start)
        data = _collected(answer, expected)
        if len(data) != expected:
            raise StorageUnavailableError(
                f"{at}: {len(data):,} bytes came where {expected:,} were announced. Try again."
            )
        return Piece(data, found)

    def _options(self, start: int, length: int, version: Version | None) -> GetOptions:
        options: GetOptions = {}
        if version is not None:
            stop = min(start + length, version.size)
            if (start, stop) != (0, version.size):
                options["range"] = (start, stop)
            if self.conditional:
                options["if_match"] = version.tag
        return options


def unquoted(call: Callable[[], T], fail: Callable[[Refusal], TrainmasterError]) -> T:
    """Its result. Errors of obstore end here: ours are raised outside their handling, so that they are no context either."""
    try:
        return call()
    except OBSTORE_ERRORS as error:
        refusal = refusal_of(error)
    raise fail(refusal)


def version_of(at: str, meta: ObjectMeta, sha256: str | None = None) -> Version:
    """Raises RefusedError for an object whose store says nothing by which its versions could be told apart."""
    tag = plain_tag(meta["e_tag"] or "")
    if not tag and meta["last_modified"] != _UNKNOWN_TIME:
        tag = f"modified {meta['last_modified']:%Y-%m-%dT%H:%M:%SZ}"
    if not tag:
        raise RefusedError(f"{at} has neither an ETag nor a date, so nobody could tell whether it was replaced.")
    return Version(meta["size"], tag, sha256)


def plain_tag(tag: str) -> str:
    """An ETag without the mark of a proxy that may have packed the body, which we ask it not to."""
    return tag.removeprefix("W/")


def require_exact(at: str, path: str) -> str:
    """The path; raises RefusedError for one that would be asked for as another than it is."""
    parts = path.split("/")
    if not _EXACT.fullmatch(path) or {"", ".", ".."} & {*parts}:
        raise RefusedError(
            f"{at} cannot be asked for by its name: it has an empty, '.' or '..' folder or a control character. Rename it."
        )
    return path


def _collected(answer: GetResult, expected: int) -> memoryview:
    if answer.meta["size"] == 0:
        return memoryview(b"")
    start, stop = answer.range
    if stop - start <= expected:
        return memoryview(answer.bytes())
    begun = bytearray()
    for chunk in answer.stream(min_chunk_size=CHUNK):
        begun += chunk
        if len(begun) >= expected:
            break
    return memoryview(begun)[:expected]
