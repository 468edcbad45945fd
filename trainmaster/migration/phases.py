"""How a phase after the copy goes over the datasets of a request: page by page, within its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from trainmaster.catalog.candidates import Candidate
from trainmaster.migration.deadline import deadline_of, now
from trainmaster.migration.outcomes import Ending, Fate, PhaseResult, Tallied
from trainmaster.migration.planning import pages
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.rounds import Round
from trainmaster.migration.window import Window
from trainmaster.storage.library import Library

GROUP = 100
"""Datasets worked on until limits are looked at again."""

Rule = Callable[[Candidate], Fate | None]
Work = Callable[[Sequence[Candidate]], Iterator[Fate]]


def round_of(library: Library, request: MigrateDatasetsRequest, by: str, stop: threading.Event | None = None) -> Round:
    """Work as the request bounds it."""
    window = None if request.rehearsed else Window.of(request)
    return Round(
        library,
        by=by,
        rehearsed=request.rehearsed,
        megabytes_per_second=request.megabytes_per_second,
        max_gigabytes=request.max_gigabytes,
        until=deadline_of(now(), request.max_minutes, window),
        stop=stop,
    )


def carry_out(request: MigrateDatasetsRequest, round_: Round, rule: Rule, work: Work) -> PhaseResult:
    """`rule` says what becomes of a dataset without a store being asked, None of those that `work` is to do something for."""
    began, tallied = time.monotonic(), Tallied()
    ending = _go_over(request, round_, tallied, rule, work)
    seconds = time.monotonic() - began
    return tallied.result(request.phase, rehearsed=round_.rehearsed, seconds=seconds, ending=ending)


def _go_over(request: MigrateDatasetsRequest, round_: Round, tallied: Tallied, rule: Rule, work: Work) -> Ending:
    for page in pages(round_.library, request):
        ruled = [(candidate, rule(candidate)) for candidate in page]
        tallied.add(fate for _, fate in ruled if fate)
        waiting = iter([candidate for candidate, fate in ruled if fate is None])
        while group := list(islice(waiting, _room(request, tallied) or 1)):
            if left_off := _limit_reached(request, round_, tallied):
                return Ending(left_off=left_off)
            tallied.add(work(group))
            if ending := round_.ending:
                return ending
    return Ending()


def _room(request: MigrateDatasetsRequest, tallied: Tallied) -> int:
    return GROUP if request.limit is None else min(max(request.limit - tallied.worked, 0), GROUP)


def _limit_reached(request: MigrateDatasetsRequest, round_: Round, tallied: Tallied) -> str:
    """Why no more is begun now, if there is a reason."""
    window = Window.of(request)
    if _room(request, tallied) == 0:
        return f"{request.limit:,} datasets were asked for at most"
    if not round_.rehearsed and not window.is_open(now()):
        return f"the time window {window} is closed"
    return ""
