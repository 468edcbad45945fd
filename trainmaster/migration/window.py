"""The hours of a day in which a run may begin more work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from trainmaster.migration.request import MigrateDatasetsRequest


@dataclass(frozen=True)
class Window:
    """From one time of day until another, by the clocks of a time zone; over midnight where it closes before it opens.

    `None` for both is at any time.
    """

    zone: ZoneInfo
    opens_at: time | None = None
    closes_at: time | None = None

    @classmethod
    def parse(cls, hours: str, zone: str) -> Self:
        """Of hours such as 22:00-06:00, empty for any time. Raises ValueError for a zone there is not, or no hours at all."""
        try:
            found = ZoneInfo(zone)
        except (KeyError, ValueError, OSError):  # a path, an empty name, a folder
            raise ValueError(
                f"there is no time zone {zone!r} (--timezone); write an IANA name, such as Europe/Berlin"
            ) from None
        if not hours:
            return cls(found)
        opens, closes = (time.fromisoformat(each) for each in hours.split("-"))
        if opens == closes:
            raise ValueError(f"the window {hours} (--window) opens when it closes; leave it empty for any time")
        return cls(found, opens, closes)

    @classmethod
    def of(cls, request: MigrateDatasetsRequest) -> Self:
        """The one that a request asks for."""
        return cls.parse(request.window, request.timezone)

    def is_open(self, now: datetime) -> bool:
        """Whether work may begin at this moment."""
        if self.opens_at is None or self.closes_at is None:
            return True
        clock = now.astimezone(self.zone).time()
        if self.opens_at < self.closes_at:
            return self.opens_at <= clock < self.closes_at
        return clock >= self.opens_at or clock < self.closes_at

    def closes(self, now: datetime) -> datetime | None:
        """When it closes next, in UTC; None when it never does."""
        return None if self.closes_at is None else self._next(self.closes_at, now)

    def opens(self, now: datetime) -> datetime | None:
        """When it opens next, in UTC; None when it is always open."""
        return None if self.opens_at is None else self._next(self.opens_at, now)

    def __str__(self) -> str:
        if self.opens_at is None or self.closes_at is None:
            return "any time"
        return f"{self.opens_at:%H:%M}-{self.closes_at:%H:%M} {self.zone.key}"

    def _next(self, clock: time, now: datetime) -> datetime:
        local = now.astimezone(self.zone)
        # The fold of `local` is kept: in the hour that clocks show twice, the same of the two is meant.
        today = local.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
        following = today if today > local else today + timedelta(days=1)
        return following.astimezone(UTC)
