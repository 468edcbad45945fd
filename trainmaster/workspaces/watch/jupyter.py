"""When a JupyterLab was last in use, as its own API says: asked through a session of its own, whose address is a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from http.cookiejar import CookieJar
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, HTTPHandler, HTTPSHandler, OpenerDirector, build_opener

from trainmaster.errors import JupyterUnreachableError

TIMEOUT_SECONDS = 15.0
LARGEST = 4 * 1024**2
_LAB = re.compile(r"(https?://[^?#]*?)/lab(?:[/?#].*)?")
_BUSY = {"busy", "starting", "restarting"}


def last_used(presigned_url: str, now: datetime) -> datetime:
    """When anybody or anything last worked in it: `now` where a kernel is computing. Looking does not count as use.

    The address is used up, and never in what is raised or logged. Raises JupyterUnreachableError.
    """
    if urlsplit(presigned_url).scheme not in {"http", "https"}:
        raise JupyterUnreachableError("its address is none of the web")
    # httpx would log the address, and urllib says nothing.
    session = build_opener(HTTPHandler, HTTPSHandler, HTTPCookieProcessor(CookieJar()))
    landed = _LAB.fullmatch(_landed(session, presigned_url))
    if landed is None:
        raise JupyterUnreachableError("its address does not lead to a JupyterLab")
    status, kernels, terminals = (_asked(session, landed[1], about) for about in ("status", "kernels", "terminals"))
    if any(kernel.get("execution_state") in _BUSY for kernel in kernels):
        return now
    moments = [_moment(one.get("last_activity")) for one in (status, *kernels, *terminals)]
    known = [moment for moment in moments if moment]
    if not known:
        raise JupyterUnreachableError("its API does not say when it was last in use")
    return min(max(known), now)


def _landed(session: OpenerDirector, address: str) -> str:
    """Where the address leads to in the end; the session has its cookies then."""
    try:
        with session.open(address, timeout=TIMEOUT_SECONDS) as answer:
            _read(answer)
            return str(answer.geturl())
    except (OSError, HTTPException, ValueError) as error:
        raise JupyterUnreachableError(_said(error)) from None


def _asked(session: OpenerDirector, base: str, about: str) -> Any:
    """What its API says; an object of `status`, and a list of the others."""
    try:
        with session.open(f"{base}/api/{about}?no_track_activity=1", timeout=TIMEOUT_SECONDS) as answer:
            found = json.loads(_read(answer))
    except HTTPError as error:
        if about == "terminals" and error.code in {403, 404}:  # where they are switched off
            return []
        raise JupyterUnreachableError(_said(error)) from None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise JupyterUnreachableError(_said(error)) from None
    if about == "status":
        is_readable = isinstance(found, Mapping)
    else:
        is_readable = isinstance(found, list) and all(isinstance(one, Mapping) for one in found)
    if not is_readable:
        raise JupyterUnreachableError(f"its API said nothing of its {about}")
    return found


def _read(answer: HTTPResponse) -> bytes:
    """All of it that there may be, within the time there is for it: a timeout of the web begins anew with each byte."""
    read, deadline = bytearray(), monotonic() + TIMEOUT_SECONDS
    while len(read) < LARGEST and (some := answer.read1(LARGEST - len(read))):
        read += some
        if monotonic() > deadline:
            raise TimeoutError
    return bytes(read)


def _said(error: Exception) -> str:
    """Without the address, which errors of the web may hold."""
    if isinstance(error, HTTPError):
        return f"its API answered {error.code}"
    return f"its API could not be asked ({type(error).__name__})"


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
