"""What SageMaker's data capture leaves in S3, read in every way AWS may have written it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from trainmaster.endpoints.models.smoke import PROOF_ID
from trainmaster.endpoints.watch.captured import CapturedRequest, captured_requests

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
COLUMNS = ["bedrooms", "sqft"]


class Capture:
    """A prefix of one's own, with files filed under it as AWS files them."""

    def __init__(self, embedded: Any) -> None:
        self.s3, self.bucket = embedded.client("s3"), embedded.environment["TRAINMASTER_BUCKET"]
        self.key = f"captured/of-a-test-{uuid4().hex[:8]}/all-traffic"

    def file(self, *lines: str, at: datetime = NOW, folder: str = "%Y/%m/%d/%H") -> None:
        key = f"{self.key}/{at.strftime(folder)}/{at:%M-%S}-000-{uuid4()}.jsonl"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body="".join(f"{line}\n" for line in lines).encode())

    def read(self, days: float = 7) -> list[CapturedRequest]:
        prefix = f"s3://{self.bucket}/{self.key}"
        return list(captured_requests(self.s3, prefix, COLUMNS, NOW - timedelta(days=days), NOW))


@pytest.fixture
def capture(embedded: Any) -> Capture:
    return Capture(embedded)


def line(data: str, kind: str = "application/json", encoding: str = "JSON", at: datetime = NOW, **event: str) -> str:
    """As AWS's documentation shows one."""
    asked = {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}
    answered = {"observedContentType": kind, "mode": "OUTPUT", "data": "1", "encoding": encoding}
    return json.dumps(
        {
            "captureData": {"endpointInput": asked, "endpointOutput": answered},
            "eventMetadata": {"eventId": str(uuid4()), "inferenceTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"), **event},
            "eventVersion": "0",
        }
    )


HOUSE = {"bedrooms": 3.0, "sqft": 1800.0}
TEXTS = {
    "an object": (json.dumps(HOUSE), "application/json", "JSON", [HOUSE]),
    "a list of objects": (json.dumps([HOUSE, HOUSE]), "application/json; charset=utf-8", "JSON", [HOUSE, HOUSE]),
    "JSON in base64": (base64.b64encode(json.dumps(HOUSE).encode()).decode(), "application/json", "BASE64", [HOUSE]),
    "CSV without a header": ("3,1800\n3,1800\n", "text/csv", "CSV", [HOUSE, HOUSE]),
    "CSV with a header in another order": ("sqft,bedrooms\n1800,3\n", "text/csv", "CSV", [HOUSE]),
    "CSV in base64": (base64.b64encode(b"3,1800").decode(), "Text/CSV", "BASE64", [HOUSE]),
    "JSON that is none": ("{", "application/json", "JSON", None),
    "base64 that is none": ("~", "application/json", "BASE64", None),
    "bytes that are no text": (base64.b64encode(b"\xff\xfe").decode(), "application/json", "BASE64", None),
    "a number": ("3", "application/json", "JSON", None),
    "CSV of another width": ("3,1800,7\n", "text/csv", "CSV", None),
    "an empty body": ("", "text/csv", "CSV", None),
}


@pytest.mark.parametrize(("data", "kind", "encoding", "rows"), TEXTS.values(), ids=TEXTS)
def test_every_way_a_request_may_have_been_written(
    capture: Capture, data: str, kind: str, encoding: str, rows: Any
) -> None:
    capture.file(line(data, kind, encoding))
    assert [one.rows for one in capture.read()] == [rows]


def test_a_line_that_is_no_record_spoils_no_other(capture: Capture) -> None:
    capture.file("not a record", line(json.dumps(HOUSE)), '{"captureData": {}}', "", "[]")
    assert [one.rows for one in capture.read()] == [None, [HOUSE], None, None]


@pytest.mark.parametrize("folder", ["%Y/%m/%d", "%Y/%m/%d/kept", "%Y/%m/%d/12/kept", "%Y/%m/%d/77"])
def test_a_file_outside_the_folder_of_an_hour_is_read_and_what_is_no_record_there_is_of_its_day(
    capture: Capture, folder: str
) -> None:
    capture.file(line(json.dumps(HOUSE)), "not a record", folder=folder)
    midnight = NOW.replace(hour=0, minute=0)
    assert [(one.at, one.rows) for one in capture.read()] == [(NOW, [HOUSE]), (midnight, None)]


def test_what_proved_the_endpoint_is_not_what_anybody_asked_for(capture: Capture) -> None:
    house = json.dumps(HOUSE)
    capture.file(line(house, inferenceId=PROOF_ID), line(house, inferenceId="a-clients-own"), line(house))
    assert [one.rows for one in capture.read()] == [[HOUSE], [HOUSE]]


def test_only_what_was_asked_in_the_time_is_read_the_newest_day_first(capture: Capture) -> None:
    ages = [timedelta(hours=1), timedelta(days=1), timedelta(days=6, hours=23), timedelta(days=7, hours=1)]
    for age in ages:
        capture.file(line(json.dumps(HOUSE), at=NOW - age), at=NOW - age)
    capture.file(line(json.dumps(HOUSE), at=NOW + timedelta(minutes=1)), at=NOW)
    assert [NOW - one.at for one in capture.read()] == ages[:3]
    assert [NOW - one.at for one in capture.read(days=1)] == ages[:2]


def test_where_nothing_was_captured_there_is_nothing(capture: Capture) -> None:
    assert capture.read() == []
