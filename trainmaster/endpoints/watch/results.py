"""What came of looking after endpoints."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.endpoints.watch.idle import Act, Reason


class SweptEndpoint(BaseModel):
    """One endpoint as it was found and left. `done` says what was done about it, `failure` why it could not be looked after."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    region: str
    act: Act = "leave"
    reason: Reason | None = None
    why: str = ""
    done: str = ""
    failure: str = ""
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_eventful(self) -> bool:
        return bool(self.reason or self.done or self.failure)

    def sentence(self) -> str:
        where = f"{self.endpoint} in {self.region}"
        if self.failure:
            return f"Endpoint {where} could not be looked after: {self.failure}"
        said = "; ".join(part for part in (self.why, self.done) if part) or "it is wanted"
        return f"Endpoint {where}: {said}."

    def row(self) -> dict[str, str]:
        found = {"endpoint": self.endpoint, "region": self.region, "reason": self.reason or "", "why": self.why}
        return {**found, "done": self.done or self.failure}


class Sweep(BaseModel):
    """Every endpoint of ours that stood, in service or past it."""

    endpoints: list[SweptEndpoint] = []

    @property
    def eventful(self) -> list[SweptEndpoint]:
        return [one for one in self.endpoints if one.is_eventful]

    @property
    def failures(self) -> list[str]:
        return [one.sentence() for one in self.endpoints if one.failure]

    def sentence(self) -> str:
        counts = {
            "looked at": len(self.endpoints),
            "over": sum(1 for one in self.endpoints if one.reason),
            "warned of": self._did("warn"),
            "scaled down": self._did("scale-down"),
            "removed": self._did("remove"),
            "failed": len(self.failures),
        }
        return "Endpoints: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + "."

    def table(self) -> list[dict[str, str]]:
        """Those of which there is something to say."""
        return [one.row() for one in self.eventful]

    def _did(self, act: Act) -> int:
        return sum(1 for one in self.endpoints if one.act == act and one.done)
