"""What stores do wrong, to befall calls that pass on the way to real ones; see `Passage` for how, and how often."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.datastructures import Headers

from benchmarks.soaking.passage import Answered, Asked, BrokenOffError, PassOn, Step

LONGEST_HANG = 30.0
OBJECT = r"/object/authenticated/"
"""Where Supabase gives bytes."""
_KEPT = re.compile(r"content-type|if-none-match|x-amz-.*", re.IGNORECASE)
_CHECKS = re.compile(r"checksum|content-sha256|x-amz-date|x-amz-trailer|x-amz-decoded", re.IGNORECASE)
_CHECKSUMS = re.compile(rb"<Checksum\w+>[^<]*</Checksum\w+>")


def answering(status: int, body: bytes | str = b"", **headers: str) -> Step:
    """Answers by itself; nothing is passed on."""
    data = body.encode() if isinstance(body, str) else body
    named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    named["Content-Length"] = str(len(data))
    return lambda _asked, _pass_on: Answered(status, named, [data])


def s3_saying(status: int, code: str, message: str = "Commanded.", **headers: str) -> Step:
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return answering(status, text, Content_Type="application/xml", **headers)


def supabase_saying(status: int, code: str, message: str = "Commanded.", **headers: str) -> Step:
    """As Storage does it: most of what it means is in the body, and its HTTP status is 400 for what is the caller's fault."""
    text = json.dumps({"statusCode": str(status), "error": code, "code": code, "message": message})
    return answering(400 if status < 429 else status, text, Content_Type="application/json", **headers)


def refused_connection(_asked: Asked, _pass_on: PassOn) -> Answered:
    raise BrokenOffError


def unheard(asked: Asked, pass_on: PassOn) -> Answered:
    """It is done, and the connection reset instead of saying so."""
    for _ in pass_on(asked).body:
        pass
    raise BrokenOffError


def unread(after: int) -> Step:
    """The connection is reset when so many bytes of what is sent have arrived."""

    def step(asked: Asked, _: PassOn) -> Answered:
        asked.read(after)
        raise BrokenOffError

    return step


def cut(after: int) -> Step:
    """The connection is reset when so many bytes of the answer's body have been sent."""

    def broken(data: bytes) -> Iterator[bytes]:
        yield data[:after]
        raise BrokenOffError

    return _with_body(broken)


def ended(after: int) -> Step:
    """The answer ends, in good order, after fewer bytes than it announces."""
    return _with_body(lambda data: iter([data[:after]]))


def shortened(by: int) -> Step:
    """Fewer bytes than there are, rightly announced."""
    return _altered(lambda data: data[: max(len(data) - by, 0)])


def lengthened(by: int) -> Step:
    return _altered(lambda data: data + b"\0" * by)


def flipped(at: int = -1) -> Step:
    """One bit is another, at this byte or in the middle."""
    return _altered(lambda data: flip(data, at))


def flipped_there(at: int = -1) -> Step:
    """One bit of what is sent to the server is another when it arrives."""

    def step(asked: Asked, pass_on: PassOn) -> Answered:
        asked.body = flip(asked.body, at)
        return pass_on(asked)

    return step


def replaced_by(data: bytes) -> Step:
    """The range that was asked for, of other bytes; said to be of the version that is there."""

    def step(asked: Asked, pass_on: PassOn) -> Answered:
        start, _, end = asked.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        answered = pass_on(asked)
        for _ in answered.body:
            pass
        part = data[int(start) : int(end) + 1 if end else None]
        answered.headers["Content-Length"], answered.body = str(len(part)), [part]
        return answered

    return step


def whole_instead(asked: Asked, pass_on: PassOn) -> Answered:
    """All of the object, whatever range was asked for."""
    asked.headers.pop("Range", None)
    return pass_on(asked)


def dripping(piece: int, pause: float) -> Step:
    def drops(data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), piece):
            yield data[start : start + piece]
            time.sleep(pause)

    return _with_body(drops)


def hanging(until: threading.Event) -> Step:
    """Says nothing, and breaks off when the event comes."""

    def step(asked: Asked, _: PassOn) -> Answered:
        asked.read(asked.left)
        until.wait(LONGEST_HANG)
        raise BrokenOffError

    return step


def stalling(after: int, until: threading.Event) -> Step:
    """Says nothing more after so many bytes."""

    def stalled(data: bytes) -> Iterator[bytes]:
        yield data[:after]
        until.wait(LONGEST_HANG)
        raise BrokenOffError

    return _with_body(stalled)


def meanwhile(happens: Callable[[], Any], *, after: bool = False) -> Step:
    """Something happens at the store before, or right after, it does what it is asked."""

    def step(asked: Asked, pass_on: PassOn) -> Answered:
        if not after:
            happens()
            return pass_on(asked)
        answered = pass_on(asked)
        answered.body = [b"".join(answered.body)]
        happens()
        return answered

    return step


def swallowing(asked: Asked, _: PassOn) -> Answered:
    """Says that it has what was sent, and has nothing."""
    assert asked.body is not None
    return Answered(200, Headers({"ETag": '"0123456789abcdef0123456789abcdef"', "Content-Length": "0"}))


class Careless:
    """Takes whatever arrives for what was sent: checksums are ignored, and `spoil` is done to the bodies of objects and parts."""

    def __init__(self, environment: Mapping[str, str], spoil: Callable[[bytes], bytes]) -> None:
        credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        self._signer = S3SigV4Auth(credentials, "s3", environment["AWS_REGION"])
        self._upstream, self._spoil = environment["AWS_ENDPOINT_URL_S3"], spoil

    def __call__(self, asked: Asked, pass_on: PassOn) -> Answered:
        body = _CHECKSUMS.sub(b"", asked.body) if asked.method == "POST" else self._spoil(asked.body)
        kept = {name: value for name, value in asked.headers if _KEPT.fullmatch(name) and not _CHECKS.search(name)}
        pieces = urlsplit(asked.target)
        asked_for = sorted(parse_qsl(pieces.query, keep_blank_values=True))
        unsigned = [(name, value) for name, value in asked_for if not name.lower().startswith("x-amz-")]
        query = urlencode(unsigned, quote_via=quote)
        asked.target = f"{pieces.path}{'?' if query else ''}{query}"
        request = AWSRequest(asked.method, f"{self._upstream}{asked.target}", kept, body)
        self._signer.add_auth(request)
        asked.headers = Headers({**kept, **dict(request.headers.items()), "Host": urlsplit(self._upstream).netloc})
        asked.headers["Content-Length"] = str(len(body))
        asked.body = body
        answered = pass_on(asked)
        answered.headers = Headers([(name, value) for name, value in answered.headers if not _CHECKS.search(name)])
        return answered


def flip(data: bytes, at: int = -1) -> bytes:
    if not data:
        return data
    place = len(data) // 2 if at < 0 else min(at, len(data) - 1)
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def _with_body(alter: Callable[[bytes], Iterator[bytes]]) -> Step:
    """The same answer, announcing what it did, with another body."""

    def step(asked: Asked, pass_on: PassOn) -> Answered:
        answered = pass_on(asked)
        data = b"".join(answered.body)
        answered.headers["Content-Length"] = str(len(data))
        answered.body = alter(data)
        return answered

    return step


def _altered(alter: Callable[[bytes], bytes]) -> Step:
    """Another body, announced as what it is."""

    def step(asked: Asked, pass_on: PassOn) -> Answered:
        answered = pass_on(asked)
        data = alter(b"".join(answered.body))
        answered.headers["Content-Length"], answered.body = str(len(data)), [data]
        return answered

    return step
