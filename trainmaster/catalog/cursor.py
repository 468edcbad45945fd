"""Where a page ended, as a string for people's URLs and other programs' hands."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from trainmaster.errors import UnknownChoiceError


def write_cursor(created_at: datetime, id_: UUID) -> str:
    """The position after a row: it stays what it is whatever is inserted or deleted."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{id_}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Raises UnknownChoiceError for anything `write_cursor` did not write."""
    try:
        written = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, bar, id_ = written.partition("|")
        created_at = datetime.fromisoformat(moment)
        if not bar or created_at.tzinfo is None:
            raise ValueError(written)
        return created_at.astimezone(UTC), UUID(id_)
    except (ValueError, OverflowError, binascii.Error):
        raise UnknownChoiceError(f"{cursor[:100]!r} is not where a page ended. Start without a cursor.") from None
