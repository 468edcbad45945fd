"""The account the embedded AWS plays: its ids, where its S3 is, how fast its clocks run, and clients of itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from trainmaster.embedded.sagemaker.records import Records

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Account:
    """`state` is the folder everything durable lives in; `stop_grace` seconds pass between SIGTERM and SIGKILL.

    `endpoint_url` is the address clients use. Our own clients of logs, metrics and roles use `inside_url`: there no
    commanded fault befalls them, and no request of ours waits for a thread that a client's request holds.
    """

    state: Path
    records: Records
    endpoint_url: str
    s3_endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"
    account_id: str = "123456789012"
    stop_grace: float = 120.0
    inside_url: str | None = None

    def arn(self, kind: str, name: str) -> str:
        """The ARN AWS would give, e.g. `arn:aws:sagemaker:us-east-1:123456789012:training-job/cats-7`."""
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{kind}/{name}"

    @staticmethod
    def now() -> float:
        """The time in epoch seconds, to the millisecond, as AWS writes timestamps."""
        return round(time.time(), 3)

    @cached_property
    def s3(self) -> S3Client:
        return self._session.client("s3", endpoint_url=self.s3_endpoint_url, config=self._config)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self._session.client("logs", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self._session.client(
            "cloudwatch", endpoint_url=self.inside_url or self.endpoint_url, config=self._config
        )

    @cached_property
    def iam(self) -> IAMClient:
        return self._session.client("iam", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @cached_property
    def ec2(self) -> Any:
        return self._session.client("ec2", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @cached_property
    def efs(self) -> Any:
        return self._session.client("efs", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @cached_property
    def ecr(self) -> Any:
        return self._session.client("ecr", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @cached_property
    def kms(self) -> Any:
        return self._session.client("kms", endpoint_url=self.inside_url or self.endpoint_url, config=self._config)

    @property
    def client_environment(self) -> dict[str, str]:
        """What a process of a job or endpoint needs in its environment for boto3 to reach this AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint_url,
            "S3_ENDPOINT_URL": self.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(self.access_key_id, self.secret_access_key, region_name=self.region)

    @cached_property
    def _config(self) -> Config:
        return Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=32,
            retries={"mode": "standard"},
            s3={"addressing_style": "path"},
        )
