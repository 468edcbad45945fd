"""The page of a run that failed: what happened, what it cost as far as the error knows, what now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainmaster.datasets.showing.markdown import plain
from trainmaster.errors import PolicyRefusedError, RefusedError, TrainingRefusedError, TrainmasterError
from trainmaster.reporting.page import lines, page, table
from trainmaster.training.secrets import hidden

_REFUSED = (
    "What is refused was not begun, and costs nothing. Correct what is said above and start it again: whatever is there already is"
    " found."
)
_FAILED = "What was done before is kept. Start it again with the same request, and it goes on from there."
_UNFORESEEN = (
    "Nobody foresaw this. The run's log has all of it; retrying the run repeats nothing that was done. If it fails again the same"
    " way, report it with the run's id."
)


def failure_page(run: str, error: BaseException | None, message: str = "") -> str:
    """Markdown of what a run ended with; of a process that died, `message` is all there is. No secret of either is shown."""
    refused = isinstance(error, RefusedError)
    title = f"{run}: {'refused' if refused else 'failed'}"
    said = str(error) if isinstance(error, TrainmasterError) else message or str(error or "it died without a word")
    first, *others = hidden(said).splitlines() or [""]
    return page(title, first, _sections(error, others))


def _sections(error: BaseException | None, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    if isinstance(error, TrainingRefusedError):
        yield "What is wrong", table(("", "what", "what to do"), [(one.kind, one.message, one.remedy) for one in error.problems])  # fmt: skip
    elif isinstance(error, PolicyRefusedError):
        yield "Against the policy", "\n".join(f"- {plain(one.sentence())}" for one in error.violations)
    elif others:
        yield "All of it", lines(others)
    if isinstance(error, RefusedError):
        yield "What now", _REFUSED
    else:
        yield "What now", _FAILED if isinstance(error, TrainmasterError) else _UNFORESEEN
