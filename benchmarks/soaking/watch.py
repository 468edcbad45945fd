"""What must hold at every moment of a soak, looked at every two seconds: no budget oversold, nothing negative."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal

from trainmaster.budget.ledger import Ledger

LOOKS_EVERY = 2.0


@dataclass
class Watch:
    """`lowest` is the least that was left of each budget, `wrong` what can never be right."""

    ledger: Ledger
    lowest: dict[str, Decimal] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _looked: float = 0.0

    def step(self) -> None:
        if time.monotonic() - self._looked < LOOKS_EVERY:
            return
        self._looked = time.monotonic()
        for standing in self.ledger.standings():
            code, left = standing.budget.code, standing.balance
            if left is not None:
                self.lowest[code] = min(self.lowest.get(code, left), left)
            if min(standing.settled, standing.reserved) < 0:
                self.wrong.append(f"{code}: {standing.settled} settled, {standing.reserved} reserved")

    def oversold(self) -> list[str]:
        """Budgets of which more was promised than there is."""
        return [f"{code}: {left} left" for code, left in self.lowest.items() if left < 0]
