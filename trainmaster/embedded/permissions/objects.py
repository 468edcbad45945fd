"""S3's calls: what permissions they need, and how they reach the S3 that knows the account's own keys alone.

After "Required permissions for Amazon S3 API operations" in the S3 User Guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote
from xml.sax.saxutils import unescape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.permissions.evaluation import Asked
from trainmaster.embedded.sagemaker.wire import AwsError

_BUCKET_READS = {
    "location": "s3:GetBucketLocation",
    "encryption": "s3:GetEncryptionConfiguration",
    "publicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "uploads": "s3:ListBucketMultipartUploads",
}
_BUCKET_WRITES = {"publicAccessBlock": "s3:PutBucketPublicAccessBlock", "lifecycle": "s3:PutLifecycleConfiguration"}
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_OWN_HEADERS = {"authorization", "connection", "host", "x-amz-date", "x-amz-security-token", "transfer-encoding"}


def needed(request: Request) -> list[Asked]:
    """Raises AwsError for a call of which nobody has written down what it needs."""
    bucket, _, key = unquote(_path(request)).lstrip("/").partition("/")
    found = list(_of_object(request, bucket, key) if key else _of_bucket(request, bucket))
    if not found:
        what = f"{request.method} of {'an object' if key else 'a bucket'} with {sorted(request.args)}"
        raise AwsError("NotImplemented", f"Nobody has written down what {what} needs.", status=501)
    return found


def _of_bucket(request: Request, bucket: str) -> Iterator[Asked]:
    arn = f"arn:aws:s3:::{bucket}"
    named = {"GET": _BUCKET_READS, "PUT": _BUCKET_WRITES}.get(request.method, {})
    if asked := [action for part, action in named.items() if part in request.args]:
        yield Asked(asked[0], arn)
    elif request.method == "HEAD" or (request.method == "GET" and (not request.args or "list-type" in request.args)):
        prefix = request.args.get("prefix")
        yield Asked("s3:ListBucket", arn, {} if prefix is None else {"s3:prefix": (prefix,)})
    elif request.method == "PUT" and not request.args:
        yield Asked("s3:CreateBucket", arn)
    elif request.method == "POST" and "delete" in request.args:
        for key in _KEY.findall(request.get_data(as_text=True)):
            yield Asked("s3:DeleteObject", f"{arn}/{unescape(key)}")


def _of_object(request: Request, bucket: str, key: str) -> Iterator[Asked]:
    arn, part = f"arn:aws:s3:::{bucket}/{key}", set(request.args) & {"tagging", "acl", "retention", "attributes"}
    if part:
        return
    match request.method:
        case "GET" if "uploadId" in request.args:
            yield Asked("s3:ListMultipartUploadParts", arn)
        case "GET" | "HEAD":
            yield Asked("s3:GetObject", arn)
        case "DELETE":
            yield Asked("s3:AbortMultipartUpload" if "uploadId" in request.args else "s3:DeleteObject", arn)
        case "PUT" | "POST":
            yield Asked("s3:PutObject", arn)
            if source := request.headers.get("x-amz-copy-source"):
                yield Asked("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').partition('?')[0]}")
        case _:
            return


@dataclass(frozen=True)
class SignedAnew:
    """The S3 at `url`, asked in the account's own name. Bodies are in memory whole, both ways."""

    url: str
    credentials: Credentials
    region: str

    def answer(self, request: Request) -> Response:
        """What it answers to the same request."""
        uri = request.environ.get("REQUEST_URI") or request.full_path.rstrip("?")
        sent = {name.lower(): value for name, value in request.headers.items()}
        again = AWSRequest(
            method=request.method,
            url=f"{self.url}{uri}",
            data=request.get_data(),
            headers={name: value for name, value in sent.items() if name not in _OWN_HEADERS},
        )
        S3SigV4Auth(self.credentials, "s3", self.region).add_auth(again)
        with_body = URLLib3Session(timeout=60).send(again.prepare())
        response = Response(with_body.content, status=with_body.status_code)
        for name, value in with_body.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "keep-alive"):
                response.headers[_Written(name.lower()) if name.lower().startswith("x-amz-meta-") else name] = value
        return response


class _Written(str):
    """A header's name that stays as it is: waitress writes others with capitals, which boto3 takes for part of metadata's names."""

    __slots__ = ()

    def split(self, *_: object) -> list[str]:
        return [self]

    def capitalize(self) -> str:
        return self


def _path(request: Request) -> str:
    return str(request.environ.get("REQUEST_URI") or request.path).partition("?")[0]
