"""What a store's refusal means to who copies: told once, by status and code, whichever library the refusal came by.

Nothing of what a library or a server said is passed on but status and code: texts quote addresses, headers and signatures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from trainmaster.errors import (
    CorruptedUploadError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.ends.protocols import (
    AlreadyThereError,
    NoBucketError,
    NoRoomError,
    ThrottledError,
    UploadGoneError,
)


@dataclass(frozen=True)
class Refusal:
    """An answer that is none. `status` is 0 where nothing was answered; `words` are the server's, for `meaning` alone."""

    status: int
    code: str = ""
    words: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        code = self.code if re.fullmatch(r"[A-Za-z][A-Za-z0-9_. -]{0,60}", self.code) else ""
        return " ".join(filter(None, (str(self.status or ""), code))) or "no answer"


class Meaning(Enum):
    """What follows from a refusal."""

    THROTTLED = auto()
    PASSING = auto()
    NO_ROOM = auto()
    NOT_ALLOWED = auto()
    CLOCK_OFF = auto()
    ELSEWHERE = auto()
    NO_BUCKET = auto()
    MISSING = auto()
    CONDITION_FAILED = auto()
    OUT_OF_RANGE = auto()
    NO_UPLOAD = auto()
    OTHER_BYTES = auto()
    RANGE_IGNORED = auto()
    UNTRUSTED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Whose:
    """How a kind of store is spoken of: its name, and what to do about missing permissions and buckets."""

    name: str
    permission: str
    bucket: str


S3 = Whose(
    "S3",
    "Allow the worker's credentials s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket,"
    " s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts there, and the use of the KMS key if there is one.",
    "Create it, or set TRAINMASTER_BUCKET (TRAINMASTER_DATASET_BUCKET for datasets).",
)
SUPABASE = Whose(
    "Supabase Storage",
    "Set SUPABASE_SERVICE_ROLE_KEY to the service-role key of the project at SUPABASE_URL.",
    "Create it, private, in the project's Storage settings.",
)
SUPABASE_S3 = Whose(
    "Supabase Storage's S3 endpoint",
    "Set SUPABASE_S3_ACCESS_KEY_ID, SUPABASE_S3_SECRET_ACCESS_KEY and SUPABASE_S3_REGION to those of the project at"
    " SUPABASE_URL, or unset the keys.",
    SUPABASE.bucket,
)

NO_LENGTH, RANGE_IGNORED, UNTRUSTED = "NoLength", "RangeIgnored", "UntrustedCertificate"
"""Codes of ours: for an answer that lacks its length, a whole object where a range was asked for, and a server nobody vouches for."""

_FULL_CODES = {
    "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "XMinioDiskFull", "QuotaExceeded", "InsufficientStorage",
    "InsufficientCapacity",
}  # fmt: skip
_FULL_WORDS = re.compile(
    r"no space left|ENOSPC|not enough space|disk full|disk quota|storage (is )?full|minimum free (drive|disk)"
    r"|no (more )?(free|writable) volume|quota exceeded|out of (disk )?space",
    re.IGNORECASE,
)
_BY_CODE = {
    Meaning.NO_ROOM: _FULL_CODES,
    Meaning.THROTTLED: {
        "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests",
        "TooManyRequestsException", "RequestLimitExceeded", "ServiceUnavailable", "Busy",
    },
    Meaning.PASSING: {
        "ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeout", "InternalError", "InternalFailure",
        "ConditionalRequestConflict", "OperationAborted", "IncompleteBody",
        NO_LENGTH,
    },
    Meaning.CLOCK_OFF: {"RequestTimeTooSkewed"},
    Meaning.OTHER_BYTES: {
        "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidPart",
    },
    Meaning.NO_UPLOAD: {"NoSuchUpload"},
    Meaning.NO_BUCKET: {"NoSuchBucket", "Bucket not found"},
    Meaning.NOT_ALLOWED: {
        "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidJWT", "InvalidSignature", "InvalidToken",
        "AuthorizationHeaderMalformed", "Unauthorized", "AllAccessDisabled", "AccountProblem",
    },
    Meaning.ELSEWHERE: {"PermanentRedirect", "TemporaryRedirect", "Redirect", "IllegalLocationConstraintException"},
    Meaning.CONDITION_FAILED: {"PreconditionFailed", "Duplicate"},
    Meaning.OUT_OF_RANGE: {"InvalidRange"},
    Meaning.MISSING: {"NoSuchKey", "not_found", "Not found"},
    Meaning.RANGE_IGNORED: {RANGE_IGNORED},
    Meaning.UNTRUSTED: {UNTRUSTED},
}  # fmt: skip
_MEANT = {code: meaning for meaning, codes in _BY_CODE.items() for code in codes}
_BY_STATUS = {
    0: Meaning.PASSING, 401: Meaning.NOT_ALLOWED, 403: Meaning.NOT_ALLOWED, 404: Meaning.MISSING, 408: Meaning.PASSING,
    409: Meaning.CONDITION_FAILED, 412: Meaning.CONDITION_FAILED, 416: Meaning.OUT_OF_RANGE, 423: Meaning.PASSING,
    425: Meaning.PASSING, 429: Meaning.THROTTLED, 501: Meaning.UNKNOWN, 503: Meaning.THROTTLED, 504: Meaning.THROTTLED, 507: Meaning.NO_ROOM,
    544: Meaning.THROTTLED,
}  # fmt: skip


def meaning(refusal: Refusal) -> Meaning:
    """By its code where that is known, else by its status."""
    if refusal.status == 507 or (refusal.status >= 400 and _FULL_WORDS.search(refusal.words)):
        return Meaning.NO_ROOM
    if found := _MEANT.get(refusal.code):
        return found
    if refusal.code.startswith("KMS."):
        return Meaning.NOT_ALLOWED
    if found := _BY_STATUS.get(refusal.status):
        return found
    if 300 <= refusal.status < 400:
        return Meaning.ELSEWHERE
    return Meaning.PASSING if refusal.status >= 500 else Meaning.UNKNOWN


_ERRORS: dict[Meaning, tuple[type[TrainmasterError], str]] = {
    Meaning.THROTTLED: (ThrottledError, "{at}: {said}: it wants fewer requests. Try again later."),
    Meaning.PASSING: (StorageUnavailableError, "{at}: {said}. Try again later."),
    Meaning.NO_ROOM: (NoRoomError, "{at}: {said}: it is full. Make room there, or raise its quota; then try again."),
    Meaning.NOT_ALLOWED: (NotConfiguredError, "{at}: {said}: we may not. {whose.permission}"),
    Meaning.CLOCK_OFF: (NotConfiguredError, "{at}: {said}: this machine's clock is wrong. Set it; then try again."),
    Meaning.ELSEWHERE: (NotConfiguredError, "{at}: {said}: it is kept elsewhere. Set its true address and region."),
    Meaning.NO_BUCKET: (NoBucketError, "{at}: {whose.name} has no such bucket. {whose.bucket}"),
    Meaning.MISSING: (ObjectMissingError, "{at} is not there."),
    Meaning.CONDITION_FAILED: (ObjectChangedError, "{at} was replaced while it was read. Start anew."),
    Meaning.OUT_OF_RANGE: (ObjectChangedError, "{at} is shorter than it was. Start anew."),
    Meaning.NO_UPLOAD: (UploadGoneError, "{at}: the upload is not known any more. It was completed or aborted."),
    Meaning.OTHER_BYTES: (CorruptedUploadError, "{at}: {whose.name} got other bytes than were sent. Try again."),
    Meaning.RANGE_IGNORED: (
        StorageUnavailableError,
        "{at}: {whose.name} gave all of it where a part was asked for. Try again later; a proxy before it has to pass Range on.",
    ),
    Meaning.UNTRUSTED: (
        NotConfiguredError,
        "{at}: {whose.name} has a certificate by nobody we trust. Name its root's file in AWS_CA_BUNDLE or SSL_CERT_FILE.",
    ),
    Meaning.UNKNOWN: (RefusedError, "{at}: {said}, which nobody here knows what to do about."),
}


def failure(at: str, refusal: Refusal, whose: Whose, *, creating: bool = False) -> TrainmasterError:
    """The error for a refusal. `creating`: the condition that failed was that nothing is there, else that nothing changed."""
    meant = meaning(refusal)
    if creating and meant is Meaning.CONDITION_FAILED:
        return AlreadyThereError(f"{at} is there already.")
    kind, sentence = _ERRORS[meant]
    said = f"{whose.name} answers {refusal}" if refusal.status else f"{whose.name} does not answer"
    told = sentence.format(at=at, said=said, whose=whose)
    return ThrottledError(told, refusal.retry_after) if kind is ThrottledError else kind(told)
