"""What is asked and answered about datasets over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.catalog.datasets import LARGEST_PAGE, Dataset, DatasetCounts, DatasetPage
from trainmaster.datasets.formats import Format
from trainmaster.datasets.request import UploadDatasetRequest, UploadedDataset
from trainmaster.storage.links import DownloadLink
from trainmaster.storage.removing import Removed
from trainmaster.storage.store import StorageProvider

FIELDS = ("name", "description", "format", "storage", "max_bad_fraction")
"""Of the form, beside the file."""
LARGEST_FIELD = 8192
"""Bytes: the longest description has 2,000 characters of at most four."""

_EXAMPLE_ID = "0b8a4a52-6f0c-5b53-9a2e-3d0b7a1c9e11"
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_COPY: dict[str, Any] = {
    "provider": "s3",
    "uri": f"s3://acme-datasets/7d1e…/datasets/{_EXAMPLE_ID}.jsonl.gz",
    "size_bytes": 48213,
    "sha256": _SHA,
    "verified_at": "2026-11-22T03:40:00Z",
}
_DATASET: dict[str, Any] = {
    "id": _EXAMPLE_ID,
    "name": "Support chats, November",
    "description": "What customers asked, and what helped.",
    "format": "chatml",
    "storage_provider": "s3",
    "storage_path": f"7d1e…/datasets/{_EXAMPLE_ID}.jsonl.gz",
    "config_id": None,
    "size_bytes": 48213,
    "total_examples": 812,
    "avg_input_length": 143.5,
    "avg_output_length": 402.1,
    "created_at": "2026-11-22T03:40:00Z",
    "updated_at": "2026-11-22T03:40:00Z",
    "copies": [_COPY],
}


class DatasetQuery(BaseModel):
    """Which datasets, and how many of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Annotated[StorageProvider | None, Field(description="Those with bytes there.")] = None
    training_provider: Annotated[
        Literal["runpod", "lambda", "local", "colab", "huggingface", "sagemaker", "aws"] | None,
        Field(description="Those that training there sees."),
    ] = None
    format: Annotated[Format | None, Field(description="Those of a format.")] = None
    name: Annotated[
        str | None,
        Field(description="Those with this somewhere in their names.", max_length=120, pattern=r"^[^\x00]*$"),
    ] = None
    limit: Annotated[int, Field(description="So many at most.", ge=1, le=LARGEST_PAGE)] = 50
    cursor: Annotated[str | None, Field(description="The cursor of the page before.", max_length=500)] = None


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class CopyAnswer(_Answer):
    """One verified copy of a dataset's bytes."""

    provider: str
    uri: Annotated[str, Field(description="Where it is, as people say it; nobody gets in by it.")]
    size_bytes: int
    sha256: str
    verified_at: datetime


class DatasetAnswer(_Answer):
    """A dataset of the caller's. Figures are null where the application stored it itself and nobody has checked it."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_DATASET]})

    id: UUID
    name: str
    description: str | None
    format: str
    storage_provider: Annotated[str, Field(description="Whose copy readers get first: supabase or s3.")]
    storage_path: str
    config_id: UUID | None
    size_bytes: Annotated[int | None, Field(description="Of the gzip file.")]
    total_examples: int | None
    avg_input_length: Annotated[float | None, Field(description="Characters.")]
    avg_output_length: Annotated[float | None, Field(description="Characters.")]
    created_at: datetime
    updated_at: datetime
    copies: list[CopyAnswer]

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetAnswer:
        return cls(**_facts(dataset))


class UploadedAnswer(DatasetAnswer):
    """A dataset that is stored and catalogued now."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{**_DATASET, "found": False, "dropped_examples": 0, "warnings": []}]},
    )

    found: Annotated[bool, Field(description="True when an earlier upload of the very same had catalogued it.")]
    dropped_examples: Annotated[int, Field(description="Malformed ones, kept beside the dataset.")]
    warnings: Annotated[list[str], Field(description="What did not work, and how to make it good.")]

    @classmethod
    def uploaded(cls, dataset: Dataset, uploaded: UploadedDataset) -> UploadedAnswer:
        return cls(
            **_facts(dataset),
            found=uploaded.found,
            dropped_examples=uploaded.dropped_examples,
            warnings=uploaded.warnings,
        )


class DatasetsAnswer(_Answer):
    """A page of the caller's datasets, newest first."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"datasets": [_DATASET], "counts": {"supabase": 3, "s3": 1}, "total": 4, "cursor": None},
            ]
        },
    )

    datasets: list[DatasetAnswer]
    counts: Annotated[
        dict[str, int], Field(description="Of all the caller's datasets: how many have bytes at each provider.")
    ]
    total: Annotated[int, Field(description="All the caller's datasets; one may have bytes at both providers.")]
    cursor: Annotated[str | None, Field(description="Asks for the next page; null where this is the last.")]

    @classmethod
    def of(cls, page: DatasetPage, counts: DatasetCounts) -> DatasetsAnswer:
        datasets = [DatasetAnswer.of(dataset) for dataset in page.datasets]
        return cls(datasets=datasets, counts=dict(counts.at), total=counts.total, cursor=page.cursor)


class LinkAnswer(_Answer):
    """A link that anybody can use until it expires."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "url": "https://acme-datasets.s3.amazonaws.com/…?X-Amz-Expires=7200&X-Amz-Signature=…",
                    "provider": "s3",
                    "file_name": "Support chats, November.jsonl.gz",
                    "expires_at": "2026-11-22T05:40:00Z",
                }
            ]
        },
    )

    url: Annotated[str, Field(repr=False)]
    provider: str
    file_name: str
    expires_at: datetime

    @classmethod
    def of(cls, link: DownloadLink) -> LinkAnswer:
        return cls(url=link.url, provider=link.provider, file_name=link.file_name, expires_at=link.expires_at)


class DeletedAnswer(_Answer):
    """A dataset that is out of the catalogue."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"id": _EXAMPLE_ID, "removed": [_COPY["uri"]], "left": []}]}
    )

    id: UUID
    removed: Annotated[list[str], Field(description="Its objects that were removed.")]
    left: Annotated[list[str], Field(description="Those that could not be now; a sweep removes them later.")]

    @classmethod
    def of(cls, dataset_id: UUID, removed: Removed) -> DeletedAnswer:
        return cls(id=dataset_id, removed=list(removed.objects), left=list(removed.left))


def form_schema() -> dict[str, Any]:
    """The OpenAPI schema of the upload's form: a file, and those fields of the upload deployment's that people may choose."""
    known = UploadDatasetRequest.model_json_schema()["properties"]
    fields = {name: {key: said for key, said in known[name].items() if key != "position"} for name in FIELDS}
    file = {"type": "string", "format": "binary", "description": _FILE}
    return {
        "type": "object",
        "title": "DatasetForm",
        "required": ["file", "name"],
        "additionalProperties": False,
        "properties": {"file": file, **fields},
    }


_FILE = (
    "JSON Lines, JSON, CSV or Parquet, plain, gzip or zstd. Fields that come before it are checked before it is read."
)


def _facts(dataset: Dataset) -> dict[str, Any]:
    copies: Sequence[CopyAnswer] = [
        CopyAnswer(
            provider=copy.provider,
            uri=copy.uri,
            size_bytes=copy.size_bytes,
            sha256=copy.sha256,
            verified_at=copy.verified_at,
        )
        for copy in dataset.copies
    ]
    return {
        "id": dataset.id,
        "name": dataset.name,
        "description": dataset.description,
        "format": dataset.format,
        "storage_provider": dataset.storage_provider,
        "storage_path": dataset.storage_path,
        "config_id": dataset.config_id,
        "size_bytes": dataset.file_size_bytes,
        "total_examples": dataset.total_examples,
        "avg_input_length": dataset.avg_input_length,
        "avg_output_length": dataset.avg_output_length,
        "created_at": dataset.created_at,
        "updated_at": dataset.updated_at,
        "copies": copies,
    }
