"""Who follows a job: a flow run that lives, nobody, or nobody any more because all who did were cancelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from trainmaster.catalog.deployments import Job

States = Callable[[Sequence[str]], Mapping[str, str]]
"""From ids of flow runs to the types of their states, RUNNING for example; without those nobody knows of."""
Following = Literal["followed", "left", "cancelled"]

ALIVE = frozenset({"SCHEDULED", "PENDING", "RUNNING", "PAUSED"})
CANCELLED = frozenset({"CANCELLED", "CANCELLING"})


def no_states(_runs: Sequence[str]) -> Mapping[str, str]:
    """Where no flow runs are known: nobody was cancelled."""
    return {}


def following(job: Job, states: Mapping[str, str]) -> Following:
    """Pure. A run that crashed, or that nobody knows of any more, cancels nothing: its job goes on and is left to the sweep."""
    if job.handed_over or not job.runs:
        return "left"
    of_runs = [states.get(run, "") for run in job.runs]
    if ALIVE & set(of_runs):
        return "followed"
    return "cancelled" if CANCELLED.issuperset(of_runs) else "left"
