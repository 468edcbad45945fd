"""Datasets as the catalogue knows them. Every query names the user it is for: the service role sees everybody's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Copy:
    """One verified copy of a dataset's bytes."""

    provider: str
    bucket: str
    path: str
    size_bytes: int
    sha256: str
    verified_at: datetime
    verified_by: str


@dataclass(frozen=True)
class Dataset:
    """A row of `training_datasets`, and the copies known of it. Lengths are average characters."""

    id: UUID
    user_id: UUID
    name: str
    format: str
    storage_provider: str
    storage_path: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    config_id: UUID | None = None
    file_size_bytes: int | None = None
    total_examples: int | None = None
    avg_input_length: float | None = None
    avg_output_length: float | None = None
    metadata: Mapping[str, Any] | None = None
    copies: Sequence[Copy] = ()
