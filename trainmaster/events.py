"""Every event that Prefect is told of: its name, when it is sent, and what it says. What sends one says no more and no less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """`*` in `name` and `resource` stands for what differs; `payload` gives each key its meaning."""

    name: str
    when: str
    resource: str
    payload: Mapping[str, str]


_SENTENCE = {"sentence": "all of it, for people"}

EVENTS = (
    Event(
        "trainmaster.budget.reached-*-percent",
        "50, 80, 90 or 100 % of a monthly limit are billed or reserved; once a month each",
        "trainmaster.budget.*",
        {
            "percent": "which of them",
            "limit": "the limit",
            "settled": "what of it is billed",
            "reserved": "what of it is reserved",
            **_SENTENCE,
        },
    ),
    Event(
        "trainmaster.budget.exhausted",
        "a job is stopped because its reservation pays for no more, or no budget has money for the next hours of what runs by the hour",
        "trainmaster.*",
        {"job": "the job, endpoint or workspace", **_SENTENCE},
    ),
    Event(
        "trainmaster.budget.approval-wanted",
        "a run over budget waits for somebody to approve or refuse it",
        "prefect.flow-run.*",
        {
            "job": "the training job it would launch",
            "worst_case": "what that may cost at worst",
            "url": "where it is answered: the run's page in the Prefect UI",
            **_SENTENCE,
        },
    ),
    Event(
        "trainmaster.endpoint.*",
        "an endpoint is idle, past its time or out of money: `warn` first, half an hour later `scale-down` or `remove`, as its deployment chose",
        "trainmaster.endpoint.*",
        {"reason": "idle, past its time, or out of money", **_SENTENCE},
    ),
    Event(
        "trainmaster.workspace.*",
        "a workspace is idle or out of money: `warn` first, half an hour later `stop`",
        "trainmaster.workspace.*",
        {"owner": "the user's id", "reason": "idle, or out of money", **_SENTENCE},
    ),
    Event(
        "trainmaster.drift",
        "what an endpoint is asked for has drifted from what its model was trained on; once a day for a model",
        "trainmaster.endpoint.*",
        {"endpoint": "its name", "features": "which of its features", **_SENTENCE},
    ),
    Event(
        "trainmaster.dataset.damaged",
        "a copy in S3 no longer has the bytes that were verified when it was made",
        "trainmaster.dataset.*",
        {"dataset": "the dataset's id", "reason": "what is wrong with the copy", "advice": "what to do about it"},
    ),
)
