"""docs/reference/events.md: what Trainmaster tells Prefect, for automations of your own."""

from __future__ import annotations

from docs.generate.markdown import code, page, prose, table
from trainmaster.events import EVENTS

_ABOUT = """\
What Prefect is told as an event, whichever flow noticed it. `trainmaster setup` makes notifications of them; an automation of your own can
do anything else: `expect` the name, in which `*` stands for what follows. Each is sent once: the same thing noticed again has the same id,
and Prefect keeps it once. Amounts are text in US dollars, times are ISO 8601 in UTC; `sentence` says all of it for people. None holds a
secret or an address that lets anybody in."""


def reference() -> str:
    """The page."""
    listed = table(
        ["event", "sent when", "about"], [[code(one.name), prose(one.when), code(one.resource)] for one in EVENTS]
    )
    sections = [
        f"## {one.name}\n\n{prose(one.when)}\n\n"
        + table(["payload", "what"], [[code(name), what] for name, what in one.payload.items()])
        for one in EVENTS
    ]
    return page("Events", _ABOUT, listed, *sections)
