"""What is asked for when a job is to be stopped, and what came of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.money import shown
from trainmaster.catalog.deployments import ENDED
from trainmaster.form import as_form
from trainmaster.training.leftovers import Leftovers, Listing
from trainmaster.training.seen import Seen

STOPPED = frozenset({"stopped", "cancelled"})


class StopRequest(BaseModel):
    """Which job, why, and who wants it."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    job: Annotated[
        str,
        Field(
            title="Job",
            description="Name of the training job, the beginning of it, or its deployment's id.",
            min_length=1,
            max_length=63,
        ),
    ]
    reason: Annotated[
        str,
        Field(title="Reason", description="Kept with the job, for whoever wonders.", min_length=1, max_length=500),
    ]
    user_id: Annotated[
        str,
        Field(
            title="User",
            description="Whose job it is (a UUID); empty for TRAINMASTER_USER_ID. Nobody stops another user's.",
            pattern=r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$",
        ),
    ] = ""


class StoppedJob(BaseModel):
    """A job that has ended: how, by whom and why, for how many US dollars (None: not known yet), and what it left in S3.

    `had_ended` is True when it had before anybody asked.
    """

    model_config = ConfigDict(frozen=True)

    job_name: str
    status: str
    had_ended: bool
    by: str = ""
    why: str = ""
    cost: Decimal | None = None
    left: Leftovers = Leftovers()

    @classmethod
    def of(cls, seen: Seen, *, had_ended: bool) -> Self:
        """From the job as it was seen last."""
        row, stop = seen.deployment, seen.deployment.job.stop
        return cls(
            job_name=row.deployment_id,
            status=row.status,
            had_ended=had_ended,
            by=stop.by if stop else "",
            why=stop.why if stop else row.error_message or "",
            cost=seen.cost,
            left=seen.left,
        )

    def sentence(self) -> str:
        cost = f" It cost {shown(self.cost)}." if self.cost is not None else ""
        if self.had_ended:
            return f"Training job {self.job_name} had ended already: {self.status}.{cost}"
        if self.status in STOPPED:
            return f"Training job {self.job_name} is {self.status}, by {self.by}: {self.why}.{cost}"
        if self.status in ENDED:
            return f"Training job {self.job_name} had {self.status} before it could be stopped.{cost}"
        return f"Training job {self.job_name} was not launched yet, and will not be: {self.by} stopped it ({self.why})."

    def table(self) -> list[dict[str, Any]]:
        """What it left."""
        return [*_rows("checkpoint", self.left.checkpoints), *_rows("artifact", self.left.artifacts)]


def _rows(what: str, listing: Listing) -> list[dict[str, Any]]:
    rows = [{"what": what, "object": key, "bytes": size} for key, size in listing.newest]
    more = listing.count - len(rows)
    return [*rows, {"what": what, "object": f"and {more} more", "bytes": None}] if more else rows
