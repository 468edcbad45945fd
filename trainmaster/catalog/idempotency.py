"""What was answered to requests that carried a key, so that the same request sent again is answered the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select, tuple_, update

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import idempotency_keys

KEPT = timedelta(hours=24)
_FORGOTTEN_AT_ONCE = 1_000


@dataclass(frozen=True)
class KeptAnswer:
    """An HTTP status and the body that went with it, to the byte."""

    status: int
    body: str


@dataclass(frozen=True)
class KnownKey:
    """`fingerprint` says of what request the key is; `answer` is None until one is kept."""

    fingerprint: str
    answer: KeptAnswer | None


class IdempotencyKeys:
    """Of all users, each key a user's own. Methods are transactions; see Database for what they raise.

    A key holds nobody up: whoever sends a request again while the first is carried out carries it out too, which has to be
    safe, and the first answer that is kept is everybody's. So nothing is left locked by a process that died.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, user_id: UUID, key: str, fingerprint: str) -> KnownKey:
        """What is known of a key; from now on it is of this request, where it was of none, or of one more than a day ago."""
        column = idempotency_keys.c
        with self._database.writing() as connection:
            now = self._database.now(connection)
            old = select(column.user_id, column.key).where(column.at < now - KEPT).limit(_FORGOTTEN_AT_ONCE)
            old = old.with_for_update(skip_locked=True)
            connection.execute(delete(idempotency_keys).where(tuple_(column.user_id, column.key).in_(old)))
            fresh = {"fingerprint": fingerprint, "at": now, "status": None, "answer": None}
            row = self._database.insert(idempotency_keys).values(user_id=user_id, key=key, **fresh)
            # One that is over and was not among those forgotten here, for there are many, begins anew.
            row = row.on_conflict_do_update(index_elements=["user_id", "key"], set_=fresh, where=column.at < now - KEPT)
            connection.execute(row)
            of_key = (column.user_id == user_id, column.key == key)
            found = connection.execute(select(idempotency_keys).where(*of_key)).one()
        answer = None if found.status is None else KeptAnswer(found.status, found.answer)
        return KnownKey(found.fingerprint, answer)

    def keep(self, user_id: UUID, key: str, fingerprint: str, answer: KeptAnswer) -> KeptAnswer:
        """The answer that everybody gets to this request: this one, or one that was kept before it."""
        column = idempotency_keys.c
        of_request = (column.user_id == user_id, column.key == key, column.fingerprint == fingerprint)
        with self._database.writing() as connection:
            unanswered = update(idempotency_keys).where(*of_request, column.status.is_(None))
            connection.execute(unanswered.values(status=answer.status, answer=answer.body))
            found = connection.execute(select(idempotency_keys).where(*of_request)).one_or_none()
        return answer if found is None else KeptAnswer(found.status, found.answer)

    def forget(self, user_id: UUID, key: str, fingerprint: str) -> None:
        """Free a key whose request was refused, so that nothing was done; one that was answered meanwhile stays."""
        column = idempotency_keys.c
        of_request = (column.user_id == user_id, column.key == key, column.fingerprint == fingerprint)
        with self._database.writing() as connection:
            connection.execute(delete(idempotency_keys).where(*of_request, column.status.is_(None)))
