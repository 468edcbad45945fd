"""A Prefect server as setting up sees it: JSON by path, each call bounded and tried again by Prefect's own client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from trainmaster.errors import FlowRunsUnavailableError, NotConfiguredError
from trainmaster.setup.plan import Facts, Found

_PAGE = 200
_MISSING, _THERE_ALREADY = 404, 409


class Kind(Protocol):
    """One kind of thing on the server, by name. Every change is safe to repeat, and to make at the same time as somebody else."""

    name: str
    enforced: frozenset[str]
    """Facts that are no one's to change by hand: a wrong one would break runs."""

    def wanted(self) -> Mapping[str, Facts]:
        """What there should be."""

    def found(self) -> Mapping[str, Found]:
        """What there is."""

    def create(self, name: str, facts: Facts) -> None:
        """Make one that is not there."""

    def update(self, name: str, facts: Facts) -> None:
        """Set these facts of one that is there."""

    def remove(self, name: str) -> None:
        """Take one away; nothing happens when it is gone."""


class Server:
    """JSON of the REST API of PREFECT_API_URL."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def get(self, path: str) -> Any:
        """None when it is not there."""
        return self._asked("GET", path)

    def all(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Of a `…/filter`, every page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._asked("POST", path, {**body, "limit": _PAGE, "offset": len(found)}) or []
            found += page
            if len(page) < _PAGE:
                return found

    def create(self, path: str, body: Any) -> Any:
        """None when somebody else was faster."""
        try:
            return self._asked("POST", path, body)
        except PrefectHTTPStatusError as error:
            if error.response.status_code == _THERE_ALREADY:
                return None
            raise

    def update(self, path: str, body: Any) -> None:
        self._asked("PATCH", path, body)

    def replace(self, path: str, body: Any) -> None:
        self._asked("PUT", path, body)

    def remove(self, path: str) -> None:
        self._asked("DELETE", path)

    def _asked(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)  # type: ignore[arg-type]
        except PrefectHTTPStatusError as error:
            if error.response.status_code == _MISSING:
                return None
            raise
        return answer.json() if answer.content else None


@contextmanager
def reached() -> Iterator[Server]:
    """The server of PREFECT_API_URL, or of the active profile.

    Raises NotConfiguredError when none is named, and FlowRunsUnavailableError when it does not answer or refuses.
    """
    address = get_current_settings().api.url
    if (
        not address
    ):  # Prefect would start a server of its own for as long as the command runs, and nobody would ever see it
        raise NotConfiguredError(
            "PREFECT_API_URL is not set, so there is no Prefect server to set up. Set it to yours, http://…:4200/api or Prefect"
            " Cloud's, or start everything on this machine with `make up`."
        )
    try:
        with get_client(sync_client=True) as client:
            yield Server(client)
    except PrefectHTTPStatusError as error:
        is_quotable = (
            "/block_" not in error.request.url.path
        )  # a refusal has all that was sent: of a block, its address
        why = f": {error.response.text[:500]}" if is_quotable else ""
        raise FlowRunsUnavailableError(
            f"The Prefect server at {address} answered {error.response.status_code} to {error.request.method}"
            f" {error.request.url.path}{why}. Check PREFECT_API_URL and PREFECT_API_KEY; what was done"
            " stays, and the same command goes on from here."
        ) from (error if is_quotable else None)
    except httpx.HTTPError as error:
        raise FlowRunsUnavailableError(
            f"The Prefect server at {address} does not answer ({type(error).__name__}). Start it, or check PREFECT_API_URL; what"
            " was done stays, and the same command goes on from here."
        ) from error
