"""Whether policies allow something, as IAM decides: a Deny wins, then an Allow, else it is denied. Pure.

The rules are those of "Policy evaluation logic" and "IAM JSON policy elements" in AWS's IAM User Guide. What is not
understood here (an operator, a policy variable, NotPrincipal) is refused and never taken for met or unmet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Context = Mapping[str, tuple[str, ...]]
"""Condition keys in lower case, each with its values; one that a call does not have is left out."""


class NotUnderstoodError(ValueError):
    """Raised for a policy that says what is not evaluated here."""


@dataclass(frozen=True)
class Asked:
    """One permission a call needs: an action, such as `s3:GetObject`, on one resource."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)

    def __str__(self) -> str:
        keys = "".join(f" {name}={','.join(values)}" for name, values in sorted(self.context.items()))
        return f"{self.action} on {self.resource}{keys}"


@dataclass(frozen=True)
class Statement:
    """One statement of a policy. Raises NotUnderstoodError when it has elements that are not evaluated here."""

    sid: str
    effect: str
    said: Mapping[str, Any]

    def __post_init__(self) -> None:
        unknown = self.said.keys() - {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
        if unknown or self.effect not in ("Allow", "Deny"):
            raise NotUnderstoodError(f"Statement {self.sid} says {sorted(unknown) or self.effect}.")

    def concerns(self, asked: Asked) -> bool:
        """Whether it speaks of this, whatever its effect. Raises NotUnderstoodError when, of this action, that cannot be told."""
        if not self._names("Action", asked.action.lower(), str.lower):
            return False
        self._require_understood()
        conditions = list(self._conditions())
        return self._names("Resource", asked.resource, str) and all(
            _is_met(operator, keys, asked.context) for operator, keys in conditions
        )

    def _require_understood(self) -> None:
        said = [*self._given("Resource"), *self._given("NotResource")]
        for operator, keys in self._conditions():
            _test(operator)
            said += [value for values in keys.values() for value in values]
        if any("${" in one for one in said):
            raise NotUnderstoodError(f"Statement {self.sid} has a policy variable.")

    def actions(self) -> tuple[str, ...]:
        """Those it lists."""
        return tuple(self._given("Action"))

    def _names(self, element: str, value: str, fold: Callable[[str], str]) -> bool:
        inverted = f"Not{element}" in self.said
        patterns = self._given(f"Not{element}" if inverted else element)
        return inverted != any(is_like(value, fold(pattern)) for pattern in patterns)

    def _given(self, element: str) -> list[str]:
        return _listed(self.said.get(element, []))

    def _conditions(self) -> Iterable[tuple[str, dict[str, list[str]]]]:
        for operator, keys in self.said.get("Condition", {}).items():
            yield operator, {key.lower(): [_text(value) for value in _listed(values)] for key, values in keys.items()}


@dataclass(frozen=True)
class Decision:
    """What was decided: `by` are the Sids of all statements that say so; none for what no statement speaks of."""

    allowed: bool
    by: tuple[str, ...]

    @property
    def word(self) -> str:
        """As IAM's simulation says it."""
        return "allowed" if self.allowed else "explicitDeny" if self.by else "implicitDeny"


def statements_of(document: Mapping[str, Any]) -> list[Statement]:
    """Those of a policy document. One without a Sid is called by its number."""
    given = _listed(document["Statement"])
    return [Statement(one.get("Sid", f"#{number}"), one["Effect"], one) for number, one in enumerate(given)]


def decide(statements: Sequence[Statement], asked: Asked) -> Decision:
    """Whether all the policies of a caller together allow it."""
    speaking = [statement for statement in statements if statement.concerns(asked)]
    denied = tuple(statement.sid for statement in speaking if statement.effect == "Deny")
    if denied:
        return Decision(False, denied)
    allowed = tuple(statement.sid for statement in speaking)
    return Decision(bool(allowed), allowed)


def is_like(value: str, pattern: str) -> bool:
    """IAM's own patterns: `*` is any characters, `?` one, and nothing else is special."""
    return _compiled(pattern).fullmatch(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


def _arn_is_like(value: str, pattern: str) -> bool:
    """Part by part: no `*` reaches over a colon, but in the last part."""
    values, patterns = value.split(":", 5), pattern.split(":", 5)
    return len(values) == len(patterns) == 6 and all(map(is_like, values, patterns))


def _equals(value: str, wanted: str) -> bool:
    return value == wanted


def _equals_ignoring_case(value: str, wanted: str) -> bool:
    return value.lower() == wanted.lower()


def _not(test: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    return lambda value, wanted: not test(value, wanted)


_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": _equals_ignoring_case,
    "StringLike": is_like,
    "ArnEquals": _arn_is_like,
    "ArnLike": _arn_is_like,
    "Bool": _equals_ignoring_case,
}
_INVERTED = {
    name: _not(_TESTS[name.replace("Not", "", 1)])
    for name in ("StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotEquals", "ArnNotLike")
}
_SETS = ("ForAllValues:", "ForAnyValue:")


def _test(operator: str) -> tuple[Callable[[str, str], bool] | None, bool]:
    """How one value is compared (None for Null), and whether all of what is wanted must be passed rather than one."""
    for over in _SETS:
        operator = operator.removeprefix(over)
    if operator == "Null":
        return None, False
    name = operator.removesuffix("IfExists")
    if name in _TESTS:
        return _TESTS[name], False
    if name in _INVERTED:
        return _INVERTED[name], True
    raise NotUnderstoodError(f"The condition operator {operator} is not evaluated here.")


def _is_met(operator: str, keys: Mapping[str, Sequence[str]], context: Context) -> bool:
    test, of_all = _test(operator)
    for key, wanted in keys.items():
        values = context.get(key)
        if test is None:
            if (values is None) != (wanted[0].lower() == "true"):
                return False
            continue
        if values is None:
            # A key that is not there meets what is inverted, what says IfExists, and what is said of all of none.
            if not (of_all or operator.endswith("IfExists") or operator.startswith("ForAllValues:")):
                return False
            continue
        passed = [(all if of_all else any)(test(value, one) for one in wanted) for value in values]
        if not (any if operator.startswith("ForAnyValue:") else all)(passed):
            return False
    return True


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
