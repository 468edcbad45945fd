"""What a user asks for when uploading a dataset, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.form import as_form

FormatChoice = Literal[
    "auto", "chatml", "sharegpt", "alpaca", "openorca", "unnatural", "dpo", "rlhf", "kto", "raw_text", "jsonl"
]
StorageChoice = Literal["supabase", "s3", "both"]
_UUID = r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"


class UploadDatasetRequest(BaseModel):
    """One file to be checked, normalised, stored and catalogued."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, json_schema_extra=as_form())

    file: Annotated[
        str,
        Field(
            title="File",
            description=(
                "A path on the worker, s3://bucket/key, or https://…: JSON Lines, JSON, CSV or Parquet, plain, gzip or zstd."
            ),
            min_length=1,
            max_length=4096,
        ),
    ]
    name: Annotated[
        str,
        Field(
            title="Name",
            description="What people will know the dataset by; at most 120 characters.",
            min_length=1,
            max_length=120,
            pattern=r"^[^\x00-\x1f\x7f]+$",
        ),
    ]
    description: Annotated[
        str, Field(title="Description", description="What it is good for, in your words.", max_length=2000)
    ] = ""
    format: Annotated[
        FormatChoice,
        Field(title="Format", description="Detected from the content, unless you know better."),
    ] = "auto"
    storage: Annotated[
        StorageChoice,
        Field(
            title="Storage",
            description="SageMaker trains on what is in S3; RunPod, Lambda, local, Colab and Hugging Face on what is in Supabase.",
        ),
    ] = "supabase"
    max_bad_fraction: Annotated[
        float,
        Field(
            title="Bad examples allowed",
            description="Share of malformed examples to drop rather than refuse the file: 0.01 is one in a hundred.",
            ge=0,
            lt=1,
        ),
    ] = 0.0
    tokenizer: Annotated[
        str,
        Field(
            title="Tokenizer",
            description="For exact token counts: a tokenizer.json on the worker, or a Hugging Face Hub id; an estimate without it.",
            max_length=1024,
        ),
    ] = ""
    user_id: Annotated[
        str,
        Field(
            title="User",
            description="Whose dataset it will be (a UUID); empty for TRAINMASTER_USER_ID.",
            pattern=rf"^({_UUID})?$",
        ),
    ] = ""


class SweepRequest(BaseModel):
    """How many abandoned uploads may be cleared away at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    limit: Annotated[
        int,
        Field(
            title="Objects",
            description="How many abandoned objects to remove at most, those abandoned longest first.",
            ge=1,
            le=100_000,
        ),
    ] = 1000


class SweptUploads(BaseModel):
    """What abandoned uploads had left: objects that were removed, and those a later sweep will try again, with the reason."""

    model_config = ConfigDict(frozen=True)

    removed: list[str]
    left: list[str]

    def sentence(self) -> str:
        left = f"; {len(self.left):,} could not be removed yet" if self.left else ""
        return f"Removed {len(self.removed):,} objects of abandoned uploads{left}."


class StoredCopy(BaseModel):
    """One verified copy: which provider has it, and where."""

    model_config = ConfigDict(frozen=True)

    provider: str
    uri: str
    sent: bool
    """False when those very bytes were there already."""


class UploadedDataset(BaseModel):
    """A dataset that is stored and catalogued. `warnings` say what did not work and how to make it good."""

    model_config = ConfigDict(frozen=True)

    dataset_id: str
    name: str
    format: str
    storage_provider: str
    """Whose copy readers get first."""
    copies: list[StoredCopy]
    examples: int
    dropped_examples: int
    size: int
    """Bytes of the gzip file."""
    sha256: str
    """Of the gzip file."""
    found: bool
    """True when an earlier upload had catalogued it."""
    warnings: list[str]

    def sentence(self) -> str:
        where = " and ".join(copy.provider for copy in self.copies)
        dropped = f", {self.dropped_examples:,} dropped and kept beside it" if self.dropped_examples else ""
        again = "" if any(copy.sent for copy in self.copies) else " It was there already: nothing was sent."
        return (
            f"Dataset {self.name} ({self.format}): {self.examples:,} examples{dropped}, {self.size:,} bytes, in {where};"
            f" id {self.dataset_id}.{again}"
        )

    def table(self) -> list[dict[str, Any]]:
        rows = {
            "id": self.dataset_id,
            "format": self.format,
            "examples": f"{self.examples:,}",
            "dropped examples": f"{self.dropped_examples:,}",
            "size": f"{self.size:,} bytes",
            "SHA-256": self.sha256,
            "read from": self.storage_provider,
            **{f"copy in {copy.provider}": copy.uri for copy in self.copies},
            **{f"warning {number}": warning for number, warning in enumerate(self.warnings, start=1)},
        }
        return [{"what": what, "value": value} for what, value in rows.items()]
