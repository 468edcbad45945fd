"""The tables this project reads or writes, for SQLite and PostgreSQL alike.

The first four belong to the application (deployments/supabase/migrations adds what we need to them, and never more);
the others are ours. A test holds this file against what the migrations leave on PostgreSQL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    event,
)

from trainmaster.catalog.columns import Amount, Json, Moment, TextList

PROVIDERS = ("supabase", "s3")
PLATFORMS = ("kaggle", "runpod", "sagemaker", "huggingface-spaces", "local-vllm", "google-colab")
STATUSES = (
    "queued", "creating", "building", "starting", "running", "training", "completed", "failed", "cancelled", "stopping",
    "stopped",
)  # fmt: skip

metadata = MetaData()


def _one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    return CheckConstraint(f"{column} in ({', '.join(repr(value) for value in values)})", name=name)


training_configs = Table(
    "training_configs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("config_json", Json, nullable=False),
)

training_datasets = Table(
    "training_datasets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("config_id", Uuid),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("format", Text, nullable=False),
    Column("storage_provider", Text, nullable=False, server_default="supabase"),
    Column("storage_path", Text, nullable=False),
    Column("file_size_bytes", BigInteger),
    Column("total_examples", BigInteger),
    Column("avg_input_length", Double),
    Column("avg_output_length", Double),
    Column("metadata", Json),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    _one_of("storage_provider", PROVIDERS, "training_datasets_storage_provider_check"),
)
training_datasets_picker = Index(
    "training_datasets_picker_idx",
    training_datasets.c.user_id,
    training_datasets.c.storage_provider,
    training_datasets.c.created_at.desc(),
    training_datasets.c.id.desc(),
)

training_datasets_path = Index("training_datasets_path_idx", training_datasets.c.storage_path)

training_config_datasets = Table(
    "training_config_datasets",
    metadata,
    Column("config_id", Uuid, ForeignKey("training_configs.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset_id", Uuid, ForeignKey("training_datasets.id", ondelete="CASCADE"), primary_key=True),
)

cloud_deployments = Table(
    "cloud_deployments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("platform", Text, nullable=False),
    Column("training_config_id", Uuid),
    Column("deployment_id", Text),
    Column("status", Text, nullable=False),
    Column("url", Text),
    Column("config", Json),
    Column("estimated_cost", Amount),
    Column("actual_cost", Amount),
    Column("budget_limit", Amount),
    Column("metrics", Json),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("completed_at", Moment),
    Column("logs", Text),
    Column("error_message", Text),
    Column("checkpoint_urls", TextList),
    _one_of("platform", PLATFORMS, "cloud_deployments_platform_check"),
    _one_of("status", STATUSES, "cloud_deployments_status_check"),
)
cloud_deployments_listing = Index(
    "cloud_deployments_listing_idx",
    cloud_deployments.c.user_id,
    cloud_deployments.c.created_at.desc(),
    cloud_deployments.c.id.desc(),
)
cloud_deployments_job = Index(
    "cloud_deployments_job_idx", cloud_deployments.c.deployment_id, cloud_deployments.c.created_at.desc()
)
_is_open = (cloud_deployments.c.platform == "sagemaker") & cloud_deployments.c.completed_at.is_(None)
cloud_deployments_open = Index(
    "cloud_deployments_open_idx",
    cloud_deployments.c.created_at,
    cloud_deployments.c.id,
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)
"""Few are open at a time, however many there were."""

dataset_copies = Table(
    "dataset_copies",
    metadata,
    Column("dataset_id", Uuid, ForeignKey("training_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("bucket", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("verified_at", Moment, nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("version", Text),
    _one_of("provider", PROVIDERS, "dataset_copies_provider_check"),
    CheckConstraint("size_bytes >= 0", name="dataset_copies_size_bytes_check"),
    CheckConstraint("length(sha256) = 64", name="dataset_copies_sha256_check"),
)
dataset_copies_object = Index(
    "dataset_copies_object_idx", dataset_copies.c.provider, dataset_copies.c.bucket, dataset_copies.c.path, unique=True
)
"""One object is vouched for by one dataset alone; so deleting that dataset may delete it."""
dataset_copies_verified = Index(
    "dataset_copies_verified_idx", dataset_copies.c.provider, dataset_copies.c.verified_at, dataset_copies.c.dataset_id
)

pending_objects = Table(
    "pending_objects",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("bucket", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("dataset_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("holder", Text, nullable=False),
    Column("lease_until", Moment, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("upload_id", Text),
    Column("part_size", BigInteger),
    Column("source_version", Text),
    _one_of("provider", PROVIDERS, "pending_objects_provider_check"),
)
"""Objects no catalogue row vouches for: on their way in, or to be removed. Whose lease has run out may be removed by anybody.

The last three are a multipart upload that was begun, in parts of so many bytes, from this version of the source.
"""
pending_objects_lease = Index("pending_objects_lease_until_idx", pending_objects.c.lease_until)
pending_objects_holder = Index("pending_objects_holder_idx", pending_objects.c.holder)

dataset_hindrances = Table(
    "dataset_hindrances",
    metadata,
    Column("dataset_id", Uuid, ForeignKey("training_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("advice", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("row_updated_at", Moment, nullable=False),
)
"""Why a dataset could not be moved the last time, and how often that has been so of the row as it was at `row_updated_at`."""

dataset_moves = Table(
    "dataset_moves",
    metadata,
    # SQLite counts by itself in a column of exactly this type.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("dataset_id", Uuid, nullable=False),
    Column("phase", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("by", Text, nullable=False),
    Column("detail", Text),
)
"""Who did what with which dataset when; also of datasets that are gone."""
dataset_moves_dataset = Index("dataset_moves_dataset_idx", dataset_moves.c.dataset_id, dataset_moves.c.position)

installation = Table(
    "installation",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False),
    CheckConstraint("one = 1", name="installation_one_check"),
)
"""One row: see trainmaster/catalog/installation.py."""

log_positions = Table(
    "log_positions",
    metadata,
    Column("job", Text, primary_key=True),
    Column("reader", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("token", Text),
    Column("at", Moment, nullable=False),
)
"""How far each reader of a job's log has come in each of its streams, so that the next one goes on from there."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("status", Integer),
    Column("answer", Text),
)
"""What was answered to a request over HTTP that carried a key; nothing yet while it is carried out, or where that was cut off."""
idempotency_keys_at = Index("idempotency_keys_at_idx", idempotency_keys.c.at)

ENTRY_KINDS = ("reserved", "settled", "released")

budget_entries = Table(
    "budget_entries",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("user_id", Uuid),
    Column("team", Text),
    Column("month", Text, nullable=False),
    Column("reserved", Amount, nullable=False),
    Column("settled", Amount, nullable=False),
    Column("hourly", Amount, nullable=False),
    Column("at", Moment, nullable=False),
    _one_of("kind", ENTRY_KINDS, "budget_entries_kind_check"),
)
"""The books. `reserved` and `settled` are what an entry adds to the open reservations and to the bills, in US dollars.

Each entry takes the position after the last: of two writers that did not see each other only one can be in.
"""
budget_entries_key = Index("budget_entries_key_idx", budget_entries.c.key, budget_entries.c.position)
budget_entries_month = Index("budget_entries_month_idx", budget_entries.c.month)
budget_entries_resource = Index("budget_entries_resource_idx", budget_entries.c.resource, budget_entries.c.position)


def _decisions(name: str, *columns: Column[Any]) -> Table:
    """What people decided of a budget in a month, in the order they did; `columns` say what."""
    return Table(
        name,
        metadata,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("budget", Text, nullable=False),
        Column("month", Text, nullable=False),
        *columns,
        Column("set_by", Text, nullable=False),
        Column("at", Moment, nullable=False),
    )


budget_limits = _decisions("budget_limits", Column("amount", Amount))
"""What may be spent in a month and in those after it, until a later month says otherwise; NULL is as much as there is."""
budget_limits_budget = Index("budget_limits_budget_idx", budget_limits.c.budget, budget_limits.c.month)

budget_crossings = Table(
    "budget_crossings",
    metadata,
    Column("budget", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("committed", Amount, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("at", Moment, nullable=False),
)
"""Which thresholds of which budget have been passed, so that each is told of once a month."""

budget_tellings = Table(
    "budget_tellings",
    metadata,
    Column("budget", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("handed_at", Moment, nullable=False),
    Column("told_at", Moment),
)
"""Since when somebody is telling people of a threshold, and when they were told; one without a row was told of before there were any."""

budget_allowances = _decisions(
    "budget_allowances",
    Column("limit_position", BigInteger, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("key", Text, nullable=False),
)
"""US dollars beyond a limit, in one month alone, so that what a key stands for fits; gone when another limit is set."""
budget_allowances_budget = Index("budget_allowances_budget_idx", budget_allowances.c.budget, budget_allowances.c.month)

budget_sightings = Table(
    "budget_sightings",
    metadata,
    Column("meter", Text, primary_key=True),
    Column("at", Moment, nullable=False),
)
"""What is paid by the hour and was really there: if it is gone, it has to be paid for until then."""

budget_readings = Table(
    "budget_readings",
    metadata,
    Column("meter", Text, primary_key=True),
    Column("at", Moment, primary_key=True),
    Column("running", Amount, nullable=False),
    Column("most", Amount, nullable=False),
    Column("what", Text, nullable=False),
)
"""How much of the most that it can cost an hour runs from a moment on, in US dollars, and in words of what."""

idle_stops = Table(
    "idle_stops",
    metadata,
    Column("meter", Text, primary_key=True),
    Column("at", Moment, primary_key=True),
    Column("resource", Text, nullable=False),
    Column("user_id", Uuid),
    Column("team", Text),
    Column("hourly", Amount, nullable=False),
    Column("reason", Text, nullable=False),
)
"""What was stopped, or made smaller, because nobody wanted it, and how many US dollars an hour that cost less from then on."""
idle_stops_at = Index("idle_stops_at_idx", idle_stops.c.at)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid),
    Column("name", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("service_type", Text, nullable=False),
    Column("connection_type", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("instance_type", Text, nullable=False),
    Column("volume_gb", Integer, nullable=False),
    Column("hourly_cost", Amount, nullable=False),
    Column("storage_hourly_cost", Amount, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("spec", Json, nullable=False),
    Column("resources", Json, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("auto_stop_minutes", Integer),
    Column("keep_until", Moment),
    Column("seen_at", Moment),
    Column("detail", Text, nullable=False),
    Column("used_at", Moment),
    Column("warned", Text, nullable=False),
)
"""Workspaces of users, deleted ones included: a name that is opened again goes on in the row it had."""
workspaces_place = Index("workspaces_place_idx", workspaces.c.account, workspaces.c.region, workspaces.c.name)

for _books in (
    budget_entries, budget_limits, budget_crossings, budget_allowances, budget_sightings, budget_readings, dataset_moves,
    idle_stops,
):  # fmt: skip
    for _change in ("update", "delete"):
        _trigger = (
            f"create trigger {_books.name}_no_{_change} before {_change} on {_books.name}"
            f" begin select raise(abort, '{_books.name} is append-only'); end"
        )
        event.listen(_books, "after_create", DDL(_trigger).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]
