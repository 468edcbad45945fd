"""The tables this project reads or writes, for SQLite and PostgreSQL alike.

The first four belong to the application (deployments/supabase/migrations adds what we need to them); `dataset_copies` and
`pending_objects` are ours.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
_json = JSON().with_variant(JSONB(), "postgresql")

training_datasets = Table(
    "training_datasets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("config_id", Uuid),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("format", String, nullable=False),
    Column("storage_provider", String, nullable=False),
    Column("storage_path", Text, nullable=False),
    Column("file_size_bytes", BigInteger),
    Column("total_examples", BigInteger),
    Column("avg_input_length", Float),
    Column("avg_output_length", Float),
    Column("metadata", _json, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

dataset_copies = Table(
    "dataset_copies",
    metadata,
    Column("dataset_id", Uuid, ForeignKey("training_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", String, primary_key=True),
    Column("bucket", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("verified_at", DateTime(timezone=True), nullable=False),
    Column("verified_by", Text, nullable=False),
)

pending_objects = Table(
    "pending_objects",
    metadata,
    Column("provider", String, primary_key=True),
    Column("bucket", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("dataset_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("holder", Text, nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
)
"""Objects no catalogue row vouches for: on their way in, or to be removed. Whose lease has run out may be removed by anybody."""
