"""Finding a user's job by what people type: its name, the beginning of it, or its deployment's id."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from uuid import UUID

from trainmaster.catalog.deployments import LARGEST_PAGE, Deployment, Deployments
from trainmaster.errors import UnknownChoiceError

LOOKED_THROUGH = 2_000
"""Of a user's jobs, the newest, when there is none of the very name."""
_NAMED = 5


def find_job(deployments: Deployments, user_id: UUID, text: str) -> Deployment:
    """The user's job of that name or id, or the only one whose name begins so. Another user's is as missing as none.

    Raises UnknownChoiceError, which names those that were nearly meant.
    """
    if found := deployments.find(text, user_id):
        return found
    jobs = list(islice(_newest(deployments, user_id), LOOKED_THROUGH))
    begun = [job for job in jobs if job.deployment_id.startswith(text) or str(job.id) == text.lower()]
    names = list(dict.fromkeys(job.deployment_id for job in begun))
    if text and len(names) == 1:
        return begun[0]
    if text and names:
        raise UnknownChoiceError(f"{text!r} begins the names of {len(names)} jobs: {_listed(names)}. Type more of one.")
    near = get_close_matches(text, [job.deployment_id for job in jobs], _NAMED, cutoff=0.5)
    known = near or [job.deployment_id for job in jobs]
    said = f" {'Near it' if near else 'The newest'}: {_listed(known)}." if known else ""
    raise UnknownChoiceError(
        f"User {user_id} has no training job {text!r}.{said} `trainmaster train list` shows {'them' if known else 'none'}."
    )


def _newest(deployments: Deployments, user_id: UUID) -> Iterator[Deployment]:
    cursor: str | None = None
    while True:
        page = deployments.page(user_id, limit=LARGEST_PAGE, cursor=cursor)
        yield from page.deployments
        if (cursor := page.next_cursor) is None:
            return


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
