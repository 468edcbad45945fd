"""Hypothesis strategies for sound examples of every format, each with what it must become, letter by letter."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from trainmaster.datasets.formats import Format

Turns = list[dict[str, Any]]


class Sound(NamedTuple):
    """An example and the canonical examples it becomes, and of which format those are."""

    format: Format
    example: Any
    becomes: list[dict[str, Any]]
    canonical_format: Format


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: not text.isspace()
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OTHERS = st.dictionaries(st.sampled_from(["id", "source", "tools", "idées", "meta data"]), JSON, max_size=3)

HUMAN_NAMES = {
    "system": ["system"],
    "user": ["human", "user"],
    "assistant": ["gpt", "assistant", "bot", "model", "function_call"],
    "tool": ["tool", "observation", "function_response"],
}


def turn(role: str) -> st.SearchStrategy[dict[str, Any]]:
    return TEXTS.map(lambda text: {"role": role, "content": text})


@st.composite
def conversations(draw: st.DrawFn, *, plain: bool = False) -> Turns:
    """Any sound conversation; a plain one has no tools' turns and no system's."""
    turns: Turns = [draw(turn("system"))] if not plain and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns += [draw(turn("user")), draw(turn("assistant"))]
        if not plain and draw(st.booleans()):
            turns += [*draw(st.lists(turn("tool"), min_size=1, max_size=2)), draw(turn("assistant"))]
    return turns


@st.composite
def chatml(draw: st.DrawFn) -> Sound:
    turns = draw(conversations())
    for at, each in enumerate(turns):
        if draw(st.booleans()):
            each["weight"] = draw(st.sampled_from([0, 1, 1.0, None]))
        if draw(st.booleans()):
            image = {"type": "image_url", "image_url": {"url": draw(TEXTS)}}
            each["content"] = [{"type": "text", "text": each["content"]}, image]
        if each["role"] == "assistant" and at + 1 < len(turns) and turns[at + 1]["role"] == "tool":
            calls = [{"id": "c1", "type": "function", "function": {"name": draw(TEXTS), "arguments": draw(TEXTS)}}]
            each |= {"content": draw(st.none() | TEXTS), "tool_calls": calls}
            turns[at + 1]["tool_call_id"] = "c1"
    if draw(st.booleans()):
        return Sound(Format.CHATML, turns, [{"messages": turns}], Format.CHATML)
    example = draw(OTHERS) | {"messages": turns}
    return Sound(Format.CHATML, example, [example], Format.CHATML)


@st.composite
def sharegpt(draw: st.DrawFn) -> Sound:
    turns, others = draw(conversations()), draw(OTHERS)
    becomes = {"messages": turns, **others}
    beside = {}
    if turns[0]["role"] == "system" and draw(st.booleans()):
        beside, turns = {"system": turns[0]["content"]}, turns[1:]
    named = [{"from": draw(st.sampled_from(HUMAN_NAMES[each["role"]])), "value": each["content"]} for each in turns]
    key = draw(st.sampled_from(["conversations", "conversation", "messages"]))
    return Sound(Format.SHAREGPT, {key: named, **beside, **others}, [becomes], Format.CHATML)


def pair(asked: str, answered: str) -> Turns:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


@st.composite
def alpaca(draw: st.DrawFn) -> Sound:
    instruction, given, output = draw(TEXTS), draw(st.none() | st.just("") | TEXTS), draw(TEXTS)
    turns = pair(f"{instruction}\n\n{given}" if given else instruction, output)
    example = {"instruction": instruction}
    given_key, output_key = draw(st.sampled_from([("input", "output"), ("context", "response")]))
    example |= {given_key: given, output_key: output}
    if draw(st.booleans()):
        before = draw(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=2))
        example["history"] = before
        turns = [each for asked, answered in before for each in pair(asked, answered)] + turns
    if draw(st.booleans()):
        example["system"] = system = draw(st.just("") | TEXTS)
        turns = [{"role": "system", "content": system}, *turns] if system else turns
    others = draw(OTHERS)
    return Sound(Format.ALPACA, example | others, [{"messages": turns, **others}], Format.CHATML)


@st.composite
def openorca(draw: st.DrawFn) -> Sound:
    system, question, response, others = draw(st.none() | st.just("") | TEXTS), draw(TEXTS), draw(TEXTS), draw(OTHERS)
    turns = pair(question, response)
    turns = [{"role": "system", "content": system}, *turns] if system else turns
    example = {"system_prompt": system, "question": question, "response": response, **others}
    return Sound(Format.OPENORCA, example, [{"messages": turns, **others}], Format.CHATML)


@st.composite
def unnatural(draw: st.DrawFn) -> Sound:
    instruction, others = draw(TEXTS), draw(OTHERS)
    instances, becomes = [], []
    for _ in range(draw(st.integers(1, 3))):
        given, output, constraints = draw(st.just("") | TEXTS), draw(TEXTS), draw(TEXTS)
        instances.append({"input": given, "output": output, "constraints": constraints})
        if draw(st.booleans()):
            whole = draw(TEXTS)
            instances[-1]["instruction_with_input"] = whole
            kept = {"instruction": instruction, **others, "input": given, "constraints": constraints}
        else:
            whole = f"{instruction}\n\n{given}" if given else instruction
            kept = {**others, "constraints": constraints}
        becomes.append({"messages": pair(whole, output), **kept})
    example = {"instruction": instruction, "instances": instances, **others}
    return Sound(Format.UNNATURAL, example, becomes, Format.CHATML)


def prompts(turns: Turns) -> st.SearchStrategy[Any]:
    """Ways to write a prompt: its turns, or the text of the only one."""
    named = [{"from": HUMAN_NAMES[each["role"]][0], "value": each["content"]} for each in turns]
    return st.sampled_from([turns, named] + ([turns[0]["content"]] if len(turns) == 1 else []))


def answers(text: str) -> st.SearchStrategy[Any]:
    message = {"role": "assistant", "content": text}
    return st.sampled_from([text, message, [message], {"from": "gpt", "value": text}])


@st.composite
def dpo(draw: st.DrawFn) -> Sound:
    prompt, others = draw(conversations())[:-1], draw(OTHERS)
    good, bad = draw(st.lists(TEXTS, min_size=2, max_size=2, unique=True))
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in (good, bad))
    becomes = {"prompt": prompt, "chosen": chosen, "rejected": rejected, **others}
    if draw(st.booleans()):
        example = {"chosen": prompt + chosen, "rejected": prompt + rejected}
        if draw(st.booleans()):
            example["prompt"] = prompt[-1]["content"]
    else:
        key = draw(st.sampled_from(["prompt", "conversations", "question"]))
        example = {key: draw(prompts(prompt)), "chosen": draw(answers(good)), "rejected": draw(answers(bad))}
    return Sound(Format.DPO, example | others, [becomes], Format.DPO)


@st.composite
def judged(draw: st.DrawFn, form: Format, answer_key: str, verdict_key: str, verdicts: st.SearchStrategy[Any]) -> Sound:
    *prompt, answer = draw(conversations())
    verdict, others = draw(verdicts), draw(OTHERS)
    becomes = {"prompt": prompt, answer_key: [answer], verdict_key: verdict, **others}
    if form is Format.KTO and draw(st.booleans()):
        example = {"messages": [*prompt, answer]}
    else:
        example = {"prompt": draw(prompts(prompt)), answer_key: draw(answers(answer["content"]))}
    return Sound(form, {**example, verdict_key: verdict, **others}, [becomes], form)


@st.composite
def kept(draw: st.DrawFn, form: Format) -> Sound:
    example = {"text": draw(TEXTS)} if form is Format.RAW_TEXT else {draw(TEXTS): draw(JSON)}
    example |= draw(OTHERS)
    return Sound(form, example, [example], form)


SOUND: dict[Format, st.SearchStrategy[Sound]] = {
    Format.CHATML: chatml(),
    Format.SHAREGPT: sharegpt(),
    Format.ALPACA: alpaca(),
    Format.OPENORCA: openorca(),
    Format.UNNATURAL: unnatural(),
    Format.DPO: dpo(),
    Format.RLHF: judged(
        Format.RLHF, "response", "reward",
        st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    ),
    Format.KTO: judged(Format.KTO, "completion", "label", st.booleans()),
    Format.RAW_TEXT: kept(Format.RAW_TEXT),
    Format.JSONL: kept(Format.JSONL),
}  # fmt: skip
