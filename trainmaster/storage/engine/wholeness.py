"""What bytes are, found out as they pass: their SHA-256, their number, and whether they are whole gzip."""

from __future__ import annotations

import hashlib

from isal import igzip_lib

from trainmaster.errors import DatasetRefusedError

_MAGIC = b"\x1f\x8b"
_IN, _OUT = 256 << 10, 96 << 10
"""Bytes unpacked from and to at a time: what a core's cache holds, so that a bomb is only slow; and what comes of it less than the
128 KiB from which on malloc takes fresh pages for each, which costs more than all the rest."""


class Wholeness:
    """Fed all bytes of an object in order: hashed and, when it must be gzip, unpacked to see that every member's end is there
    and its CRC-32 and length (RFC 1952) are right. Zeros may follow the last member, as tar pads; nothing else.

    Holds 96 KiB and the state of one inflation, whatever the sizes. The GIL is released while it hashes and unpacks.
    Raises DatasetRefusedError, naming `subject`, as soon as the bytes cannot be whole gzip any more.
    """

    def __init__(self, subject: str, *, must_be_gzip: bool) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._gzip = _Members(subject) if must_be_gzip else None

    def feed(self, data: memoryview) -> None:
        self.size += len(data)
        self._digest.update(data)
        if self._gzip:
            self._gzip.feed(data)

    def finish(self) -> str:
        """The SHA-256 of all, hexadecimal."""
        if self._gzip:
            self._gzip.finish()
        return self._digest.hexdigest()


def proven(data: memoryview, subject: str, *, must_be_gzip: bool) -> str:
    """The SHA-256 of a whole object, hexadecimal. Raises DatasetRefusedError as above."""
    whole = Wholeness(subject, must_be_gzip=must_be_gzip)
    whole.feed(data)
    return whole.finish()


class _Members:
    """Gzip members, one after the other."""

    def __init__(self, subject: str) -> None:
        self._subject, self._size = subject, 0
        self._member: igzip_lib.IgzipDecompressor | None = None
        self._members, self._head, self._padded = 0, b"", False

    def feed(self, data: memoryview) -> None:
        for start in range(0, len(data), _IN):
            self._feed(data[start : start + _IN])
        self._size += len(data)

    def finish(self) -> None:
        if self._member or (self._head and not self._members):
            raise self._refusal(f"breaks off after {self._size:,} bytes")
        if self._head:
            raise self._refusal("has something else after the end of its gzip data")
        if not self._members:
            raise self._refusal("is empty")

    def _feed(self, data: memoryview | bytes) -> None:
        while data:
            if self._member is None and not (data := self._begun(data)):
                return
            data = self._inflated(data)

    def _begun(self, data: memoryview | bytes) -> memoryview | bytes:
        """What is left to inflate by a member that begins here; nothing as long as that cannot be told, or never."""
        if self._padded or (self._members and data[0] == 0 and not self._head):
            self._padded = True
            if bytes(data).strip(b"\0"):
                raise self._refusal("has something else after the end of its gzip data")
            return b""
        if self._head or len(data) < len(_MAGIC):
            data, self._head = self._head + bytes(data), b""
        if not _MAGIC.startswith(bytes(data[: len(_MAGIC)])):
            raise self._refusal(
                "has something else after the end of its gzip data" if self._members else "does not begin as gzip does"
            )
        if len(data) < len(_MAGIC):
            self._head = bytes(data)
            return b""
        self._member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        return data

    def _inflated(self, data: memoryview | bytes) -> memoryview | bytes:
        """What comes after the member's end, if that is here."""
        member = self._member
        assert member is not None  # noqa: S101 - begun just before
        try:
            member.decompress(data, _OUT)
            while not (member.eof or member.needs_input):
                member.decompress(b"", _OUT)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance
            raise self._refusal(f"is damaged gzip ({error})") from None
        if not member.eof:
            return b""
        self._member, self._members = None, self._members + 1
        return member.unused_data

    def _refusal(self, found: str) -> DatasetRefusedError:
        return DatasetRefusedError(
            f"{self._subject} {found}; a dataset is stored as whole gzip. Upload the dataset anew."
        )
