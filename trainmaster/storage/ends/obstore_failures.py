"""What obstore's errors say: text alone, from which the status and code of the answer are read and nothing else is kept.

An error's text ends with what Rust's debugger prints, after its last heading of that name. There every string is escaped and
every field has a line of its own, so that neither a path nor a server's answer can pass for a status.
"""

from __future__ import annotations

import json
import re
from typing import Any

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from trainmaster.storage.ends.end_failures import NO_LENGTH, RANGE_IGNORED, UNTRUSTED, Refusal

OBSTORE_ERRORS = (BaseError, FileNotFoundError)
"""All it raises for what a server did or did not do."""

_HEADING = "\n\nDebug source:\n"
_ANSWER = re.compile(
    r'^ +(?:inner: )?(?:Status|Response) \{\n +status: (?P<status>\d{3}),\n +body: (?:Some\(\n +)?(?:"(?P<body>(?:[^"\\\n]|\\.)*)")?',
    re.MULTILINE,
)
_OTHERWISE = (
    (re.compile(r"^ +source: MissingContentLength,$", re.MULTILINE), Refusal(200, NO_LENGTH)),
    (re.compile(r"^ +source: NotPartial,$", re.MULTILINE), Refusal(200, RANGE_IGNORED)),
    (re.compile(r"^ +error: InvalidCertificate\($", re.MULTILINE), Refusal(0, UNTRUSTED)),
)
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|x([0-9a-f]{2})|(.))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_XML_CODE, _XML_WORDS = re.compile(r"<Code>([^<]{1,100})</Code>"), re.compile(r"<Message>([^<]{1,500})</Message>")
_BY_TYPE = (
    (FileNotFoundError, 404),
    (PermissionDeniedError, 403),
    (UnauthenticatedError, 401),
    (AlreadyExistsError, 412),
    (PreconditionError, 412),
)


def refusal_of(error: BaseException) -> Refusal:
    """What the server answered, or by the error's type what it must have; status 0 where nothing was answered."""
    _, heading, debugged = str(error).rpartition(_HEADING)
    if heading and (found := _ANSWER.search(debugged)):
        return answered(int(found["status"]), _unescaped(found["body"] or ""))
    if isinstance(error, NotSupportedError):
        return Refusal(200, RANGE_IGNORED)
    for line, refusal in _OTHERWISE:
        if heading and line.search(debugged):
            return refusal
    return Refusal(next((status for kind, status in _BY_TYPE if isinstance(error, kind)), 0))


def answered(status: int, body: str, retry_after: float | None = None) -> Refusal:
    """From the body of an answer: S3's XML, or Supabase's JSON, whose status is the true one."""
    try:
        said: Any = json.loads(body) if body.startswith("{") else None
    except ValueError:
        said = None
    if isinstance(said, dict):
        meant = str(said.get("statusCode", ""))
        true_status = int(meant) if re.fullmatch(r"[1-5]\d\d", meant) else status
        named = str(said.get("error") or said.get("code") or "")
        return Refusal(true_status, named, str(said.get("message", "")), retry_after)
    code, words = _XML_CODE.search(body), _XML_WORDS.search(body)
    return Refusal(status, code[1] if code else "", words[1] if words else body[:500], retry_after)


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        number = found[1] or found[2]
        return chr(min(int(number, 16), 0x10FFFF)) if number else _LETTERS.get(found[3], found[3])

    return _ESCAPED.sub(plain, text)
