"""What the API writes down: one JSON object a line, with the request it belongs to, and nothing that opens a door."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered; threads that answer it have it too."""
ACCESS = "trainmaster.http_api.access"

_QUERY = re.compile(r"((?:https?|s3|postgres(?:ql)?|rediss?)://[^\s?\"'<>]*)\?[^\s\"'<>]+")
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s\"',;]+")
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")


def without_secrets(text: str) -> str:
    """The text without what a URL says after `?`, passwords in URLs, and tokens."""
    text = _PASSWORD.sub(r"\1:…@", _QUERY.sub(r"\1?…", text))
    return _TOKEN.sub("…", _BEARER.sub(r"\1…", text))


class JsonLines(logging.Formatter):
    """Of each record time, level, logger, message, the request's id, and what it carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            "request_id": REQUEST_ID.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps({name: value for name, value in said.items() if value not in ("", None)}, ensure_ascii=False)


def write_lines(to: TextIO | None = None) -> None:
    """Have this process write them, to stderr: warnings of all, and one line of our own for each request."""
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ACCESS).setLevel(logging.INFO)
