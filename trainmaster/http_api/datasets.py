"""Datasets of whoever asks: uploaded, listed, downloaded by a link, deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from trainmaster.catalog.datasets import Dataset
from trainmaster.datasets.report import DatasetReport
from trainmaster.datasets.showing.wording import verdict
from trainmaster.errors import DatasetMissingError, DatasetRefusedError
from trainmaster.http_api.answers import ErrorAnswer
from trainmaster.http_api.callers import Asking
from trainmaster.http_api.dataset_models import (
    DatasetAnswer,
    DatasetQuery,
    DatasetsAnswer,
    DeletedAnswer,
    LinkAnswer,
    UploadedAnswer,
    form_schema,
)
from trainmaster.http_api.office import AtOffice, Office
from trainmaster.http_api.receiving import AtHand
from trainmaster.storage import intake, uploading
from trainmaster.storage.links import LIFETIME, download_link
from trainmaster.storage.removing import delete_dataset
from trainmaster.storage.store import LONGEST_LIFETIME

router = APIRouter(prefix="/api/training/dataset", tags=["datasets"])

_SAID = {
    200: "The very same was uploaded before: the same dataset, and what was not there of it is put right.",
    404: "The caller has no such dataset.",
    409: "The very same is being uploaded at this moment, or the dataset was given other bytes since.",
    413: "The file has more bytes than are taken over HTTP.",
    507: "The server has no room for it now.",
}


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": _SAID[status]} for status in statuses}


DatasetId = Annotated[UUID, Path(description="Of the dataset; the list has them.")]
_FORM: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form_schema()}}}
}


@router.post(
    "",
    status_code=201,
    summary="Upload a dataset",
    response_description="A new dataset, stored and catalogued.",
    openapi_extra=_FORM,
    responses={200: {"model": UploadedAnswer, "description": _SAID[200]}, **_answers(409, 413, 507)},
)
def upload(received: AtHand, office: AtOffice, response: Response) -> UploadedAnswer:
    """Check a file, store it and catalogue it. The same upload again answers 200 with the same dataset, and puts right what is not there.

    A file that cannot be trained on is refused with every problem by its line, and nothing of it is kept.
    """
    request, library = received.request, office.library
    report = intake.check_source(request, received.source, received.folder)
    if not report.ok:
        raise refused(report)
    new = intake.accepted(request, received.source, report, received.folder, office.settings)
    uploaded = uploading.upload(library, new, intake.providers_of(request))
    response.status_code = 200 if uploaded.found else 201
    return UploadedAnswer.uploaded(_found(office, new.id, new.user_id), uploaded)


@router.get("", summary="List datasets", response_description="A page, with the counts of all.")
def datasets(caller: Asking, office: AtOffice, query: Annotated[DatasetQuery, Query()]) -> DatasetsAnswer:
    """The caller's, newest first. The counts are of all of them, whatever the page was narrowed to."""
    catalogued = office.desk.catalogue.datasets
    page = catalogued.page(caller.user_id, **query.model_dump())
    return DatasetsAnswer.of(page, catalogued.counts(caller.user_id))


@router.get("/{dataset_id}", summary="Show a dataset", response_description="The dataset.", responses=_answers(404))
def dataset(dataset_id: DatasetId, caller: Asking, office: AtOffice) -> DatasetAnswer:
    """One of the caller's; somebody else's is as if it were not there."""
    return DatasetAnswer.of(_found(office, dataset_id, caller.user_id))


@router.get(
    "/{dataset_id}/url",
    summary="Link to download a dataset",
    response_description="The link, and until when it holds.",
    responses=_answers(404),
)
def url(
    dataset_id: DatasetId,
    caller: Asking,
    office: AtOffice,
    response: Response,
    expires_in: Annotated[
        int, Query(description="Seconds the link holds.", ge=1, le=int(LONGEST_LIFETIME.total_seconds()))
    ] = int(LIFETIME.total_seconds()),
) -> LinkAnswer:
    """A link by which anybody can download the dataset until it expires: keep it out of logs and caches."""
    response.headers["Cache-Control"] = "no-store"
    return LinkAnswer.of(download_link(office.library, dataset_id, caller.user_id, timedelta(seconds=expires_in)))


@router.delete(
    "/{dataset_id}",
    summary="Delete a dataset",
    response_description="It is out of the catalogue.",
    responses=_answers(404),
)
def delete(dataset_id: DatasetId, caller: Asking, office: AtOffice) -> DeletedAnswer:
    """Take a dataset out of the catalogue and remove its objects. Of one that is gone already: 404, and nothing changes."""
    return DeletedAnswer.of(dataset_id, delete_dataset(office.library, dataset_id, caller.user_id))


def refused(report: DatasetReport) -> DatasetRefusedError:
    """What is said of a file that cannot be trained on: the verdict, and the problems by line."""
    problems = [report.fatal, *report.problems] if report.fatal else report.problems
    return DatasetRefusedError(verdict(report), problems)


def _found(office: Office, dataset_id: UUID, user_id: UUID) -> Dataset:
    found = office.desk.catalogue.datasets.get(dataset_id, user_id)
    if found is None:
        raise DatasetMissingError(f"There is no dataset {dataset_id} of user {user_id}.")
    return found
