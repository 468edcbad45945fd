"""Which format a dataset has, told from its first examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trainmaster.datasets.formats import Detection, Format
from trainmaster.datasets.shapes.signatures import SIGNATURES, is_turn, looks_like

__all__ = ["detect", "is_turn", "looks_like"]

_UNSURE = 0.5
"""An object of a shape nobody knows is jsonl because nothing else fits, and may be something else misspelt."""
_CONCLUSIVE = frozenset({Format.KTO, Format.DPO, Format.RLHF, Format.UNNATURAL})
"""Nothing else has their keys, whatever stands beside them."""
_LESS_SURE = 0.9
"""The same examples could pass for another format that is less specific."""


def detect(examples: Sequence[Any], *, names: Sequence[str] | None = None) -> Detection:
    """The format most of these examples have (the first hundred are enough), why, and how sure that is.

    Confidence is the share of the examples that have the keys of the format, less where they could pass for another format as
    well. `names`, the columns of a table, are looked at where there are no examples. Any value will do for an example.
    """
    if not examples and names:
        row = dict.fromkeys(names, "")
        fits = looks_like(row) or Format.JSONL
        return Detection(fits, f"no examples; the columns are {SIGNATURES[fits](row)}", _UNSURE)
    votes = Counter(filter(None, map(looks_like, examples)))
    if not votes:
        reason = f"none of {len(examples)} examples is an object" if examples else "there are no examples to tell by"
        return Detection(Format.JSONL, reason, 0.0)
    found = max(SIGNATURES, key=lambda one: votes[one])
    of_it = [example for example in examples if looks_like(example) is found]
    seen = Counter(filter(None, map(SIGNATURES[found], of_it)))
    could_be = _also(of_it, found)
    share = votes[found] / len(examples)
    sure = _UNSURE if found is Format.JSONL else _LESS_SURE if could_be else 1.0
    return Detection(found, _reason(seen.most_common(1)[0][0], votes, found, len(examples), could_be), share * sure)


def _reason(what: str, votes: Counter[Format], found: Format, total: int, could_be: Sequence[Format]) -> str:
    verb = "are" if what.startswith("lists") else "has" if total == 1 else "have"
    reason = f"{votes[found]} of {total} example{'s'[: total > 1]} {verb} {what}"
    if could_be:
        reason += f", which goes before what would make {'it' if total == 1 else 'them'} {' or '.join(could_be)}"
    others = [f"{count} {other}" for other, count in votes.most_common() if other is not found]
    if others:
        reason += f"; others look like {', '.join(others)}"
    return reason


def _also(examples: Sequence[Any], found: Format) -> list[Format]:
    """The formats named after this one that most of these examples would have, were it not for this one."""
    if found in _CONCLUSIVE:
        return []
    if found is Format.RAW_TEXT:
        beside = sum(len(example) > 1 for example in examples)
        return [Format.JSONL] if 2 * beside > len(examples) else []
    known = list(SIGNATURES)
    rivals = known[known.index(found) + 1 : known.index(Format.JSONL)]
    return [
        rival
        for rival in rivals
        if 2 * sum(SIGNATURES[rival](example) is not None for example in examples) > len(examples)
    ]
