"""From a row of a canonical dataset to what a method learns from it, or why it cannot. Imports no PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.finetune.formats import misfit
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.rows import RowError

Message = dict[str, Any]
_TEXT_PARTS = ("text", "input_text", "output_text")
_CALLED = {"developer": "system", "function": "tool"}
"""Roles that templates know by another name."""


@dataclass(frozen=True)
class Text:
    """Plain text, all of it learned."""

    text: str


@dataclass(frozen=True)
class Conversation:
    """Turns, of which those in `learned` (by their positions) are learned."""

    messages: Sequence[Message]
    learned: frozenset[int]
    tools: Sequence[Any] | None = None


@dataclass(frozen=True)
class Completion:
    """Plain text, of which what follows the prompt is learned, or all of it where all turns are."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt: turns, or plain text all three."""

    prompt: Sequence[Message] | str
    chosen: Sequence[Message] | str
    rejected: Sequence[Message] | str
    tools: Sequence[Any] | None = None


@dataclass(frozen=True)
class Judged:
    """An answer to a prompt that is good or bad."""

    prompt: Sequence[Message] | str
    completion: Sequence[Message] | str
    good: bool
    tools: Sequence[Any] | None = None


Example = Text | Conversation | Completion | Pair | Judged


class MisfitError(Exception):
    """Raised of a row whose format the method cannot use; the text says what would do."""

    def __init__(self, format_: str, message: str) -> None:
        super().__init__(message)
        self.format = format_


def format_of(value: Any) -> str:
    """The canonical format a row has, by its keys. Raises RowError where it is no object."""
    if not isinstance(value, dict):
        raise RowError(f"is a JSON {_kind(value)}, not an object")
    keys = {key for key, held in value.items() if held is not None}
    for format_, wanted in (
        ("kto", {"completion", "label"}), ("dpo", {"chosen", "rejected"}), ("rlhf", {"response", "reward"}),
        ("chatml", {"messages"}), ("raw_text", {"text"}), ("prompt and completion", {"prompt", "completion"}),
    ):  # fmt: skip
        if wanted <= keys:
            return format_
    if keys & {"chosen", "rejected"}:
        raise RowError(f"has {'chosen' if 'chosen' in keys else 'rejected'} alone, not both answers")
    return "jsonl"


def examples_of(value: Any, asked: Hyperparameters) -> Iterator[Example]:
    """What is learned from a row. Raises RowError, or MisfitError where the method has no use for its format."""
    format_, method = format_of(value), asked.training_method
    if said := misfit(method, format_):
        raise MisfitError(format_, said)
    tools = _tools(value)
    if format_ == "raw_text":
        yield Text(_text(value["text"], "text"))
    elif format_ == "chatml":
        messages = _conversation(value["messages"], "messages", asked)
        everything = method == "cpt" or not asked.completion_only_loss
        learned = _learned(value["messages"], messages, everything)
        yield Conversation(messages, learned, tools)
    elif format_ == "dpo" and method == "sft":
        yield _answered(value, "chosen", asked, tools)
    elif format_ == "prompt and completion":
        yield _answered(value, "completion", asked, tools)
    else:
        yield from _preferences(value, format_, asked, tools)


def _answered(value: Any, answer: str, asked: Hyperparameters, tools: Any) -> Completion | Conversation:
    """A prompt and what is learned to be answered: its turns of the assistant, those of the prompt only where all turns are learned."""
    prompt, answered = _both(value, "prompt", answer, asked)
    if isinstance(prompt, str) or isinstance(answered, str):
        return Completion(str(prompt), str(answered))
    messages, everything = [*prompt, *answered], not asked.completion_only_loss
    learned = _learned([*value["prompt"], *value[answer]], messages, everything)
    if not everything:
        learned = frozenset(at for at in learned if at >= len(prompt))
    if not learned:
        raise RowError(f"{answer} has no turn of the assistant with weight 1, and so nothing to learn")
    return Conversation(messages, learned, tools)


def _preferences(value: Any, format_: str, asked: Hyperparameters, tools: Any) -> Iterator[Pair | Judged]:
    if format_ == "dpo":
        prompt, chosen = _both(value, "prompt", "chosen", asked)
        prompt, rejected = _both(value, "prompt", "rejected", asked)
        if asked.training_method == "kto":
            yield Judged(prompt, chosen, True, tools)
            yield Judged(prompt, rejected, False, tools)
            return
        if type(chosen) is not type(rejected):
            raise RowError("has turns for one answer and text for the other")
        yield Pair(prompt, chosen, rejected, tools)
    elif format_ == "kto":
        if not isinstance(value["label"], bool):
            raise RowError(f"label is {value['label']!r}, not true or false")
        yield Judged(*_both(value, "prompt", "completion", asked), value["label"], tools)
    else:
        reward = value["reward"]
        if isinstance(reward, bool) or not isinstance(reward, int | float) or math.isnan(reward):
            raise RowError(f"reward is {reward!r}, not a number")
        if reward == asked.reward_threshold:
            raise RowError(f"reward is {reward}, which is reward_threshold itself: neither good nor bad")
        yield Judged(*_both(value, "prompt", "response", asked), reward > asked.reward_threshold, tools)


def _both(value: Mapping[str, Any], prompt: str, answer: str, asked: Hyperparameters) -> tuple[Any, Any]:
    """A prompt and an answer, both turns or both text."""
    asked_for, answered = value.get(prompt), value[answer]
    if isinstance(asked_for, str) and isinstance(answered, str):
        return _text(asked_for, prompt), _text(answered, answer)
    if isinstance(asked_for, str) or isinstance(answered, str):
        raise RowError(f"has turns for one of {prompt} and {answer} and text for the other")
    turns = _conversation(asked_for, prompt, asked)
    if turns[-1]["role"] == "assistant":
        raise RowError(f"{prompt} ends with a turn of the assistant, so that nothing is asked")
    return turns, _turns(answered, answer)


def _conversation(value: Any, name: str, asked: Hyperparameters) -> list[Message]:
    turns = _turns(value, name)
    if asked.system_prompt and turns[0]["role"] != "system":
        return [{"role": "system", "content": asked.system_prompt}, *turns]
    return turns


def _learned(given: Sequence[Any], messages: Sequence[Message], everything: bool) -> frozenset[int]:
    added = len(messages) - len(given)
    learned = {
        at + added
        for at, turn in enumerate(given)
        if (everything or turn["role"] == "assistant") and _weight(turn, at) == 1
    }
    if not learned:
        raise RowError("has no turn of the assistant with weight 1, and so nothing to learn")
    return frozenset(learned)


def _weight(turn: Mapping[str, Any], at: int) -> int:
    weight = turn.get("weight")
    if weight is None:
        return 1
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowError(f"messages[{at}].weight is {weight!r}, not 0 or 1")
    return int(weight)


def _turns(value: Any, name: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise RowError(f"{name} is {'empty' if value == [] else f'a JSON {_kind(value)}'}, not a list of turns")
    return [_turn(turn, f"{name}[{at}]") for at, turn in enumerate(value)]


def _turn(turn: Any, place: str) -> Message:
    """As chat templates expect it: content a text, calls with their arguments as objects, and no nulls."""
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        raise RowError(f"{place} is no turn with a role")
    calls = turn.get("tool_calls") or ([{"function": turn["function_call"]}] if turn.get("function_call") else [])
    message: Message = {
        key: held
        for key, held in turn.items()
        if held is not None and key not in ("weight", "tool_calls", "function_call")
    }
    message["role"] = _CALLED.get(turn["role"], turn["role"])
    message["content"] = _content(turn.get("content"), place, may_be_empty=bool(calls) or message["role"] == "tool")
    if calls:
        message["tool_calls"] = [_call(call, f"{place}.tool_calls[{at}]") for at, call in enumerate(calls)]
    return message


def _content(content: Any, place: str, *, may_be_empty: bool) -> str:
    if isinstance(content, list):
        texts = [_part(part, f"{place}.content[{at}]") for at, part in enumerate(content)]
        content = "".join(texts)
    if content is None and may_be_empty:
        return ""
    if not isinstance(content, str) or not (content or may_be_empty):
        said = "empty" if content == "" else f"a JSON {_kind(content)}"
        raise RowError(f"{place}.content is {said}, not text")
    return content


def _part(part: Any, place: str) -> str:
    if isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    what = part.get("type") if isinstance(part, dict) else _kind(part)
    raise RowError(f"{place} is of type {what}, and text alone can be trained on")


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(f"{place} is no call with the name of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except json.JSONDecodeError as error:
            raise RowError(f"{place}.arguments is no JSON ({error})") from error
    others = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {"type": "function", **others, "function": {**function, "arguments": arguments or {}}}


def _tools(value: Mapping[str, Any]) -> Sequence[Any] | None:
    tools = value.get("tools")
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError("tools is no list of objects")
    return tools


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"{name} is {'empty' if isinstance(value, str) else f'a JSON {_kind(value)}'}, not text")
    return value


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "null")
