"""What a database will not keep, said the same way whichever it is."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy.exc import IntegrityError

from trainmaster.errors import DatasetRefusedError, NameConflictError

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it, and not a backslash that happens to stand before the letters."""
_UNIQUE_SQLITE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def check_text(
    name: str, description: str | None, metadata: Mapping[str, Any] | None, subject: str = "dataset"
) -> None:
    """Raises DatasetRefusedError for text PostgreSQL cannot keep, on SQLite too: what one takes the other must."""
    try:
        written = json.dumps([name, description, metadata], ensure_ascii=False, allow_nan=False)
        written.encode()
    except (UnicodeEncodeError, ValueError) as error:
        raise DatasetRefusedError(f"The catalogue cannot keep what describes {subject} {name!r}: {error}.") from error
    if _NUL.search(written):
        raise DatasetRefusedError(
            f"The catalogue cannot keep what describes {subject} {name!r}: it has a NUL character."
        )


@contextmanager
def integrity_refused(subject: str) -> Iterator[None]:
    """Turns what a constraint refuses into NameConflictError (not unique) or DatasetRefusedError (anything else)."""
    try:
        yield
    except IntegrityError as error:
        said = str(error.orig).strip().replace("\n", " ")
        if _is_taken(error):
            raise NameConflictError(f"{subject}: something of it is another dataset's already ({said}).") from error
        raise DatasetRefusedError(f"{subject}: the catalogue's database refuses it ({said}).") from error


def _is_taken(error: IntegrityError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return isinstance(error.orig, psycopg.errors.UniqueViolation) or code in _UNIQUE_SQLITE
