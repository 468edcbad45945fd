"""Turns of a conversation: whose they are, what is in them, and in which order they may come.

Turns are written `{role, content}` or `{from, value}`; read, they are messages: `{"role": …, "content": …}` with every other key
a turn had. A message is the turn itself where nothing had to be renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.shapes.faults import Faults, nearest, quoted, shown

Message = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
CHATML_ROLES: Mapping[str, str] = {role: role for role in ROLES}
ALL_ROLES: Mapping[str, str] = {
    **CHATML_ROLES,
    "human": "user", "prompter": "user",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "chatbot": "assistant", "model": "assistant",
    "ai": "assistant", "bing": "assistant", "bard": "assistant", "claude": "assistant",
    "function_call": "assistant", "function-call": "assistant", "tool_call": "assistant",
    "observation": "tool", "function_response": "tool", "function-response": "tool", "tool_response": "tool",
}  # fmt: skip
"""What people call a role → what it is in ChatML."""

_START, _CALL = "the beginning", "a tool call"
_MAY_FOLLOW: Mapping[str, tuple[str, ...]] = {
    _START: ("user",),
    "system": ("user",),
    "developer": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool", "function"),
    _CALL: ("tool", "function"),
    "tool": ("assistant", "tool", "function"),
    "function": ("assistant", "tool", "function"),
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_ANY_TEXT = "text that is not empty"
_TURN = "a turn: an object with role and content"


def read_turns(value: Any, place: str, faults: Faults, names: Mapping[str, str] = ALL_ROLES) -> list[Message]:
    """The messages of a list of turns. What is no message is left out, with a fault."""
    if not isinstance(value, list):
        faults.wrong_type(place, value, "a list of turns")
        return []
    if not value:
        faults.add(ProblemKind.EMPTY_LIST, place, "no turns", "at least a user's and an assistant's")
    messages = [read_turn(turn, f"{place}[{at}]", faults, names) for at, turn in enumerate(value)]
    _check_answers(messages, place, faults)
    return messages


def read_turn(turn: Any, place: str, faults: Faults, names: Mapping[str, str] = ALL_ROLES) -> Message:
    """The message a turn is; its role is "" when it cannot be told."""
    if not isinstance(turn, dict):
        faults.wrong_type(place, turn, _TURN)
        return {"role": ""}
    role_key, content_key = "role", "content"
    if "role" not in turn and ("from" in turn or "value" in turn) and names is ALL_ROLES:
        role_key, content_key = "from", "value"
        if "content" in turn:
            faults.add(ProblemKind.CONFLICTING_KEYS, f"{place}.content", "content beside from", "value alone")
    role = _read_role(turn, role_key, place, faults, names)
    content = _read_content(turn, content_key, role, place, faults)
    _check_others(turn, role, place, faults)
    if role_key == "role" and turn.get("role") == role and content is turn.get("content"):
        return turn
    message = {"role": role, "content": content}
    message.update((key, value) for key, value in turn.items() if key not in (role_key, content_key))
    return message


def check_order(
    messages: Sequence[Message], place: str, faults: Faults, *, after: str = _START, last: str = "assistant"
) -> None:
    """That turns alternate: a system turn first if at all, then the user's and the assistant's, tools' answers after calls.

    `after` is whose turn came before these; `last` whose the last must be ("user" stands for a tool's as well).
    """
    roles = [_CALL if message["role"] == "assistant" and _calls(message) else message["role"] for message in messages]
    for at, kind, found, wanted in _disorder(roles, after, last):
        faults.add(kind, f"{place}[{at}]", found, wanted)


@lru_cache(maxsize=1024)
def in_order(roles: tuple[str, ...]) -> bool:
    """Whether turns of these ChatML roles, without tool calls, are a conversation to train on.

    Remembered, for a dataset has few sequences of roles, many times each; ask of short ones only.
    """
    return bool(roles) and not any(_disorder(roles, _START, "assistant"))


def roles_of(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(CHATML_ROLES[message["role"]] for message in messages)


def _read_role(turn: Message, key: str, place: str, faults: Faults, names: Mapping[str, str]) -> str:
    place = f"{place}.{key}"
    name = turn.get(key)
    wanted = f"one of {', '.join(ROLES)}"
    if name is None:
        faults.missing(turn, place, wanted)
    elif not isinstance(name, str):
        faults.wrong_type(place, name, wanted)
    elif role := names.get(name):
        return role
    else:
        near = ALL_ROLES.get(name.strip().casefold()) or nearest(name, names)
        hint = f"; the nearest is {near}" if near else ""
        faults.add(ProblemKind.UNKNOWN_ROLE, place, quoted(name), wanted + hint)
    return ""


def _read_content(turn: Message, key: str, role: str, place: str, faults: Faults) -> Any:
    """The content as it is, except that the text of a part is always under `text`."""
    place = f"{place}.{key}"
    content = turn.get(key)
    if isinstance(content, list):
        return _read_parts(content, place, faults)
    if role == "assistant" and not content and isinstance(content, str | None) and _calls(turn):
        return content  # the call says it all
    if role in ("tool", "function") and isinstance(content, str):
        return content  # a tool may well have nothing to say
    faults.text(turn, key, place, _ANY_TEXT)
    return content


def _read_parts(parts: list[Any], place: str, faults: Faults) -> list[Any]:
    if not parts:
        faults.add(ProblemKind.EMPTY_LIST, place, "no parts", "text, or a list of parts with a type each")
    read = [_read_part(part, f"{place}[{at}]", faults) for at, part in enumerate(parts)]
    return parts if all(new is old for new, old in zip(read, parts, strict=True)) else read


def _read_part(part: Any, place: str, faults: Faults) -> Any:
    if not isinstance(part, dict):
        faults.wrong_type(place, part, "a part: an object with a type")
        return part
    if faults.text(part, "type", f"{place}.type", "text, image_url, input_audio or the like") not in _TEXT_PARTS:
        if not isinstance(part.get("text"), str | None):
            faults.wrong_type(f"{place}.text", part["text"], "text, or nothing")
        return part
    if part.get("text") is None and "value" in part:
        faults.text(part, "value", f"{place}.value", _ANY_TEXT)
        return {"text" if key == "value" else key: value for key, value in part.items() if key != "text"}
    faults.text(part, "text", f"{place}.text", _ANY_TEXT)
    return part


def _check_others(turn: Message, role: str, place: str, faults: Faults) -> None:
    """The keys that mean something to trainers; any other is kept as it is."""
    for key in ("name", "tool_call_id"):
        faults.optional_text(turn, key, f"{place}.{key}")
    weight = turn.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        faults.add(ProblemKind.WRONG_VALUE, f"{place}.weight", shown(weight), "0 (not trained on) or 1")
    for key in ("tool_calls", "function_call"):
        if turn.get(key) is None:
            continue
        if role not in ("assistant", ""):
            faults.add(ProblemKind.TOOL_CALL, f"{place}.{key}", f"{key} of the {role}", "them on the assistant's turns")
        elif key == "function_call":
            _check_call(turn[key], f"{place}.{key}", faults)
        elif not isinstance(turn[key], list):
            faults.wrong_type(f"{place}.{key}", turn[key], "a list of calls")
        else:
            for at, call in enumerate(turn[key]):
                _check_call(call, f"{place}.{key}[{at}]", faults)


def _check_call(call: Any, place: str, faults: Faults) -> None:
    if isinstance(call, dict) and call.get("function") is not None:
        faults.optional_text(call, "id", f"{place}.id")
        call, place = call["function"], f"{place}.function"
    if not isinstance(call, dict):
        faults.wrong_type(place, call, "a call: an object with name and arguments")
        return
    faults.text(call, "name", f"{place}.name", "the name of a function")
    if not isinstance(call.get("arguments"), str | dict | None):
        faults.wrong_type(f"{place}.arguments", call["arguments"], "an object, or one as JSON text")


def _check_answers(messages: Sequence[Message], place: str, faults: Faults) -> None:
    """That an answer with an id answers a call of that id, where the calls have ids."""
    ids: set[str] = set()
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            ids = {call["id"] for call in _calls(message) if isinstance(call, dict) and isinstance(call.get("id"), str)}
        answered = message.get("tool_call_id")
        if message["role"] == "tool" and ids and isinstance(answered, str) and answered not in ids:
            wanted = f"one of {', '.join(sorted(map(quoted, ids)))}"
            faults.add(ProblemKind.TOOL_CALL, f"{place}[{at}].tool_call_id", quoted(answered), wanted)


def _calls(message: Message) -> list[Any]:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return calls
    return [message["function_call"]] if message.get("function_call") else []


def _disorder(roles: Sequence[str], after: str, last: str) -> Iterator[tuple[int, ProblemKind, str, str]]:
    """What stands where it may not: (position, kind, found, wanted). A role of "" is unknown, and anything may be around it."""
    previous = after
    for at, role in enumerate(roles):
        if role in ("system", "developer"):
            if at or after != _START:
                wanted = (
                    "one such turn, the first" if roles[0] in ("system", "developer") else "it before every other turn"
                )
                yield at, ProblemKind.SYSTEM_NOT_FIRST, f"a {role} turn after {_named(previous)}", wanted
                continue
        elif role and previous and _plain(role) not in _MAY_FOLLOW[previous]:
            found = (
                f"{_named(role)} at the beginning" if previous == _START else f"{_named(role)} after {_named(previous)}"
            )
            yield at, ProblemKind.NOT_ALTERNATING, found, " or ".join(map(_named, _MAY_FOLLOW[previous]))
        previous = role
    end = roles[-1] if roles else ""
    if end and last == "assistant" and _plain(end) != last:
        wanted = "the assistant's, which is what is trained on"
        yield len(roles) - 1, ProblemKind.LAST_NOT_ASSISTANT, f"{_named(end)} last", wanted
    elif end and last == "user" and end not in ("user", "tool", "function"):
        yield len(roles) - 1, ProblemKind.NOT_ALTERNATING, f"{_named(end)} last", "the user's, which is answered"


def _plain(role: str) -> str:
    return "assistant" if role == _CALL else role


def _named(role: str) -> str:
    return role if role in (_CALL, _START) else f"{'an' if role == 'assistant' else 'a'} {role} turn"
