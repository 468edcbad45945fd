"""What a month will have cost when it is over, if things go on as they do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.entries import NOTHING
from trainmaster.budget.metering import Meter
from trainmaster.budget.money import rounded

METHOD = (
    "Billed so far in the month; what runs by the hour now (endpoints, workspaces, their files), as if it went on as it does to the"
    " end of the month; and for each day left the mean of the last seven days of what is paid by the job (training, images)."
    " What is paid by use, serverless endpoints, is in it only as far as it is billed."
)
PACE_DAYS = 7
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Running:
    """What costs money by the hour now: US dollars an hour, and up to when it is billed."""

    hourly: Decimal
    billed_until: datetime

    @classmethod
    def of(cls, meter: Meter) -> Running | None:
        """None for what was never seen there, and so costs nothing."""
        if meter.seen_at is None:
            return None
        return cls(meter.hourly_now, max(meter.seen_at, meter.begins(min(meter.open))))


class Forecast(BaseModel):
    """US dollars of a whole month, in the parts it is made of."""

    model_config = ConfigDict(frozen=True)

    month: str
    billed: Decimal
    by_the_hour: Decimal
    by_the_job: Decimal
    a_day: Decimal
    """The mean of the last seven days of what is paid by the job."""

    @property
    def total(self) -> Decimal:
        return self.billed + self.by_the_hour + self.by_the_job


def forecast(now: datetime, billed: Decimal, running: Iterable[Running], jobs_of_last_days: Decimal) -> Forecast:
    """Of the month that `now` is in: `billed` are its bills so far, `jobs_of_last_days` those of jobs in the last seven days."""
    ends = month_end(now)
    by_the_hour = sum((one.hourly * _hours(ends - one.billed_until) for one in running), NOTHING)
    a_day = jobs_of_last_days / PACE_DAYS
    by_the_job = a_day * _hours(ends - now) / 24
    parts = {"billed": billed, "by_the_hour": by_the_hour, "by_the_job": by_the_job, "a_day": a_day}
    month = f"{now.astimezone(UTC):%Y-%m}"
    return Forecast(month=month, **{name: rounded(part) for name, part in parts.items()})


def month_end(now: datetime) -> datetime:
    """The first moment of the next month, in UTC."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _hours(length: timedelta) -> Decimal:
    return max(Decimal(length // timedelta(microseconds=1)) / (_HOUR // timedelta(microseconds=1)), NOTHING)
