"""docs/reference/errors.md: every kind of error, what it means, and how each door tells of it."""

from __future__ import annotations

from collections.abc import Iterator

from docs.generate.markdown import code, page, prose, table
from trainmaster import errors
from trainmaster.errors import RefusedError, TrainmasterError
from trainmaster.http_api.answers import STATUSES

_ABOUT = """\
Every error has a kind. Its message gives the subject, both numbers and the next step, and is the same whichever door it comes through:

- a **command** prints it on stderr and ends with 1 where it is a refusal, with 2 where it may work later; `--json` gives `error` and `message`;
- the **HTTP API** answers with the status below and `{"error": kind, "message": …}`, the kind without `Error`;
- a **flow run** ends as Failed, or as `Refused` where nothing was launched, with the message as its state's.

A refusal is not tried again, and nothing was launched or changed for it. Everything else may do later, with the same request."""


def reference() -> str:
    """The page."""
    return page("Errors", _ABOUT, table(["kind", "raised when", "refusal", "HTTP"], _rows(TrainmasterError, 0)))


def _rows(kind: type[TrainmasterError], depth: int) -> Iterator[list[str]]:
    status = next(code for each, code in STATUSES.items() if issubclass(kind, each))
    said = prose((kind.__doc__ or "").removeprefix("Raised when ").removeprefix("Raised "))
    refusal = "yes" if issubclass(kind, RefusedError) else ""
    yield ["&nbsp;&nbsp;" * depth + code(kind.__name__), said, refusal, str(status)]
    for inner in sorted(_below(kind), key=lambda each: list(vars(errors)).index(each.__name__)):
        yield from _rows(inner, depth + 1)


def _below(kind: type[TrainmasterError]) -> Iterator[type[TrainmasterError]]:
    return (each for each in kind.__subclasses__() if each.__module__ == errors.__name__)
