"""What a user asks for when datasets are to move, or their copies to be proven again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from trainmaster.catalog.moves import Phase
from trainmaster.form import YesOrNo, as_form
from trainmaster.migration.window import Window

FormatChoice = Literal[
    "any", "chatml", "sharegpt", "alpaca", "openorca", "unnatural", "dpo", "rlhf", "kto", "raw_text", "jsonl"
]
TaskRunner = Literal["threads", "dask"]
_UUID = r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_WINDOW = r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d"
UserId = Annotated[
    str,
    Field(
        title="User", description="Only this user's datasets (a UUID); empty for everybody's.", pattern=rf"^({_UUID})?$"
    ),
]
DatasetIds = Annotated[
    list[Annotated[str, Field(pattern=rf"^{_UUID}$")]],
    Field(title="Datasets", description="Only these (UUIDs); empty for all.", max_length=10_000),
]


MaxMinutes = Annotated[
    float | None,
    Field(
        title="Minutes at most",
        description="How long this run works. Then nothing more is begun, and what is under way is left to the next run.",
        gt=0,
        le=525_600,
        allow_inf_nan=False,
    ),
]


def _one_there_is(schema: dict[str, JsonValue]) -> None:
    """The form offers them, and Prefect refuses any other before a run starts."""
    schema["enum"] = ["UTC", *sorted(available_timezones() - {"UTC"})]


_FORM = (
    "phase", "dry_run", "user_id", "dataset_ids", "format", "older_than", "limit", "max_gigabytes", "max_minutes",
    "megabytes_per_second", "window", "timezone", "grace_days", "workers",
)  # fmt: skip
"""What people are asked first: what is done, with which datasets, how much of it, and when."""


class MigrateDatasetsRequest(BaseModel):
    """One phase of moving datasets from Supabase to S3, for some or all of them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra=as_form(*_FORM, hidden=("asked_by",)),
    )

    phase: Annotated[
        Phase,
        Field(
            title="Phase",
            description=(
                "copy: both have the bytes, readers are sent where they were. promote: readers get S3, Supabase is the fallback."
                " prune: Supabase's copy is deleted once its grace period is over. rollback: readers get Supabase again."
            ),
        ),
    ] = "copy"
    dry_run: Annotated[
        bool | None,
        Field(
            title="Dry run",
            description="Only say what would be done. Left out, it is on for prune and off for the other phases.",
        ),
        YesOrNo(),
    ] = None
    user_id: UserId = ""
    dataset_ids: DatasetIds = []
    older_than: Annotated[
        datetime | None,
        Field(title="Made before", description="Only datasets made before this moment (UTC unless it says otherwise)."),
    ] = None
    format: Annotated[FormatChoice, Field(title="Format", description="Only datasets of this format.")] = "any"
    limit: Annotated[
        int | None, Field(title="Datasets at most", description="How many datasets this run does something for.", ge=1)
    ] = None
    max_gigabytes: Annotated[
        float | None,
        Field(
            title="Gigabytes at most",
            description="How much this run reads from Supabase, in GB (10^9 bytes); what is begun is ended.",
            gt=0,
            allow_inf_nan=False,
        ),
    ] = None
    max_minutes: MaxMinutes = None
    megabytes_per_second: Annotated[
        float | None,
        Field(
            title="MB/s at most",
            description="Bandwidth cap of the whole run, in MB (10^6 bytes) a second.",
            gt=0,
            allow_inf_nan=False,
        ),
    ] = None
    window: Annotated[
        str,
        Field(
            title="Time window",
            description=(
                "Work only between these hours, such as 22:00-06:00: what is under way at their end is left to the next run."
                " Empty for any time."
            ),
            pattern=rf"^({_WINDOW})?$",
            json_schema_extra={"not": {"pattern": "^(.{5})-\\1$"}},  # opens when it closes
        ),
    ] = ""
    timezone: Annotated[
        str,
        Field(
            title="Time zone",
            description="Of the time window, such as Europe/Berlin.",
            max_length=64,
            json_schema_extra=_one_there_is,
        ),
    ] = "UTC"
    grace_days: Annotated[
        float,
        Field(
            title="Grace period (days)",
            description="Prune only what readers have got from S3 for so long.",
            ge=0,
            le=3650,
            allow_inf_nan=False,
        ),
    ] = 30.0
    retry_given_up: Annotated[
        bool,
        Field(
            title="Try again what was given up",
            description="Also datasets whose source was missing or unsound three times and has not changed since.",
        ),
    ] = False
    take_newer: Annotated[
        bool,
        Field(
            title="Take Supabase's newer bytes",
            description=(
                "With rollback and single datasets: where Supabase's object was replaced after it was copied, its bytes become the"
                " dataset's, and S3's older ones are deleted for good. Otherwise such a dataset is left as it is."
            ),
        ),
    ] = False
    task_runner: Annotated[
        TaskRunner,
        Field(
            title="Task runner",
            description="threads: in this process. dask: on a Dask cluster, a local one unless an address is given.",
        ),
    ] = "threads"
    dask_address: Annotated[
        str,
        Field(
            title="Dask scheduler",
            description="Such as tcp://host:8786; empty for a cluster on this machine.",
            max_length=256,
        ),
    ] = ""
    workers: Annotated[
        int,
        Field(
            title="Batches at once",
            description="How many batches are copied at the same time; they share bandwidth and memory.",
            ge=1,
            le=64,
        ),
    ] = 2
    asked_by: Annotated[
        str, Field(title="Asked by", description="Who the catalogue says did it; empty for the run.", max_length=120)
    ] = ""

    @field_validator("older_than")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        Window.of(self)
        return self

    @model_validator(mode="after")
    def _names_what_is_to_be_newer(self) -> Self:
        if self.take_newer and not self.dataset_ids:
            raise ValueError(
                "take_newer deletes what S3 has of datasets: name those that are meant in dataset_ids, or leave take_newer out"
            )
        return self

    @property
    def rehearsed(self) -> bool:
        """Whether nothing is to be changed."""
        return self.phase == "prune" if self.dry_run is None else self.dry_run


class VerifyCopiesRequest(BaseModel):
    """Copies in S3 to be read again and held against what the catalogue says of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, json_schema_extra=as_form())

    everything: Annotated[
        bool,
        Field(
            title="All of them",
            description="Every copy; otherwise a sample: those whose last reading is longest ago.",
        ),
    ] = False
    sample: Annotated[int, Field(title="Sample", description="How many copies to read again.", ge=1, le=1_000_000)] = (
        500
    )
    max_gigabytes: Annotated[
        float | None,
        Field(
            title="Gigabytes at most", description="How much to read, in GB (10^9 bytes).", gt=0, allow_inf_nan=False
        ),
    ] = None
    max_minutes: MaxMinutes = None
    megabytes_per_second: Annotated[
        float | None,
        Field(
            title="MB/s at most",
            description="Bandwidth cap, in MB (10^6 bytes) a second.",
            gt=0,
            allow_inf_nan=False,
        ),
    ] = None
    user_id: UserId = ""
    dataset_ids: DatasetIds = []
