"""Requests with an Idempotency-Key: sent again, they are answered what they were answered first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Header
from pydantic import BaseModel

from trainmaster.catalog.idempotency import IdempotencyKeys, KeptAnswer
from trainmaster.errors import KeyReusedError, RefusedError

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of yours, a UUID say, one for each thing that is wanted: the same request sent again with it, within"
        " 24 hours, is answered the same, and another request with it is refused. Keys are each user's own.",
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]
REPLAYED_HEADER = "Idempotent-Replayed"


@dataclass(frozen=True)
class Answered:
    """`was_kept` when it was answered before."""

    answer: KeptAnswer
    was_kept: bool = False


def answer_once(
    keys: IdempotencyKeys, user_id: UUID, key: str | None, asked: BaseModel, work: Callable[[], KeptAnswer]
) -> Answered:
    """What `work` comes to, or came to for the same key and request. Without a key it is done.

    `work` must be safe to repeat and to race: it is done again where a process died before its answer was kept, and by each of
    several that come at once, who are all answered the same. What it refuses frees the key. Raises KeyReusedError.
    """
    if key is None:
        return Answered(work())
    fingerprint = _fingerprint(asked)
    known = keys.begin(user_id, key, fingerprint)
    if known.fingerprint != fingerprint:
        raise KeyReusedError(
            "This Idempotency-Key came with another request within the last 24 hours, and nothing was done. Send the same request"
            " as then, or another key."
        )
    if known.answer:
        return Answered(known.answer, was_kept=True)
    try:
        answer = work()
    except RefusedError:
        keys.forget(user_id, key, fingerprint)
        raise
    kept = keys.keep(user_id, key, fingerprint, answer)
    return Answered(kept, was_kept=kept != answer)


def _fingerprint(asked: BaseModel) -> str:
    said = [type(asked).__name__, asked.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
