"""Over all examples: normalising keeps every letter, is stable, and refuses exactly what has problems."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
import pytest
from dataset_examples import JSON, SOUND, Sound
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.datasets.formats import Canonical, Format, MalformedError
from trainmaster.datasets.shapes import shape_of

FORMATS = pytest.mark.parametrize("form", Format)


@FORMATS
@settings(max_examples=40)
@given(data=st.data())
def test_a_sound_example_becomes_its_turns_letter_by_letter_and_keeps_its_other_keys(form: Format, data: st.DataObject):
    sound = data.draw(SOUND[form])
    before = copy.deepcopy(sound.example)
    first = shape_of(form).canonical(sound.example)
    assert [one.example for one in (first, *first.more)] == sound.becomes
    assert sound.example == before, "the example given was changed"
    assert shape_of(form).problems(sound.example, 1, "line") == []


@FORMATS
@settings(max_examples=40)
@given(data=st.data())
def test_a_canonical_example_is_its_own_canonical_example_after_writing_and_reading_too(
    form: Format, data: st.DataObject
):
    sound = data.draw(SOUND[form])
    first = shape_of(form).canonical(sound.example)
    for one in (first, *first.more):
        written = orjson.dumps(one.example)
        again = shape_of(sound.canonical_format).canonical(orjson.loads(written))
        assert orjson.dumps(again.example) == written
        assert again[1:4] == one[1:4]
        assert json.loads(written) == one.example


@pytest.mark.parametrize("form", [Format.CHATML, Format.SHAREGPT, Format.ALPACA, Format.OPENORCA, Format.UNNATURAL])
@settings(max_examples=40)
@given(data=st.data())
def test_lengths_are_the_characters_of_the_assistants_turns_and_of_all_others(form: Format, data: st.DataObject):
    first = shape_of(form).canonical(data.draw(SOUND[form]).example)
    for one in (first, *first.more):
        messages = one.example["messages"]
        assert one.roles == tuple(message["role"] for message in messages)
        said = {True: 0, False: 0}
        for message in messages:
            content, calls = message["content"] or "", message.get("tool_calls")
            texts = [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
            called = json.dumps(calls, ensure_ascii=False, separators=(",", ":")) if calls else ""
            said[message["role"] == "assistant"] += sum(map(len, texts)) + len(called)
        assert (one.input_length, one.output_length) == (said[False], said[True])


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Format, Any]:
    """A sound example after one to three accidents, and one of the formats it might be taken for."""
    sound: Sound = draw(st.sampled_from(list(Format)).flatmap(SOUND.__getitem__))
    box = [copy.deepcopy(sound.example)]
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(list(_places(box))))
        match draw(st.sampled_from(["replace", "remove", "rename", "double", "blank"])):
            case "replace":
                container[key] = draw(JSON)
            case "remove" if container is not box:
                del container[key]
            case "rename" if isinstance(container, dict):
                names = ["role", "from", "content", "value", "messages", "system", "prompt", "text", "label", "message"]
                container[draw(st.sampled_from(names))] = container.pop(key)
            case "double" if isinstance(container, list) and container is not box:
                container.insert(key, copy.deepcopy(container[key]))
            case _:
                container[key] = draw(
                    st.sampled_from(["", " \n", None, [], {}, 0, 1, True, "user", "human", "gpt", "system"])
                )
    other = draw(st.sampled_from(list(Format)))
    return draw(st.sampled_from([sound.format, sound.canonical_format, other])), box[0]


def _places(value: Any) -> Any:
    """Every (container, key) inside."""
    for key in range(len(value)) if isinstance(value, list) else list(value):
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


@settings(max_examples=300)
@given(mutated())
def test_exactly_those_examples_are_refused_of_which_problems_are_told(case: tuple[Format, Any]):
    form, example = case
    shape = shape_of(form)
    before = copy.deepcopy(example)
    problems = shape.problems(example, 7, "element")
    try:
        canonical: Canonical | None = shape.canonical(example)
    except MalformedError:
        canonical = None
    assert (canonical is None) == bool(problems), problems
    assert example == before
    for problem in problems:
        assert problem.found
        assert problem.wanted
        assert (problem.number, problem.unit) == (7, "element")
    if canonical:
        _stable(form, canonical)


def _stable(form: Format, canonical: Canonical) -> None:
    own = {Format.DPO, Format.RLHF, Format.KTO, Format.RAW_TEXT, Format.JSONL}
    for one in (canonical, *canonical.more):
        again = shape_of(form if form in own else Format.CHATML).canonical(one.example)
        assert again.example == one.example
        assert again[1:4] == one[1:4]


@FORMATS
@settings(max_examples=40)
@given(value=JSON | st.lists(JSON))
def test_no_value_at_all_brings_a_shape_down(form: Format, value: Any):
    problems = shape_of(form).problems(value, 1, "line")
    if problems:
        with pytest.raises(MalformedError):
            shape_of(form).canonical(value)
    else:
        _stable(form, shape_of(form).canonical(value))
