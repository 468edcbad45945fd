"""Data capture: some of an endpoint's requests and answers, to S3 as JSON Lines in AWS's own form."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.wire import Json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FLUSH_SECONDS = 2.0
"""AWS takes minutes; nobody here wants to wait for it."""
MOST_WAITING = 16 << 20
"""Bytes kept for an S3 that does not answer; what is captured beyond is lost."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as capture sees them; an empty type means the client sent none."""

    endpoint: str
    variant: str
    request: bytes
    request_type: str
    answer: bytes
    answer_type: str
    inference_id: str | None = None
    custom_attributes: str | None = None


class Captures:
    """Writes what was sampled every few seconds, a file for each variant, and the rest on close. Safe to share between threads."""

    def __init__(self, s3: S3Client, *, interval: float = FLUSH_SECONDS) -> None:
        self._s3, self._interval = s3, interval
        self._lock = threading.Lock()
        self._lines: dict[str, list[bytes]] = defaultdict(list)
        """By the S3 address of the hour's folder."""
        self._waiting = 0
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="data capture", daemon=True)
        self._writer.start()

    def note(self, config: Json, exchange: Exchange) -> None:
        """Keep the exchange for S3 when the config's sampling falls on it."""
        if random.random() * 100 >= config["InitialSamplingPercentage"]:  # noqa: S311  # a sample, not a secret
            return
        now = datetime.now(UTC)
        folder = f"{config['DestinationS3Uri'].rstrip('/')}/{exchange.endpoint}/{exchange.variant}/{now:%Y/%m/%d/%H}"
        line = json.dumps(captured(config, exchange, now)).encode() + b"\n"
        with self._lock:
            if self._waiting + len(line) > MOST_WAITING:
                _log.warning("Captured data of %s is lost: too much of it waits for S3.", exchange.endpoint)
                return
            self._lines[folder].append(line)
            self._waiting += len(line)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is kept; gives up after `timeout` seconds."""
        self._closed.set()
        self._writer.join(timeout)

    def _write(self) -> None:
        while not self._closed.wait(self._interval):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, defaultdict(list)
            self._waiting = 0
        for folder, those in lines.items():
            now = datetime.now(UTC)
            try:
                place = Location.parse(f"{folder}/{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid4()}.jsonl")
                self._s3.put_object(Bucket=place.bucket, Key=place.key, Body=b"".join(those))
            except (ValueError, BotoCoreError, ClientError, Boto3Error) as error:
                _log.warning("%d captured exchanges for %s are lost: %s", len(those), folder, error)


def captured(config: Json, exchange: Exchange, now: datetime) -> Json:
    """One line of a capture file."""
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    headers = config.get("CaptureContentTypeHeader") or {}
    data: Json = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _side("INPUT", exchange.request, exchange.request_type, headers)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _side("OUTPUT", exchange.answer, exchange.answer_type, headers)
    metadata: Json = {"eventId": str(uuid4()), "inferenceTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    if exchange.inference_id:
        metadata["inferenceId"] = exchange.inference_id
    if exchange.custom_attributes:
        metadata["customAttributes"] = [exchange.custom_attributes]
    return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, body: bytes, content_type: str, headers: Json) -> Json:
    """Types the config declares are kept as text, all others in base64, as on AWS."""
    media = content_type.partition(";")[0].strip().lower()
    for encoding, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media in (declared.lower() for declared in headers.get(member) or []):
            return {
                "observedContentType": content_type, "mode": mode,
                "data": body.decode(errors="replace"), "encoding": encoding,
            }  # fmt: skip
    data = base64.b64encode(body).decode()
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": "BASE64"}
