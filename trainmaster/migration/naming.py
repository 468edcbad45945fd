"""Whether what a request names is there: a run about nothing would look like one that did all it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from trainmaster.catalog.candidates import Selection
from trainmaster.errors import DatasetMissingError
from trainmaster.storage.library import Library

_NAMED = 5


def refuse_unknown(library: Library, user_id: str, dataset_ids: Sequence[str]) -> None:
    """Raises DatasetMissingError for ids that are no dataset of the user, or of nobody when none is given, and for a user without any."""
    user, ids = UUID(user_id) if user_id else None, list(dict.fromkeys(UUID(one) for one in dataset_ids))
    whose = f" of user {user}" if user else ""
    if ids:
        selection = Selection(user_id=user, dataset_ids=ids)
        there = {one.id for one in library.catalogue.migrations.candidates(selection, limit=len(ids))}
        if missing := [str(one) for one in ids if one not in there]:
            more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
            raise DatasetMissingError(
                f"No dataset{whose} has the id {', '.join(missing[:_NAMED])}{more}: {len(missing):,} of {len(ids):,} ids asked for."
                " Nothing was done. `trainmaster datasets list` shows the ids there are."
            )
    elif user and not library.catalogue.migrations.candidates(Selection(user_id=user), limit=1):
        raise DatasetMissingError(f"User {user} has no dataset. Nothing was done. Look whether the id is right.")
