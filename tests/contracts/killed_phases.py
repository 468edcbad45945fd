"""A phase after the copy in a process that kills itself at the step it is told, as an out-of-memory killer would.

A step is a write to the catalogue or a store: each counts when it is about to begin and when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from killed_work import Death
from library_shelves import Shelves

from trainmaster.migration import returning
from trainmaster.migration.promoting import promote_datasets
from trainmaster.migration.pruning import prune_datasets
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.rolling_back import roll_back_datasets
from trainmaster.storage.removing import sweep

PHASES: Mapping[str, Callable[..., Any]] = {
    "promote": promote_datasets,
    "prune": prune_datasets,
    "rollback": roll_back_datasets,
}
STEPS = {
    "claim", "release", "add_copy", "delete", "put", "withdraw", "promote", "roll_back", "verified", "damaged", "hindered",
}  # fmt: skip

MOST_STEPS = 60
KilledAt = Callable[[Shelves, MigrateDatasetsRequest, int], bool]
"""Carries out a phase that dies at a step; whether it did, having had so many."""


class Mortal:
    """Something of the product whose steps are counted."""

    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death = inner, death

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name in {"at", "home"}:
            return lambda *args: Mortal(real(*args), self._death)
        return counted(real, self._death) if name in STEPS else real


def counted(real: Callable[..., Any], death: Death) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        death.step()
        answer = real(*args, **kwargs)
        death.step()
        return answer

    return call


@dataclass(frozen=True)
class Phase:
    """Carried out to its end when it has fewer steps than `dies_at`. Without a request it is the sweep."""

    environment: Mapping[str, str]
    folder: Path
    user_id: UUID
    request: MigrateDatasetsRequest | None
    dies_at: int


def carry_out(phase: Phase) -> None:
    shelves, death = Shelves(phase.environment, phase.folder, phase.user_id), Death(phase.dies_at)
    catalogue = shelves.catalogue
    parts: dict[str, Any] = {
        name: Mortal(getattr(catalogue, name), death) for name in ("datasets", "pending", "migrations")
    }
    stores: Any = Mortal(shelves.library.stores, death)
    library = replace(shelves.library, catalogue=replace(catalogue, **parts), stores=stores)
    returning.retake = counted(returning.retake, death)
    if phase.request:
        PHASES[phase.request.phase](library, phase.request, by="who died")
    else:
        sweep(library)
