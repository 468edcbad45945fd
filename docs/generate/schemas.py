"""Fields of a JSON schema, as forms and requests have them, as a table."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generate.markdown import code, prose, table
from trainmaster.schema_words import Schema, rows_of


def fields(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """A table of what it has, in the order in which it asks."""
    rows = rows_of(schema, definitions)
    return table(
        ["field", "what", "takes", "without it"],
        [[code(name), prose(said), takes, without] for name, said, takes, without in rows],
    )
