"""Conversations: chatml and sharegpt."""

from __future__ import annotations

from typing import Any

from trainmaster.datasets.formats import Canonical, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.shapes.faults import Faults
from trainmaster.datasets.shapes.lengths import lengths
from trainmaster.datasets.shapes.rules import Rules, conversation, new_tuple, unclaimed
from trainmaster.datasets.shapes.turns import (
    ALL_ROLES,
    CHATML_ROLES,
    Message,
    check_order,
    in_order,
    read_turns,
    roles_of,
)  # fmt: skip

SHORT = 64
"""Turns up to which an order of roles is remembered."""


class ChatML(Rules):
    """`{"messages": [{role, content}, …]}` or the bare list. Canonical is the object itself."""

    format = Format.CHATML
    wanted = "an object with messages, or a list of {role, content}"

    def canonical(self, example: Any) -> Canonical:
        return _plain_messages(example) or super().canonical(example)

    def read(self, example: Any, faults: Faults) -> Canonical:
        if isinstance(example, list):
            messages = read_turns(example, "", faults, CHATML_ROLES)
            check_order(messages, "", faults)
            return conversation(messages, {}, faults)
        example = self.fields(example, faults)
        if faults:
            return conversation([], {}, faults)
        if example.get("messages") is None:
            faults.missing(example, "messages", "a list of {role, content}")
            return conversation([], {}, faults)
        messages = read_turns(example["messages"], "messages", faults, CHATML_ROLES)
        check_order(messages, "messages", faults)
        if faults:
            return conversation(messages, {}, faults)
        if any(new is not old for new, old in zip(messages, example["messages"], strict=True)):
            example = {**example, "messages": messages}
        return Canonical(example, *lengths(messages), roles_of(messages))


class ShareGPT(Rules):
    """`{"conversations": [{from, value}, …]}`, also of {role, content} or {input, output}, also a bare list.

    `system` may hold the system's turn.
    """

    format = Format.SHAREGPT
    wanted = "an object with conversations, a list of {from, value}"
    _KEYS = ("conversations", "conversation", "messages")

    def canonical(self, example: Any) -> Canonical:
        return _plain_conversations(example) or super().canonical(example)

    def read(self, example: Any, faults: Faults) -> Canonical:
        if isinstance(example, list):
            messages = read_turns(example, "", faults)
            check_order(messages, "", faults)
            return conversation(messages, {}, faults)
        example = self.fields(example, faults)
        if faults:
            return conversation([], {}, faults)
        key = next((key for key in self._KEYS if example.get(key) is not None), None)
        if key is None:
            faults.missing(example, self._KEYS[0], "a list of {from, value}")
            return conversation([], {}, faults)
        turns = example[key]
        if isinstance(turns, list) and turns and _is_pair(turns[0]):
            messages = [
                message for at, pair in enumerate(turns) for message in _read_pair(pair, f"{key}[{at}]", faults)
            ]
        else:
            messages = read_turns(turns, key, faults)
            check_order(messages, key, faults)
        messages = with_system(example, messages, key, faults)
        return conversation(messages, {k: v for k, v in example.items() if k not in (key, "system")}, faults)


def with_system(example: dict[str, Any], messages: list[Message], key: str, faults: Faults) -> list[Message]:
    """The messages of this key after the turn that `system` beside them is, if there is one."""
    system = faults.optional_text(example, "system", "system")
    if not system:
        return messages
    if system.isspace():
        faults.add(ProblemKind.EMPTY_TEXT, "system", "only white space", "text, or nothing")
    if messages and messages[0]["role"] in ("system", "developer"):
        found = f"system beside {key}[0], which is a {messages[0]['role']} turn"
        faults.add(ProblemKind.CONFLICTING_KEYS, "system", found, "one of them")
    return [{"role": "system", "content": system}, *messages]


def _is_pair(turn: Any) -> bool:
    return isinstance(turn, dict) and "input" in turn and "output" in turn and turn.keys().isdisjoint(("role", "from"))


def _read_pair(pair: Any, place: str, faults: Faults) -> list[Message]:
    """The user's turn and the assistant's that {input, output} holds; whatever else it holds stays with the assistant's."""
    if not isinstance(pair, dict):
        faults.wrong_type(place, pair, "an object with input and output")
        return []
    asked = faults.text(pair, "input", f"{place}.input", "the user's turn, as text that is not empty")
    answered = faults.text(pair, "output", f"{place}.output", "the assistant's turn, as text that is not empty")
    answer = {"role": "assistant", "content": answered}
    others = {key: value for key, value in pair.items() if key not in ("input", "output")}
    return [{"role": "user", "content": asked}, answer | unclaimed(others, answer.keys(), faults, f"{place}.")]


def _plain_messages(example: Any) -> Canonical | None:
    """The canonical of an object whose messages have a role, a text and nothing else. All in one loop: it is most datasets."""
    try:
        messages = example["messages"]
        if type(messages) is not list or len(messages) > SHORT:
            return None
        roles = []
        asked = answered = 0
        for message in messages:
            content = message["content"]
            if len(message) != 2 or type(content) is not str or not content or content.isspace():
                return None
            role = CHATML_ROLES[message["role"]]
            roles.append(role)
            if role == "assistant":
                answered += len(content)
            else:
                asked += len(content)
    except (KeyError, TypeError):
        return None
    order = tuple(roles)
    return new_tuple(Canonical, (example, asked, answered, order, ())) if in_order(order) else None


def _plain_conversations(example: Any) -> Canonical | None:
    """The canonical of an object whose conversations are of {from, value} and nothing else, without a system turn beside them."""
    try:
        turns = example["conversations"]
        if type(turns) is not list or len(turns) > SHORT or "system" in example or "messages" in example:
            return None
        messages = []
        roles = []
        asked = answered = 0
        for turn in turns:
            content = turn["value"]
            if len(turn) != 2 or type(content) is not str or not content or content.isspace():
                return None
            role = ALL_ROLES[turn["from"]]
            roles.append(role)
            messages.append({"role": role, "content": content})
            if role == "assistant":
                answered += len(content)
            else:
                asked += len(content)
    except (KeyError, TypeError):
        return None
    order = tuple(roles)
    if not in_order(order):
        return None
    canonical = {"messages": messages}
    if len(example) > 1:
        canonical.update(example)
        del canonical["conversations"]
    return new_tuple(Canonical, (canonical, asked, answered, order, ()))
