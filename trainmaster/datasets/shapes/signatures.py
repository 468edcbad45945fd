"""What tells a format from the others at first sight: its keys. Whether an example keeps to the rules is another matter.

A signature answers with the words for what it saw, or None. A key whose value is null is not there: tables have such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainmaster.datasets.formats import Format

Signature = Callable[[Any], str | None]

_CONVERSATION_KEYS = ("conversations", "conversation", "messages")
_TURNS = {"role": "{role, content}", "from": "{from, value}", "input": "{input, output}"}


def looks_like(example: Any) -> Format | None:
    """The format an example has by its keys; None when it is neither an object nor a list of turns."""
    return next((name for name, signature in SIGNATURES.items() if signature(example)), None)


def is_turn(value: Any) -> bool:
    """Whether a value is one turn of a conversation, so that an array of such is one example and not many."""
    return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


def has_pair(example: Any) -> bool:
    """Whether it is a prompt and what completes it, which is no format of ours but what many trainers read."""
    return _has(example, "prompt", "completion")


def _has(example: Any, *keys: str) -> bool:
    return isinstance(example, dict) and all(example.get(key) is not None for key in keys)


def _first(example: Any, *keys: str) -> str | None:
    return next((key for key in keys if _has(example, key)), None)


def _named(*keys: str | None) -> str:
    names = [f"`{key}`" for key in keys if key is not None]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _turn_key(turns: Any) -> str:
    """The key by which the kind of a list's turns is told, "" when the first of them has none such."""
    first = turns[0] if isinstance(turns, list) and turns else None
    return next((key for key in _TURNS if isinstance(first, dict) and key in first), "")


def _kto(example: Any) -> str | None:
    if _has(example, "completion", "label"):
        return _named(_first(example, "prompt"), "completion", "label")
    conversation = _first(example, *_CONVERSATION_KEYS)
    # Any other `label` beside a conversation is somebody's topic or source.
    if conversation and isinstance(example.get("label"), bool):
        return f"{_named(conversation)} and a boolean `label`"
    return None


def _dpo(example: Any) -> str | None:
    for suffix in ("", "_messages"):
        if answers := [key for key in (f"chosen{suffix}", f"rejected{suffix}") if _has(example, key)]:
            return _named(_first(example, "prompt", "question", "instruction", "conversations"), *answers)
    return None


def _rlhf(example: Any) -> str | None:
    return _named(_first(example, "prompt"), "response", "reward") if _has(example, "response", "reward") else None


def _chatml(example: Any) -> str | None:
    if isinstance(example, list):
        return "lists of {role, content}" if _turn_key(example) == "role" else None
    if _has(example, "messages") and _turn_key(example["messages"]) != "from":
        return "`messages` of {role, content}"
    return None


def _sharegpt(example: Any) -> str | None:
    if isinstance(example, list):
        kind = _turn_key(example)
        return f"lists of {_TURNS[kind]}" if kind in ("from", "role") else None
    if key := _first(example, *_CONVERSATION_KEYS):
        return f"{_named(key)} of {_TURNS.get(_turn_key(example[key]), '{from, value}')}"
    return None


def _unnatural(example: Any) -> str | None:
    return "`instruction` and `instances`" if _has(example, "instances") else None


def _openorca(example: Any) -> str | None:
    return (
        _named(_first(example, "system_prompt"), "question", "response")
        if _has(example, "question", "response")
        else None
    )


def _alpaca(example: Any) -> str | None:
    if not _has(example, "instruction"):
        return None
    return _named("instruction", _first(example, "input", "context"), _first(example, "output", "response"))


def _raw_text(example: Any) -> str | None:
    if not _has(example, "text"):
        return None
    others = [key for key in example if key != "text"]
    return f"`text` beside {_named(*others[:3])}{' …' * (len(others) > 3)}" if others else "`text`"


def _jsonl(example: Any) -> str | None:
    if has_pair(example):
        return "`prompt` and `completion`"
    return "keys of no format known" if isinstance(example, dict) else None


# The first that fits wins: preferences before the conversations they may be made of, conversations before the columns some
# datasets keep beside them, any object last.
SIGNATURES: Mapping[Format, Signature] = {
    Format.KTO: _kto,
    Format.DPO: _dpo,
    Format.RLHF: _rlhf,
    Format.CHATML: _chatml,
    Format.SHAREGPT: _sharegpt,
    Format.UNNATURAL: _unnatural,
    Format.OPENORCA: _openorca,
    Format.ALPACA: _alpaca,
    Format.RAW_TEXT: _raw_text,
    Format.JSONL: _jsonl,
}
