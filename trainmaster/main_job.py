"""The main job: a table in, an answering endpoint out. What is asked and what comes of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.api.stack import PublishedApi
from trainmaster.endpoints.request import EndpointChoices
from trainmaster.endpoints.results import ServedModel
from trainmaster.form import as_form
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.request import TrainingChoices


class TrainAndServeRequest(BaseModel):
    """One table, how to train on it, and what to serve the model on."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    data: Annotated[
        str,
        Field(
            title="Data",
            description="CSV file on the worker with bedrooms, bathrooms, sqft, year_built and price; empty for the shipped example.",
            max_length=1024,
        ),
    ] = ""
    training: Annotated[TrainingChoices, Field(title="Training")] = TrainingChoices()
    endpoint: Annotated[EndpointChoices, Field(title="Endpoint")] = EndpointChoices()
    public: Annotated[
        bool,
        Field(
            title="Public API",
            description="Publish it as well, as POST /predict behind an API key; `publish-api` has the choices.",
        ),
    ] = False

    def serving(self) -> EndpointChoices:
        """What it is served on: whoever pays for training pays, and what was said of its data holds, where it says nothing itself.

        Raises pydantic's ValidationError for tags that an endpoint cannot have.
        """
        training = self.training
        serving = self.endpoint.paid_like(training.user_id, training.team)
        return serving.told_like(training.data_classification, training.tags)

    def publishing(self) -> PublishRequest:
        """How the endpoint is published: with publish-api's own choices."""
        return PublishRequest(endpoint_name=self.endpoint.endpoint_name)


class UploadedTable(BaseModel):
    """A table checked, normalised and stored: its S3 prefix, its size, and what was noticed."""

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str
    rows: int
    columns: dict[str, str]
    ignored: list[str]
    notes: list[str]
    sha256: str
    sent: bool
    """False when those very bytes were in S3 already."""

    def sentence(self) -> str:
        mapped = [f"{name} from {header!r}" for name, header in self.columns.items() if name != header]
        said = f"{self.name}: {self.rows:,} rows, no problems{'; ' + ', '.join(mapped) if mapped else ''}."
        left_out = f" Not used: {', '.join(self.ignored)}." if self.ignored else ""
        return " ".join([said + left_out, *self.notes])


class TrainedAndServed(BaseModel):
    """Everything the main job did."""

    model_config = ConfigDict(frozen=True)

    table: UploadedTable
    training: TrainingOutcome
    served: ServedModel
    published: PublishedApi | None = None
