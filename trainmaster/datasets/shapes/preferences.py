"""Answers and what was thought of them: dpo, rlhf, kto.

Canonical is one shape for each, whichever way it was written: prompt and answers are lists of messages. The prompt ends with the
turn that is answered, an answer begins with the assistant's turn and ends with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from trainmaster.datasets.formats import Canonical, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.shapes.conversations import with_system
from trainmaster.datasets.shapes.faults import Faults, shown
from trainmaster.datasets.shapes.instructions import asked
from trainmaster.datasets.shapes.lengths import length_of
from trainmaster.datasets.shapes.rules import Rules, unclaimed
from trainmaster.datasets.shapes.turns import Message, check_order, read_turn, read_turns, roles_of

_PROMPT_KEYS = ("prompt", "question", "instruction", "conversations", "conversation", "messages")
_CONVERSATION_KEYS = ("messages", "conversations", "conversation")
_PROMPT = "the prompt: text, or a list of turns"
_ANSWER = "an answer: text, a turn of the assistant, or a list of turns"
_TRANSCRIPT_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class KTO(Rules):
    """`{prompt, completion, label}`, or a conversation and the label of its last turn."""

    format = Format.KTO
    wanted = "an object with prompt, completion and label"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return _refused()
        _check_label(example, faults)
        return _judged(example, "completion", "label", faults)


class RLHF(Rules):
    """`{prompt, response, reward}`; the reward is a finite number."""

    format = Format.RLHF
    wanted = "an object with prompt, response and reward"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return _refused()
        _check_reward(example, faults)
        return _judged(example, "response", "reward", faults)


class DPO(Rules):
    """`{prompt, chosen, rejected}`; or two whole conversations, whose common beginning is the prompt."""

    format = Format.DPO
    wanted = "an object with prompt, chosen and rejected"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return _refused()
        keys = {
            name: f"{name}_messages" if example.get(name) is None and f"{name}_messages" in example else name
            for name in ("chosen", "rejected")
        }
        transcripts = all(_is_transcript(example.get(key)) for key in keys.values()) and not _prompt_key(example)
        chosen, rejected = (
            _read_transcript(example[key], key, faults) if transcripts else _read_answer(example, key, faults)
            for key in keys.values()
        )
        if not chosen or not rejected:
            return _refused()
        whole = [_is_whole(answer) for answer in (chosen, rejected)]
        if whole[0] != whole[1]:
            found = f"{_begins(chosen)} and {_begins(rejected)}"
            faults.add(
                ProblemKind.DIFFERENT_PROMPTS, keys["rejected"], found, "both an answer, or both a whole conversation"
            )
            return _refused()
        if whole[0]:
            for answer, key in zip((chosen, rejected), keys.values(), strict=True):
                check_order(answer, key, faults)
            prompt, used = _common_prompt(example, chosen, rejected, keys, faults)
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        else:
            for answer, key in zip((chosen, rejected), keys.values(), strict=True):
                check_order(answer, key, faults, after="user")
            prompt, used = _read_prompt(example, faults)
        if _said(chosen) == _said(rejected):
            wanted = "two different answers, the better one chosen"
            faults.add(ProblemKind.SAME_ANSWERS, keys["rejected"], f"the same as {keys['chosen']}", wanted)
        prompt = with_system(example, prompt, "prompt", faults)
        used |= {"system", "chosen", "rejected", *keys.values()}
        canonical = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        return _canonical(canonical, "chosen", example, used, faults)


def _judged(example: Mapping[str, Any], answer_key: str, verdict_key: str, faults: Faults) -> Canonical:
    """Of one answer and one verdict on it."""
    conversation_key = next((key for key in _CONVERSATION_KEYS if example.get(key) is not None), None)
    if conversation_key and example.get(answer_key) is None and example.get("prompt") is None:
        turns = read_turns(example[conversation_key], conversation_key, faults)
        check_order(turns, conversation_key, faults)
        prompt, answer, used = turns[:-1], turns[-1:], {conversation_key}
    else:
        answer = _read_answer(example, answer_key, faults)
        check_order(answer, answer_key, faults, after="user")
        prompt, used = _read_prompt(example, faults)
    prompt = with_system(dict(example), prompt, "prompt", faults)
    canonical = {"prompt": prompt, answer_key: answer, verdict_key: example.get(verdict_key)}
    return _canonical(canonical, answer_key, example, used | {"system", answer_key, verdict_key}, faults)


def _canonical(
    canonical: dict[str, Any], answer_key: str, example: Mapping[str, Any], used: Collection[str], faults: Faults
) -> Canonical:
    others = {key: value for key, value in example.items() if key not in used}
    canonical.update(unclaimed(others, canonical.keys(), faults))
    if faults:
        return _refused()
    prompt, answer = canonical["prompt"], canonical[answer_key]
    return Canonical(canonical, sum(map(length_of, prompt)), sum(map(length_of, answer)), roles_of([*prompt, *answer]))


def _refused() -> Canonical:
    return Canonical({}, 0, 0, ())


def _prompt_key(example: Mapping[str, Any]) -> str | None:
    return next((key for key in _PROMPT_KEYS if example.get(key) is not None), None)


def _read_prompt(example: Mapping[str, Any], faults: Faults) -> tuple[list[Message], set[str]]:
    """The prompt's messages, and the keys they are made of."""
    key = _prompt_key(example)
    if key is None:
        faults.missing(example, "prompt", _PROMPT)
        return [], set()
    value = example[key]
    if isinstance(value, str):
        text = faults.text(example, key, key, _PROMPT)
        given = faults.optional_text(example, "input", "input") if key == "instruction" else ""
        return [{"role": "user", "content": asked(text, given)}], {key, "input"} if key == "instruction" else {key}
    if not isinstance(value, list):
        faults.wrong_type(key, value, _PROMPT)
        return [], {key}
    messages = read_turns(value, key, faults)
    check_order(messages, key, faults, last="user")
    return messages, {key}


def _read_answer(example: Mapping[str, Any], key: str, faults: Faults) -> list[Message]:
    value = example.get(key)
    if isinstance(value, dict):
        return [read_turn(value, key, faults)]
    if isinstance(value, list):
        return read_turns(value, key, faults)
    if value is not None and not isinstance(value, str):
        faults.wrong_type(key, value, _ANSWER)
        return []
    text = faults.text(example, key, key, _ANSWER)
    return [{"role": "assistant", "content": text}] if text else []


def _common_prompt(
    example: Mapping[str, Any],
    chosen: list[Message],
    rejected: list[Message],
    keys: Mapping[str, str],
    faults: Faults,
) -> tuple[list[Message], set[str]]:
    """What two conversations have in common up to where the assistant answers differently, and the keys that say it again."""
    end = 0
    for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one["role"] == other["role"] == "assistant":
            end = at
        if one != other:
            break
    if not end:
        wanted = f"the same turns as {keys['chosen']}, up to an answer"
        faults.add(ProblemKind.DIFFERENT_PROMPTS, keys["rejected"], "another prompt, or no answer", wanted)
        return [], set()
    prompt = chosen[:end]
    key = next((key for key in ("prompt", "question", "instruction") if example.get(key) is not None), None)
    if key is None:
        return prompt, set()
    value = example[key]
    if isinstance(value, str):
        same = any(value.strip() == str(message.get("content")).strip() for message in prompt)
    elif isinstance(value, list):
        same = _said(read_turns(value, key, faults)) == _said(prompt)
    else:
        faults.wrong_type(key, value, _PROMPT)
        return prompt, {key}
    if not same:
        found = f"{shown(value)}, which {keys['chosen']} does not begin with"
        faults.add(
            ProblemKind.DIFFERENT_PROMPTS, key, found, "the turns that both conversations begin with, or no such key"
        )
    return prompt, {key}


def _is_whole(answer: list[Message]) -> bool:
    return answer[0]["role"] in ("system", "developer", "user")


def _begins(answer: list[Message]) -> str:
    return f"one that begins with a turn of the {answer[0]['role'] or 'unknown'}"


def _said(messages: list[Message]) -> list[tuple[Any, ...]]:
    return [
        (message["role"], message.get("content"), message.get("tool_calls"), message.get("function_call"))
        for message in messages
    ]


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("\n\nHuman:")


def _read_transcript(text: str, key: str, faults: Faults) -> list[Message]:
    """The turns of "\\n\\nHuman: …\\n\\nAssistant: …"."""
    _, *parts = _TRANSCRIPT_TURN.split(text)
    messages = []
    for at, (who, said) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        if not said or said.isspace():
            faults.add(
                ProblemKind.EMPTY_TEXT, f"{key}[{at}]", "an empty turn in the transcript", "text that is not empty"
            )
        messages.append({"role": "user" if who == "Human" else "assistant", "content": said})
    return messages


def _check_label(example: Mapping[str, Any], faults: Faults) -> None:
    label = example.get("label")
    wanted = "true (a good completion) or false"
    if label is None:
        faults.missing(example, "label", wanted)
    elif not isinstance(label, bool):
        meant = {"true": "true", "1": "true", "false": "false", "0": "false"}.get(str(label).strip().casefold())
        hint = f"; write {meant}, a boolean without quotes" if meant else ""
        faults.wrong_type("label", label, wanted + hint)


def _check_reward(example: Mapping[str, Any], faults: Faults) -> None:
    reward = example.get("reward")
    wanted = "a finite number"
    if reward is None:
        faults.missing(example, "reward", wanted)
    elif isinstance(reward, str):
        faults.wrong_type("reward", reward, f"{wanted}, without quotes")
    elif isinstance(reward, bool) or not isinstance(reward, int | float):
        faults.wrong_type("reward", reward, wanted)
    elif isinstance(reward, float) and not math.isfinite(reward):
        faults.add(ProblemKind.NOT_FINITE, "reward", shown(reward), wanted)
