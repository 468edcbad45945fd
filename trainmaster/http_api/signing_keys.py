"""The public keys of a project, as its JWKS address has them: they rotate, and the address is not always within reach."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

import httpx
import jwt

from trainmaster.errors import SigningKeysUnavailableError

FRESH_SECONDS = 600.0
"""How long a key that was withdrawn may still be taken."""
BETWEEN_SECONDS = 60.0
"""Between two questions, whatever tokens come: they are strangers', and may name any key."""
FETCH_SECONDS = 5.0
_LARGEST = 1 << 16
_log = logging.getLogger(__name__)


class SigningKeys:
    """Keys by their id. Asked for when one is not known or those known are old; kept while the address is out of reach."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched = self._asked = float("-inf")
        self._reached = False
        self._turn = threading.Lock()

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """None for a key the project does not have. Raises SigningKeysUnavailableError while nobody can say."""
        if (key_id not in self._keys or not self._are_fresh()) and self._turn.acquire(timeout=FETCH_SECONDS):
            try:
                self._renew(key_id)
            finally:
                self._turn.release()
        found = self._keys.get(key_id)
        if found is None and not self._reached:
            raise SigningKeysUnavailableError(
                f"Tokens cannot be verified: the keys at {self._url} are out of reach. Try again later."
            )
        return found

    def _are_fresh(self) -> bool:
        return self._clock() - self._fetched < FRESH_SECONDS

    def _renew(self, key_id: str) -> None:
        now = self._clock()
        known = key_id in self._keys and self._are_fresh()  # somebody else may have asked meanwhile
        if known or now - self._asked < BETWEEN_SECONDS:
            return
        self._asked = now
        try:
            self._keys = _read(self._url)
        except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
            self._reached = False
            _log.warning("the signing keys at %s could not be had: %s", self._url, type(error).__name__)
        else:
            self._reached, self._fetched = True, now


def _read(url: str) -> dict[str, jwt.PyJWK]:
    """Those that verify RS256 and ES256: a secret among them would be everybody's. Raises HTTPError, ValueError, PyJWTError."""
    with httpx.stream("GET", url, timeout=FETCH_SECONDS) as answer:
        answer.raise_for_status()
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _LARGEST:
                raise ValueError("more than keys take")
    listed = httpx.Response(200, content=body).json()
    if not isinstance(listed, dict) or not isinstance(listed.get("keys"), list):
        raise ValueError("no key set")
    usable = [one for one in listed["keys"] if isinstance(one, dict) and one.get("kty") in {"RSA", "EC"}]
    return {str(one["kid"]): jwt.PyJWK(one) for one in usable if one.get("kid") and one.get("use", "sig") == "sig"}
