"""What there should be against what there is and what was left here the last time: the steps of a set-up, as a list of small values.

A fact that is neither what it should be nor what a set-up left was changed by hand, and stays as it is until it is reset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

Facts = Mapping[str, Any]
"""What is held of one thing, by name; JSON values."""

DIGITS = 6
"""Of each fact's fingerprint: enough to tell a change by hand from none, few enough that all fit into a variable of Prefect's."""


class Action(StrEnum):
    """What a step does."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    REMOVE = "remove"


@dataclass(frozen=True)
class Found:
    """A thing that is there. `ours` is one that a set-up made, of whichever version, and may remove; `notes` tell what a person did with it.

    Facts that are `outdated` nobody changed by hand: what they speak of is gone.
    """

    facts: Facts
    ours: bool = False
    notes: tuple[str, ...] = ()
    outdated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Step:
    """One thing, and what is done with it: `changed` facts are set, those `kept` were changed by hand and stay."""

    action: Action
    kind: str
    name: str
    wanted: Facts = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def does_something(self) -> bool:
        """Whether the server is another one after it."""
        return self.action is not Action.UNCHANGED


def steps(
    kind: str,
    wanted: Mapping[str, Facts],
    found: Mapping[str, Found],
    left: Mapping[str, str],
    *,
    enforced: frozenset[str] = frozenset(),
    reset: bool = False,
) -> list[Step]:
    """A step for each thing of a kind, those to be removed last. `left` are the records of the last set-up: what it made and is not
    wanted any more goes.

    Facts that are `enforced` are set whoever changed them; with `reset` all are.
    """
    known = []
    for name, facts in wanted.items():
        step = Step(Action.CREATE, kind, name, facts)
        if name in found:
            step = _towards(step, found[name], left.get(name, ""), frozenset(facts) if reset else enforced)
        known.append(step)
    stale = [
        Step(Action.REMOVE, kind, name, notes=there.notes)
        for name, there in found.items()
        if name not in wanted and (there.ours or name in left)
    ]
    return known + stale


def _towards(step: Step, there: Found, left: str, enforced: frozenset[str]) -> Step:
    was_left = _read(left, step.wanted)
    differing = [fact for fact in sorted(step.wanted) if there.facts.get(fact) != step.wanted[fact]]
    kept = tuple(
        fact
        for fact in differing
        if fact not in enforced | there.outdated
        and fact in was_left
        and was_left[fact] != _digest(there.facts.get(fact))
    )
    changed = tuple(fact for fact in differing if fact not in kept)
    action = Action.UPDATE if changed else Action.UNCHANGED
    return replace(step, action=action, changed=changed, kept=kept, notes=there.notes)


def record(step: Step, left: str) -> str:
    """What to keep of a thing once its step is done. Of facts that were kept, what was kept of them before."""
    was_left = _read(left, step.wanted)
    return "".join(
        was_left[fact] if fact in step.kept else _digest(value) for fact, value in sorted(step.wanted.items())
    )


def _read(left: str, facts: Facts) -> Mapping[str, str]:
    """By fact. Nothing of a record that another version of Trainmaster left, with other facts."""
    if len(left) != DIGITS * len(facts):
        return {}
    return {fact: left[DIGITS * n : DIGITS * (n + 1)] for n, fact in enumerate(sorted(facts))}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]
