"""A dataset's format is told from its first examples, with a reason and how sure that is."""

from __future__ import annotations

from typing import Any

import pytest
from dataset_examples import JSON, SOUND, Sound
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.datasets.detection import detect, is_turn, looks_like
from trainmaster.datasets.formats import Format
from trainmaster.datasets.shapes import shape_of

USER, BOT = {"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}
HUMAN, GPT = {"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}

# The shapes of well-known datasets, their columns as published.
KNOWN: dict[str, tuple[Any, Format]] = {
    "Alpaca": ({"instruction": "Add", "input": "2 + 2", "output": "4"}, Format.ALPACA),
    "Alpaca with the whole text": ({"instruction": "Add", "input": "", "output": "4", "text": "Below is …"}, Format.ALPACA),
    "Dolly": ({"instruction": "Add", "context": "", "response": "4", "category": "open_qa"}, Format.ALPACA),
    "OpenOrca": ({"id": "t0.1", "system_prompt": "", "question": "2 + 2?", "response": "4"}, Format.OPENORCA),
    "SlimOrca": (
        {"conversations": [{**HUMAN, "weight": 0.0}, {**GPT, "weight": 1.0}]},
        Format.SHAREGPT,
    ),
    "ShareGPT": ({"id": "x_0", "conversations": [HUMAN, GPT]}, Format.SHAREGPT),
    "Glaive, shared": ({"conversations": [HUMAN, GPT], "tools": "[]"}, Format.SHAREGPT),
    "Glaive, as text": ({"system": "SYSTEM: You are …", "chat": "USER: Hi ASSISTANT: Hello"}, Format.JSONL),
    "Capybara": ({"source": "Airoboros", "conversation": [{"input": "2 + 2?", "output": "4"}]}, Format.SHAREGPT),
    "LMSYS Chat": ({"conversation_id": "c", "model": "m", "conversation": [USER, BOT], "turn": 1}, Format.SHAREGPT),
    "Magpie": (
        {"uuid": "u", "instruction": "2 + 2?", "response": "4", "conversations": [HUMAN, GPT]},
        Format.SHAREGPT,
    ),
    "UltraChat": ({"prompt": "2 + 2?", "prompt_id": "p", "messages": [USER, BOT]}, Format.CHATML),
    "Tulu": ({"id": "t", "messages": [USER, BOT], "source": "flan"}, Format.CHATML),
    "OpenAI's fine-tuning": (
        {
            "messages": [USER, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}]}],
            "tools": [{"type": "function", "function": {"name": "add"}}],
            "parallel_tool_calls": False,
        },
        Format.CHATML,
    ),
    "a bare list": ([USER, BOT], Format.CHATML),
    "a bare list of {from, value}": ([HUMAN, GPT], Format.SHAREGPT),
    "Unnatural Instructions": (
        {"instruction": "Add", "instances": [{"instruction_with_input": "Add 2 + 2", "input": "2 + 2", "constraints": "None.", "output": "4"}]},
        Format.UNNATURAL,
    ),
    "HH-RLHF": ({"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"}, Format.DPO),
    "UltraFeedback": (
        {
            "prompt": "What is 2 + 2?", "prompt_id": "p", "messages": [USER, BOT], "score_chosen": 9.0, "score_rejected": 1.0,
            "chosen": [USER, BOT], "rejected": [USER, {"role": "assistant", "content": "5"}],
        },
        Format.DPO,
    ),
    "Orca pairs": ({"system": "", "question": "2 + 2?", "chosen": "4", "rejected": "5"}, Format.DPO),
    "shared pairs": ({"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "5"}}, Format.DPO),
    "KTO mix": ({"prompt": [USER], "completion": [BOT], "label": True}, Format.KTO),
    "labelled conversations": ({"messages": [USER, BOT], "label": False}, Format.KTO),
    "rewards": ({"prompt": "2 + 2?", "response": "4", "reward": 0.9}, Format.RLHF),
    "C4": ({"text": "Two and two", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"}, Format.RAW_TEXT),
    "plain text": ({"text": "Two and two"}, Format.RAW_TEXT),
    "an image's captions": ({"image": "a.png", "caption": "Two"}, Format.JSONL),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_well_known_datasets_are_recognised_and_sound(name: str):
    example, form = KNOWN[name]
    detection = detect([example] * 100)
    assert detection.format is form
    assert detection.reason.startswith("100 of 100 examples ")
    assert detection.confidence >= (0.5 if form is Format.JSONL else 0.9)
    assert shape_of(form).problems(example, 1, "line") == []


@pytest.mark.parametrize("form", [form for form in Format if form is not Format.JSONL])
@settings(max_examples=40)
@given(data=st.data())
def test_a_sound_example_is_taken_for_its_own_format(form: Format, data: st.DataObject):
    sound: Sound = data.draw(SOUND[form])
    assert looks_like(sound.example) is form


def test_the_reason_says_how_many_have_what_and_what_the_others_look_like():
    detection = detect([KNOWN["ShareGPT"][0]] * 98 + [KNOWN["Alpaca"][0], 7])
    assert detection.format is Format.SHAREGPT
    assert detection.confidence == 0.98
    assert detection.reason == "98 of 100 examples have `conversations` of {from, value}; others look like 1 alpaca"
    assert not detection.demanded


def test_a_mixed_file_is_what_most_of_it_is():
    detection = detect([KNOWN["Alpaca"][0]] * 3 + [KNOWN["ShareGPT"][0]] * 2)
    assert (detection.format, detection.confidence) == (Format.ALPACA, 0.6)
    assert detection.reason.endswith("others look like 2 sharegpt")


def test_what_could_be_two_formats_is_less_sure_and_says_so():
    detection = detect([KNOWN["Magpie"][0]])
    assert detection.confidence == 0.9
    assert detection.reason == (
        "1 of 1 example has `conversations` of {from, value}, which goes before what would make it alpaca"
    )
    assert detect([KNOWN["C4"][0]]).confidence < detect([KNOWN["plain text"][0]]).confidence


def test_a_label_beside_a_conversation_is_a_verdict_only_if_it_is_a_boolean():
    assert looks_like({"messages": [USER, BOT], "label": "arithmetic"}) is Format.CHATML
    assert looks_like({"messages": [USER, BOT], "label": 1}) is Format.CHATML
    assert looks_like({"messages": [USER, BOT], "label": True}) is Format.KTO


def test_keys_that_are_null_are_as_if_not_there():
    assert looks_like({"messages": None, "chosen": None, "instruction": "Add", "output": "4"}) is Format.ALPACA


def test_without_examples_the_columns_of_a_table_tell():
    detection = detect([], names=["prompt", "completion", "label"])
    assert detection.format is Format.KTO
    assert detection.confidence < 1
    assert "`completion`" in detection.reason


@pytest.mark.parametrize(
    ("examples", "reason"),
    [([], "there are no examples to tell by"), ([None, 3, "x", []], "none of 4 examples is an object")],
)
def test_nothing_to_tell_by_is_said_and_nothing_is_believed(examples: list[Any], reason: str):
    detection = detect(examples)
    assert (detection.format, detection.confidence, detection.reason) == (Format.JSONL, 0.0, reason)


def test_a_format_is_recognised_though_every_example_breaks_its_rules():
    assert detect([{"messages": []}]).format is Format.CHATML
    assert detect([{"instruction": "", "output": None}]).format is Format.ALPACA
    assert detect([{"prompt": "a", "chosen": "b"}]).format is Format.DPO


@given(
    st.lists(JSON | st.dictionaries(st.sampled_from(["messages", "conversations", "text", "label", "chosen"]), JSON))
)
def test_detection_never_fails_and_is_never_surer_than_sure(examples: list[Any]):
    detection = detect(examples)
    assert 0 <= detection.confidence <= 1
    assert detection.reason


def test_a_turn_is_told_from_an_example():
    assert is_turn(USER)
    assert is_turn(HUMAN)
    for value in ({"messages": [USER]}, {"role": "user"}, [USER], "role", None):
        assert not is_turn(value)
