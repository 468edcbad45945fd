"""Which week a report is about. Weeks are those of ISO 8601, from Monday to Sunday in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.errors import RefusedError
from trainmaster.form import as_form

_WEEK = timedelta(weeks=1)


class WeeklyReportRequest(BaseModel):
    """Which week, and how much of it is named."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    week: Annotated[
        str,
        Field(
            title="Week",
            description="A week as ISO 8601 names it, such as 2026-W47: Monday to Sunday in UTC. Empty for the last one that is over.",
            pattern=r"^([0-9]{4}-W[0-9]{2})?$",
        ),
    ] = ""
    top: Annotated[
        int,
        Field(title="Top costs", description="How many of the dearest jobs, endpoints and workspaces are named.", ge=1, le=50),
    ] = 10  # fmt: skip


@dataclass(frozen=True)
class Week:
    """From `since` on and before `until`, both midnights in UTC."""

    since: datetime

    @classmethod
    def last(cls, now: datetime) -> Self:
        """The last one that is over."""
        today = now.astimezone(UTC).date()
        return cls(_midnight(today - timedelta(days=today.weekday()))).before

    @classmethod
    def asked(cls, request: WeeklyReportRequest, now: datetime) -> Self:
        """Raises RefusedError for a week there is not, and for one that has not begun."""
        if not request.week:
            return cls.last(now)
        try:
            week = cls(_midnight(datetime.strptime(f"{request.week}-1", "%G-W%V-%u").date()))  # noqa: DTZ007 - a date
        except ValueError as error:
            raise RefusedError(f"There is no week {request.week}; write 2026-W47, of 52 or 53 in a year.") from error
        if week.since > now:
            raise RefusedError(f"{request.week} begins on {week.since:%Y-%m-%d}; ask for {cls(now).name} or earlier.")
        return week

    def is_past(self, now: datetime) -> bool:
        """Whether another week has ended since: how the month and its budgets stand now is no news of this one."""
        return self.since < self.last(now).since

    @property
    def name(self) -> str:
        return f"{self.since:%G-W%V}"

    @property
    def until(self) -> datetime:
        return self.since + _WEEK

    @property
    def before(self) -> Self:
        return type(self)(self.since - _WEEK)

    @property
    def days(self) -> list[date]:
        return [self.since.date() + timedelta(days=number) for number in range(7)]

    def title(self) -> str:
        """For people: `2026-W47 (16 to 22 November 2026)`."""
        last = self.until - timedelta(days=1)
        begins = f"{self.since.day}" if self.since.month == last.month else f"{self.since.day} {self.since:%B}"
        return f"{self.name} ({begins} to {last.day} {last:%B %Y})"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
