"""Desks for tests: the embedded AWS's clients, and a catalogue with its books in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk


@contextmanager
def desk_at(folder: Path, environment: Mapping[str, str], **settings: Any) -> Iterator[Desk]:
    """`environment` is the embedded AWS's; its state folder and database are replaced by the folder's."""

    def client(service: str) -> Any:
        endpoint = environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"]
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=endpoint,
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    given = {
        "state_dir": folder,
        "DATABASE_URL": None,
        "bucket": environment["TRAINMASTER_BUCKET"],
        "execution_role_arn": environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
        "TRAINMASTER_REGION": environment["AWS_REGION"],
        "user_id": environment["TRAINMASTER_USER_ID"],
        **settings,
    }
    with open_desk(Settings(**given), client) as desk:
        yield desk
