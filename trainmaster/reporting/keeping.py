"""Where reports are kept as files: in a folder, or below an S3 prefix. The same report again takes the place of the one there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainmaster.errors import NotConfiguredError
from trainmaster.reporting.weekly import WeeklyReport
from trainmaster.reporting.weekly_page import weekly_markdown
from trainmaster.reporting.weekly_pictures import weekly_pictures
from trainmaster.storage.address import S3Address

CONTENT_TYPES = {".md": "text/markdown; charset=utf-8", ".png": "image/png", ".json": "application/json"}


def keep(place: str, files: Mapping[str, bytes], client: Callable[[str], Any]) -> list[str]:
    """Write every file at a place, a folder or an S3 prefix, each whole or not at all; where they are then, in order.

    `client` is asked for S3 only where that is the place. Raises NotConfiguredError for a folder that cannot be written.
    """
    if place.startswith("s3://"):
        return _to_s3(place, files, client("s3"))
    try:
        return _to_folder(Path(place), files)
    except OSError as error:
        raise NotConfiguredError(
            f"The report cannot be written to {place}: {error.strerror}. Make that folder writable, or set"
            " TRAINMASTER_REPORTS to another or to an s3:// prefix."
        ) from error


def keep_weekly(report: WeeklyReport, place: str, client: Callable[[str], Any]) -> list[str]:
    """A week as Markdown with its pictures beside it, and as JSON, in a folder of its own; where they are, the page first."""
    pictures = {f"{name}.png": png for name, png in weekly_pictures(report).items()}
    page = weekly_markdown(report, {name.removesuffix(".png"): name for name in pictures})
    files = {"report.md": page.encode(), **pictures, "report.json": report.model_dump_json(indent=2).encode()}
    return keep(f"{place}/{report.week}", files, client)


def _to_s3(place: str, files: Mapping[str, bytes], s3: Any) -> list[str]:
    prefix = S3Address.parse(f"{place.rstrip('/')}/")
    for name, body in files.items():
        kind = CONTENT_TYPES[Path(name).suffix]
        s3.put_object(Bucket=prefix.bucket, Key=f"{prefix.key}{name}", Body=body, ContentType=kind)
    return [f"{prefix}{name}" for name in files]


def _to_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        descriptor, partial = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
            Path(partial).replace(folder / name)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    return [str(folder / name) for name in files]
