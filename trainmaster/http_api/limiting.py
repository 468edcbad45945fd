"""How often one address, and one user, may ask."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from limits import parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from trainmaster.errors import NotConfiguredError, TooManyRequestsError
from trainmaster.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What is left after a request: of `limit` requests, until `seconds` from now."""

    limit: int
    remaining: int
    seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As browsers and clients look for them."""
        said = {"limit": self.limit, "remaining": self.remaining, "reset": self.seconds}
        return [(f"ratelimit-{name}".encode(), str(value).encode()) for name, value in said.items()]


class Rates:
    """Counts requests in windows; those of one process, or of all that share a Redis."""

    def __init__(self, settings: Settings) -> None:
        """Raises NotConfiguredError."""
        try:
            storage = storage_from_string(settings.http_rate_storage.get_secret_value(), wrap_exceptions=True)
        except ConfigurationError as error:
            raise NotConfiguredError(
                "TRAINMASTER_HTTP_RATE_STORAGE is no place to count in. Write memory:// or redis://host:6379."
            ) from error
        self._limiter = FixedWindowRateLimiter(storage)
        self._user, self._address = (
            parse(rate) if rate else None for rate in (settings.http_rate_limit, settings.http_address_rate_limit)
        )

    def count_user(self, user_id: str) -> Allowance | None:
        """None without a limit. Raises TooManyRequestsError."""
        return self._count(self._user, "You", "user", user_id)

    def count_address(self, address: str) -> Allowance | None:
        """None without a limit. Raises TooManyRequestsError."""
        return self._count(self._address, "Your address", "address", address)

    def _count(self, limit: Any, whose: str, *key: str) -> Allowance | None:
        if limit is None:
            return None
        try:
            within = self._limiter.hit(limit, *key)
            window = self._limiter.get_window_stats(limit, *key)
        except StorageError:  # better to answer too many than nobody
            _log.warning("requests are not counted: TRAINMASTER_HTTP_RATE_STORAGE does not answer")
            return None
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        if not within:
            raise TooManyRequestsError(whose, str(limit), seconds)
        return Allowance(limit.amount, window.remaining, seconds)


def note(scope: MutableMapping[str, Any], allowance: Allowance | None) -> None:
    """Let the answer to a request say it; what is noted last counts."""
    if allowance is not None:
        scope.setdefault("state", {})["allowance"] = allowance
