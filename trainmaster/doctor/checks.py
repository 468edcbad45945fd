"""All that is looked at, in the order it is told."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trainmaster.doctor import aws, here, permissions, stores
from trainmaster.doctor.findings import Check
from trainmaster.doctor.prefect import prefect
from trainmaster.settings import Settings
from trainmaster.storage.stores import SUPABASE_BUCKET

_AWS = "Is AWS reachable from here (proxy, VPC endpoint, AWS_ENDPOINT_URL), and are the credentials good?"


def checks(settings: Settings) -> Sequence[Check]:
    """Of this process's environment."""
    client = aws.client_of(settings)
    return (
        Check("settings", lambda: here.settings(settings, os.environ), ""),
        Check("credentials", lambda: aws.credentials(client, settings), _AWS),
        Check("execution role", lambda: permissions.role(client, settings), _AWS),
        Check("our permissions", lambda: permissions.ours(client, settings), _AWS),
        Check("bucket", lambda: aws.buckets(client, settings), _AWS),
        Check("quotas", lambda: aws.quotas(client, settings), _AWS),
        Check("database", lambda: stores.database(settings), "Is DATABASE_URL right, and the database up?"),
        Check("Prefect", lambda: prefect(os.environ), "Is PREFECT_API_URL right, and the server up?"),
        Check("Supabase", lambda: stores.supabase(settings, SUPABASE_BUCKET), "Is SUPABASE_URL right?"),
        Check("policy", lambda: here.policy(settings), "`trainmaster policy check` says what is wrong."),
        Check("templates", lambda: here.templates(settings), "`trainmaster templates` says what is wrong."),
        Check("prices", lambda: here.prices(settings), "`trainmaster prices refresh` asks AWS anew."),
        Check("disk", lambda: here.disk(settings), "Set TRAINMASTER_STATE_DIR to a folder of your own."),
        Check("versions", here.versions, "`pip install -r requirements.lock -e .`"),
    )
