"""What people see of a long wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

AGAIN_SECONDS = 60.0


@dataclass
class Teller:
    """Tells how things stand when that changes, and once a minute while it does not: silence looks like death."""

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _standing: str = field(default="", init=False)
    _told: float = field(default=0.0, init=False)

    def tell(self, standing: str, sentence: str) -> None:
        """`standing` is what is compared; `sentence` what is said, figures that always change included."""
        now = self.clock()
        if standing != self._standing or now - self._told >= AGAIN_SECONDS:
            self._standing, self._told = standing, now
            self.say(sentence)
