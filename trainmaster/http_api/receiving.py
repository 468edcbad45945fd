"""Uploads on their way in: a place for each, a bound on all of them, and the form checked before its file is read."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from trainmaster.datasets.request import UploadDatasetRequest
from trainmaster.errors import DatasetRefusedError, FormRefusedError, NoRoomError, NotConfiguredError
from trainmaster.http_api.callers import Asking, Caller
from trainmaster.http_api.dataset_models import FIELDS, LARGEST_FIELD
from trainmaster.http_api.form_reading import AROUND, Form, FormLimits, read_form, too_large
from trainmaster.http_api.office import AtOffice, Office
from trainmaster.http_api.upload_places import upload_place
from trainmaster.http_api.wrong_requests import said_of
from trainmaster.storage import intake
from trainmaster.storage.sources import Source
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.working_folder import working_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Received:
    """An upload whose file is on this machine: what was asked, the file, and the folder it is worked on in."""

    request: UploadDatasetRequest
    source: Source
    folder: Path


def workplace(request: Request, caller: Asking, office: AtOffice) -> Iterator[Path]:
    """An empty folder that is the caller's until the answer is sent.

    Refused before a byte of the body is read: UploadTooLargeError, NoRoomError, and UploadsBusyError when as many uploads are
    under way as may be, of all workers of this machine or of this caller.
    """
    settings, announced = office.settings, int(request.headers.get("content-length") or 0)
    if announced > settings.http_upload_bytes + AROUND:
        raise too_large(settings.http_upload_bytes)
    below = settings.state_dir / "uploads"
    with upload_place(below, caller.user_id, settings.http_uploads), working_folder(below) as folder:
        free = shutil.disk_usage(folder).free
        if announced * 2 > free:  # the file, and what is stored of it
            raise NoRoomError(
                f"There is no room for an upload of {announced:,} bytes now: {free:,} are free. Try again later."
            )
        yield folder


async def received(
    request: Request, caller: Asking, office: AtOffice, folder: Annotated[Path, Depends(workplace)]
) -> Received:
    """The form, read to its end. Raises as `read_form`; FormRefusedError for fields that are wrong, all of them at once."""
    to = folder / "source"

    def before_file(fields: Mapping[str, str]) -> None:
        _require_known(fields)
        if "name" in fields:  # else what is lacking may come after the file
            _require_stores(office, _asked(to, caller, fields))

    limits = FormLimits(office.settings.http_upload_bytes, LARGEST_FIELD)
    content_type = request.headers.get("content-type", "")
    form = await read_form(content_type, _body(request), to, limits, before_file=before_file)
    asked = _asked(to, caller, form.fields)
    await run_in_threadpool(_require_stores, office, asked)
    if to.stat().st_size == 0:
        raise DatasetRefusedError(f"{form.file_name} is empty: 0 bytes. Send a file with examples.")
    return Received(asked, _source(to, form), folder)


AtHand = Annotated[Received, Depends(received)]


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise FormRefusedError("The upload was cut off before its end. Send it again.") from error


def _asked(file: Path, caller: Caller, fields: Mapping[str, str]) -> UploadDatasetRequest:
    _require_known(fields)
    try:
        return UploadDatasetRequest.model_validate({**fields, "file": str(file), "user_id": str(caller.user_id)})
    except ValidationError as error:
        asked = UploadDatasetRequest.model_fields
        wrong = [said_of(".".join(map(str, one["loc"])), one, asked, {}) for one in error.errors()]
        raise FormRefusedError(f"The form is wrong. {' '.join(wrong)}") from error


def _require_known(fields: Mapping[str, str]) -> None:
    """Whose it is the token says, and where the file is nobody: fields of those names are refused as any other."""
    if unknown := sorted(fields.keys() - set(FIELDS)):
        raise FormRefusedError(
            f"The form has no field {', '.join(repr(one[:60]) for one in unknown)}. Its fields: file, {', '.join(FIELDS)}."
        )


def _require_stores(office: Office, asked: UploadDatasetRequest) -> None:
    """Raises FormRefusedError for storage that this server is not set up for: another may do."""
    try:
        intake.require_stores(office.library, asked, office.settings)
    except NotConfiguredError as error:
        _log.error("storage=%s: %s", asked.storage, error)
        others = " or ".join(f"storage={one}" for one in StorageProvider if one != asked.storage)
        raise FormRefusedError(
            f"This server is not set up to keep datasets with storage={asked.storage}. Send {others}, or tell its operators."
        ) from error


def _source(to: Path, form: Form) -> Source:
    return Source(to, form.file_name, f"uploaded as {form.file_name}")
