"""Instructions and their answers: alpaca (and Dolly), openorca, unnatural."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainmaster.datasets.formats import Canonical, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.shapes.conversations import with_system
from trainmaster.datasets.shapes.faults import Faults
from trainmaster.datasets.shapes.rules import Rules, conversation, new_tuple
from trainmaster.datasets.shapes.turns import Message

_ANSWER = "the answer, as text that is not empty"


def asked(instruction: str, given: str) -> str:
    """The user's turn: the instruction and what it is about, a blank line between; or the instruction alone."""
    return f"{instruction}\n\n{given}" if given else instruction


class Alpaca(Rules):
    """`{instruction, input, output}`, or Dolly's `{instruction, context, response}`; `system` and `history` may come with it."""

    format = Format.ALPACA
    wanted = "an object with instruction, input and output"
    _SPECIAL = frozenset({"messages", "system", "history", "context", "response"})

    def canonical(self, example: Any) -> Canonical:
        try:
            instruction, given, output = example["instruction"], example["input"], example["output"]
        except (KeyError, TypeError):
            return super().canonical(example)
        if not (
            type(instruction) is type(given) is type(output) is str
            and not (instruction.isspace() or output.isspace())
            and instruction
            and output
            and (len(example) == 3 or self._SPECIAL.isdisjoint(example))
        ):
            return super().canonical(example)
        question = asked(instruction, given)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": output}]
        canonical = {"messages": messages}
        if len(example) > 3:
            canonical.update(example)
            del canonical["instruction"], canonical["input"], canonical["output"]
        return new_tuple(Canonical, (canonical, len(question), len(output), ("user", "assistant"), ()))

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return conversation([], {}, faults)
        given_key = "context" if example.get("input") is None and "context" in example else "input"
        output_key = "response" if example.get("output") is None and "response" in example else "output"
        instruction = faults.text(example, "instruction", "instruction", "the instruction, as text that is not empty")
        given = faults.optional_text(example, given_key, given_key)
        output = faults.text(example, output_key, output_key, _ANSWER)
        messages = [
            *_history(example.get("history"), faults),
            {"role": "user", "content": asked(instruction, given)},
            {"role": "assistant", "content": output},
        ]
        messages = with_system(example, messages, "instruction", faults)
        used = {
            "instruction",
            "input" if example.get("input") is None else given_key,
            given_key,
            output_key,
            "system",
            "history",
        }
        if example.get("output") is None:
            used.add("output")
        return conversation(messages, {key: value for key, value in example.items() if key not in used}, faults)


class OpenOrca(Rules):
    """`{system_prompt, question, response}`; an empty or missing system prompt is none."""

    format = Format.OPENORCA
    wanted = "an object with system_prompt, question and response"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return conversation([], {}, faults)
        system = faults.optional_text(example, "system_prompt", "system_prompt")
        if system.isspace():
            faults.add(ProblemKind.EMPTY_TEXT, "system_prompt", "only white space", "text, or nothing")
        question = faults.text(example, "question", "question", "the question, as text that is not empty")
        response = faults.text(example, "response", "response", _ANSWER)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        used = ("system_prompt", "question", "response")
        return conversation(messages, {key: value for key, value in example.items() if key not in used}, faults)


class Unnatural(Rules):
    """`{instruction, instances: [{input, output}, …]}`; each instance becomes a canonical example of its own.

    An instance's `instruction_with_input`, where there is one, is what the user says; else instruction and input are put together.
    """

    format = Format.UNNATURAL
    wanted = "an object with instruction and instances"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        instances = example.get("instances")
        if not faults:
            faults.text(example, "instruction", "instruction", "the instruction, as text that is not empty")
            if instances is None:
                faults.missing(example, "instances", "a list of {input, output}")
            elif not isinstance(instances, list):
                faults.wrong_type("instances", instances, "a list of {input, output}")
            elif not instances:
                faults.add(ProblemKind.EMPTY_LIST, "instances", "no instances", "at least one {input, output}")
        if not isinstance(instances, list) or not instances:
            return conversation([], {}, faults)
        others = {key: value for key, value in example.items() if key not in ("instruction", "instances")}
        read = [
            _read_instance(example, instance, others, f"instances[{at}]", faults)
            for at, instance in enumerate(instances)
        ]
        return read[0]._replace(more=tuple(read[1:]))


def _read_instance(
    example: Mapping[str, Any], instance: Any, others: Mapping[str, Any], place: str, faults: Faults
) -> Canonical:
    if not isinstance(instance, dict):
        faults.wrong_type(place, instance, "an object with input and output")
        return conversation([], {}, faults)
    instruction = example.get("instruction")
    whole = faults.optional_text(instance, "instruction_with_input", f"{place}.instruction_with_input")
    given = faults.optional_text(instance, "input", f"{place}.input")
    output = faults.text(instance, "output", f"{place}.output", _ANSWER)
    used = {"output", "instruction_with_input"}
    if not whole.strip():
        whole = asked(instruction if isinstance(instruction, str) else "", given)
        used.add("input")
        kept = others
    else:
        kept = {"instruction": instruction, **others}
    own = {key: value for key, value in instance.items() if key not in used}
    for key in own.keys() & kept.keys():
        found = f"{key} of the instance beside {key} of the example"
        faults.add(ProblemKind.CONFLICTING_KEYS, f"{place}.{key}", found, "one of them, or another name")
    messages = [{"role": "user", "content": whole}, {"role": "assistant", "content": output}]
    return conversation(messages, {**kept, **own}, faults)


def _history(history: Any, faults: Faults) -> list[Message]:
    """The turns of `[[question, answer], …]` that came before."""
    if history is None:
        return []
    if not isinstance(history, list):
        faults.wrong_type("history", history, "a list of [question, answer]")
        return []
    turns: list[Message] = []
    for at, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            faults.wrong_type(f"history[{at}]", pair, "a list of two texts: question and answer")
            continue
        for position, (role, text) in enumerate(zip(("user", "assistant"), pair, strict=True)):
            place = f"history[{at}][{position}]"
            if not isinstance(text, str):
                faults.wrong_type(place, text, "text that is not empty")
            elif not text or text.isspace():
                faults.add(ProblemKind.EMPTY_TEXT, place, "only white space" if text else "an empty text", "text")
            turns.append({"role": role, "content": text})
    return turns
