"""Domains, user profiles, spaces and apps of SageMaker: found, made and removed, each safely by many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.clients import renew
from trainmaster.aws.failures import code_of, is_taken
from trainmaster.aws.polling import Patience, answers
from trainmaster.errors import WaitTimedOutError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.studio.plan import SETTLING, Found

_SEEN_WITHIN = 60.0
"""Seconds after which AWS tells everybody of what was made; later it is somebody else's doing that it is not there."""


@dataclass(frozen=True)
class Part:
    """One thing of AWS's by the name that was chosen for it."""

    noun: str
    name: str
    find: Callable[[], Found]

    def __str__(self) -> str:
        return f"{self.noun} {self.name}"


def found(describe: Callable[..., Mapping[str, Any]], **names: str) -> Found:
    """What AWS says of it; None when there is no such thing. Raises botocore's errors."""
    try:
        described = describe(**names)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    return None if described["Status"] == "Deleted" else described


def is_gone(error: ClientError) -> bool:
    """Whether there is no such domain, profile, space or app."""
    return code_of(error) in ("ResourceNotFound", "ResourceNotFoundException")


def ensured(
    desk: Desk, part: Part, create: Callable[[], Any], *, anew: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """In service, made when it was not there, or in a status of `anew`; of many that make it at once, one does.

    Raises WorkspaceFailedError, WaitTimedOutError.
    """
    there = settled(desk, part)
    if there is None or there["Status"] in anew:
        try:
            create()
        except ClientError as error:
            if not is_taken(error):
                raise
        there = settled(desk, part, just_made=True)
    return _in_service(part, there)


def updated(desk: Desk, part: Part, update: Callable[[], Any]) -> Mapping[str, Any]:
    """In service again, as it was changed by us or, at the same moment, by another. Raises as `ensured`."""
    try:
        update()
    except ClientError as error:
        if not is_taken(error):
            raise
    return _in_service(part, settled(desk, part))


def _in_service(part: Part, there: Found) -> Mapping[str, Any]:
    if there is None:
        raise WorkspaceFailedError(f"The {part} was deleted while it was being made. Try again.")
    if there["Status"] in ("Failed", "Delete_Failed"):
        why = there.get("FailureReason") or "AWS gave no reason"
        raise WorkspaceFailedError(
            f"The {part} is {there['Status']}: {why.rstrip('.')}. Try again; if it fails still, delete it first."
        )
    return there


def settled(desk: Desk, part: Part, *, just_made: bool = False) -> Found:
    """As AWS describes it once it changes no more; None when it is not there. Raises WaitTimedOutError."""
    polled = polls(desk, part.find)
    for seconds, there in polled:
        if there is None and just_made and seconds < _SEEN_WITHIN:
            continue
        if there is None or there["Status"] not in SETTLING:
            return there
    raise WaitTimedOutError(f"The {part} was still changing after {desk.settings.workspace_timeout_seconds:g} s.")


def removed(desk: Desk, part: Part, delete: Callable[[], Any], *, nothing: frozenset[str] = frozenset()) -> None:
    """Gone, or in a status of `nothing`, and AWS has said so. Raises WorkspaceFailedError where it could not, WaitTimedOutError."""
    there = settled(desk, part)
    if there is None or there["Status"] in nothing:
        return
    try:
        delete()
    except ClientError as error:
        if not (is_gone(error) or settled(desk, part) is None):
            raise
    there = settled(desk, part)
    if there is not None:
        why = there.get("FailureReason") or f"it is {there['Status']}"
        raise WorkspaceFailedError(f"The {part} could not be deleted: {why}. Try again.")


def polls(desk: Desk, ask: Callable[[], Found]) -> Iterator[tuple[float, Found]]:
    """Answers of AWS with the seconds spent on it so far, at most for as long as a workspace may take."""
    patience = patience_of(desk)
    for number, answer in enumerate(answers(ask, patience, renew=lambda: renew(desk.client))):
        yield number * patience.poll_seconds, answer


def patience_of(desk: Desk) -> Patience:
    """A workspace starts within minutes: it is asked for more often than a training job."""
    settings = desk.settings
    return Patience(min(settings.poll_seconds, 5.0), settings.outage_seconds, settings.workspace_timeout_seconds)
