"""What SageMaker's data capture left in S3: the requests an endpoint was sent, read as they lie there, the newest day first."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trainmaster.endpoints.models.smoke import PROOF_ID
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = Mapping[str, Any]
_HOUR = re.compile(r"/\d{4}/\d\d/\d\d/([01]\d|2[0-3])/[^/]+$")


@dataclass(frozen=True)
class CapturedRequest:
    """One request: when it was made, and the rows it asked for; None where they cannot be understood."""

    at: datetime
    rows: Sequence[Row] | None


def captured_requests(
    s3: S3Client, prefix: str, columns: Sequence[str], since: datetime, until: datetime
) -> Iterator[CapturedRequest]:
    """Those made in a time by anybody but our smoke tests, below the prefix of one variant; `columns` name the cells of CSV
    without a header.

    Raises botocore's errors.
    """
    address = S3Address.parse(prefix)
    pages = s3.get_paginator("list_objects_v2")
    day = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day + timedelta(days=1) > since:
        for page in pages.paginate(Bucket=address.bucket, Prefix=f"{address.key.rstrip('/')}/{day:%Y/%m/%d}/"):
            for found in page.get("Contents", []):
                if found["Key"].endswith(".jsonl"):
                    for one in _requests(s3, address.bucket, found["Key"], columns, day):
                        if since <= one.at <= until:
                            yield one
        day -= timedelta(days=1)


def _requests(s3: S3Client, bucket: str, key: str, columns: Sequence[str], day: datetime) -> Iterator[CapturedRequest]:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    written = _hour_of(key, day)
    try:
        for line in body.iter_lines():
            if line.strip() and (found := _request(line, columns, written)):
                yield found
    finally:
        body.close()


def _request(line: bytes, columns: Sequence[str], written: datetime) -> CapturedRequest | None:
    try:
        record = json.loads(line)
        if record["eventMetadata"].get("inferenceId") == PROOF_ID:
            return None
        at = datetime.fromisoformat(record["eventMetadata"]["inferenceTime"])
        asked = record["captureData"]["endpointInput"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return CapturedRequest(written, None)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    try:
        return CapturedRequest(at, _rows(asked, columns))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, csv.Error, RecursionError):
        return CapturedRequest(at, None)


def _rows(asked: Mapping[str, Any], columns: Sequence[str]) -> Sequence[Row] | None:
    data = asked["data"]
    text = base64.b64decode(data, validate=True).decode() if asked["encoding"] == "BASE64" else str(data)
    if asked.get("observedContentType", "").partition(";")[0].strip().lower() == "text/csv":
        return _table(text, columns)
    value = json.loads(text)
    rows = value if isinstance(value, list) else [value]
    return rows if all(isinstance(row, dict) for row in rows) else None


def _table(text: str, columns: Sequence[str]) -> Sequence[Row] | None:
    """A first line without a single number is a header."""
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    if not lines:
        return None
    if not any(isinstance(_cell(cell), float) for cell in lines[0]):
        columns = [cell.strip() for cell in lines.pop(0)]
    if any(len(line) != len(columns) for line in lines):
        return None
    return [dict(zip(columns, map(_cell, line), strict=True)) for line in lines]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _hour_of(key: str, day: datetime) -> datetime:
    """The hour a file is filed under, which AWS puts into its key; the day where somebody else put it there."""
    hour = _HOUR.search(key)
    return day.replace(hour=int(hour[1])) if hour else day
