"""Every rule of every format: what is refused, where exactly, and what else is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.datasets.formats import Format, MalformedError
from trainmaster.datasets.kinds import ProblemKind as Kind
from trainmaster.datasets.shapes import shape_of

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hello"}
BOT = {"role": "assistant", "content": "Good day"}
CALL = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "12:00"}
ASKED = [{"role": "user", "content": "Why?"}]


def answered(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def told(form: Format, example: Any) -> list[tuple[Kind, str | None]]:
    """The kinds and places of an example's problems, once it is sure that it is refused."""
    with pytest.raises(MalformedError):
        shape_of(form).canonical(example)
    return [(problem.kind, problem.place) for problem in shape_of(form).problems(example, 1, "line")]


def canonical(form: Format, example: Any) -> dict[str, Any]:
    assert shape_of(form).problems(example, 1, "line") == []
    return shape_of(form).canonical(example).example


def messages(*turns: Any) -> dict[str, Any]:
    return {"messages": list(turns)}


CHATML_FAULTS = [
    ([], [(Kind.EMPTY_LIST, None)]),
    (messages(), [(Kind.EMPTY_LIST, "messages")]),
    ("text", [(Kind.WRONG_TYPE, None)]),
    ({"messages": None}, [(Kind.MISSING_KEY, "messages")]),
    ({"message": []}, [(Kind.MISSING_KEY, "messages")]),
    ({"messages": "hi"}, [(Kind.WRONG_TYPE, "messages")]),
    (messages(USER, "hi"), [(Kind.WRONG_TYPE, "messages[1]")]),
    (messages(USER, {"content": "x"}), [(Kind.MISSING_KEY, "messages[1].role")]),
    (messages(USER, {"role": "assistant"}), [(Kind.MISSING_KEY, "messages[1].content")]),
    (messages(USER, {"role": "assistant", "content": None}), [(Kind.MISSING_KEY, "messages[1].content")]),
    (messages(USER, {"role": 5, "content": "x"}), [(Kind.WRONG_TYPE, "messages[1].role")]),
    (messages(USER, {"role": "gpt", "content": "x"}), [(Kind.UNKNOWN_ROLE, "messages[1].role")]),
    (messages(USER, {"role": "assistant", "content": 5}), [(Kind.WRONG_TYPE, "messages[1].content")]),
    (messages(USER, {"role": "assistant", "content": ""}), [(Kind.EMPTY_TEXT, "messages[1].content")]),
    (messages(USER, {"role": "assistant", "content": " \n\u00a0"}), [(Kind.EMPTY_TEXT, "messages[1].content")]),
    (messages({**SYSTEM, "content": ""}, USER, BOT), [(Kind.EMPTY_TEXT, "messages[0].content")]),
    (messages(USER), [(Kind.LAST_NOT_ASSISTANT, "messages[0]")]),
    (messages(USER, BOT, USER), [(Kind.LAST_NOT_ASSISTANT, "messages[2]")]),
    (messages(BOT), [(Kind.NOT_ALTERNATING, "messages[0]")]),
    (messages(SYSTEM, BOT), [(Kind.NOT_ALTERNATING, "messages[1]")]),
    (messages(USER, USER, BOT), [(Kind.NOT_ALTERNATING, "messages[1]")]),
    (messages(USER, BOT, BOT), [(Kind.NOT_ALTERNATING, "messages[2]")]),
    (messages(USER, SYSTEM, BOT), [(Kind.SYSTEM_NOT_FIRST, "messages[1]")]),
    (messages(SYSTEM, SYSTEM, USER, BOT), [(Kind.SYSTEM_NOT_FIRST, "messages[1]")]),
    (messages(USER, TOOL, BOT), [(Kind.NOT_ALTERNATING, "messages[1]")]),
    (messages(USER, CALLING, USER, BOT), [(Kind.NOT_ALTERNATING, "messages[2]")]),
    (messages(USER, CALLING, TOOL), [(Kind.LAST_NOT_ASSISTANT, "messages[2]")]),
    (messages(USER, CALLING, TOOL, USER, BOT), [(Kind.NOT_ALTERNATING, "messages[3]")]),
    (
        messages(USER, CALLING, {**TOOL, "tool_call_id": "c2"}, BOT),
        [(Kind.TOOL_CALL, "messages[2].tool_call_id")],
    ),
    (messages({**USER, "tool_calls": [CALL]}, BOT), [(Kind.TOOL_CALL, "messages[0].tool_calls")]),
    (messages(USER, {**BOT, "tool_calls": "clock"}), [(Kind.WRONG_TYPE, "messages[1].tool_calls")]),
    (
        messages(USER, {**BOT, "tool_calls": [{"function": {"arguments": 5}}]}),
        [
            (Kind.MISSING_KEY, "messages[1].tool_calls[0].function.name"),
            (Kind.WRONG_TYPE, "messages[1].tool_calls[0].function.arguments"),
        ],
    ),
    (messages(USER, {**BOT, "function_call": []}), [(Kind.WRONG_TYPE, "messages[1].function_call")]),
    (messages(USER, {**BOT, "weight": 0.5}), [(Kind.WRONG_VALUE, "messages[1].weight")]),
    (messages(USER, {**BOT, "weight": True}), [(Kind.WRONG_VALUE, "messages[1].weight")]),
    (messages({**USER, "name": 5}, BOT), [(Kind.WRONG_TYPE, "messages[0].name")]),
    (messages({"role": "user", "content": []}, BOT), [(Kind.EMPTY_LIST, "messages[0].content")]),
    (messages({"role": "user", "content": ["hi"]}, BOT), [(Kind.WRONG_TYPE, "messages[0].content[0]")]),
    (messages({"role": "user", "content": [{"text": "hi"}]}, BOT), [(Kind.MISSING_KEY, "messages[0].content[0].type")]),
    (
        messages({"role": "user", "content": [{"type": "text", "text": ""}]}, BOT),
        [(Kind.EMPTY_TEXT, "messages[0].content[0].text")],
    ),
    ([USER, {"role": "assistant", "content": ""}], [(Kind.EMPTY_TEXT, "[1].content")]),
    (
        messages({"role": "usr", "content": ""}, {"role": "assistant", "content": 1}, USER),
        [
            (Kind.UNKNOWN_ROLE, "messages[0].role"),
            (Kind.EMPTY_TEXT, "messages[0].content"),
            (Kind.WRONG_TYPE, "messages[1].content"),
            (Kind.LAST_NOT_ASSISTANT, "messages[2]"),
        ],
    ),
]


@pytest.mark.parametrize(("example", "problems"), CHATML_FAULTS)
def test_chatml_is_refused_with_everything_wrong_where_it_stands(example: Any, problems: list[tuple[Kind, str | None]]):
    assert told(Format.CHATML, example) == problems


@pytest.mark.parametrize(
    "turns",
    [
        [USER, BOT],
        [SYSTEM, USER, BOT, USER, BOT],
        [{**SYSTEM, "role": "developer"}, USER, BOT],
        [USER, CALLING, TOOL, BOT],
        [USER, CALLING, TOOL, {**TOOL}, CALLING, TOOL, BOT, USER, BOT],
        [USER, CALLING],
        [USER, {**CALLING, "content": ""}, {**TOOL, "content": ""}, BOT],
        [USER, {"role": "assistant", "tool_calls": [{"name": "clock", "arguments": {"zone": "UTC"}}]}, TOOL, BOT],
        [USER, {"role": "assistant", "function_call": CALL["function"]}, {"role": "function", "name": "clock", "content": "12"}, BOT],
        [USER, BOT, {"role": "tool", "content": "12:00"}, BOT],
        [{**USER, "name": "Ann", "tool_calls": None}, {**BOT, "weight": 0, "audio": {"id": "a"}}],
        [{"role": "user", "content": [{"type": "text", "text": "Who?"}, {"type": "image_url", "image_url": {"url": "x"}}]}, BOT],
        [{"role": "user", "content": [{"type": "image"}]}, BOT],
    ],
)  # fmt: skip
def test_a_sound_conversation_is_canonical_as_it_is(turns: list[Any]):
    example = {"messages": turns, "tools": [{"type": "function"}], "id": 7}
    assert canonical(Format.CHATML, example) is example
    assert canonical(Format.CHATML, turns) == {"messages": turns}


def test_text_parts_under_value_are_put_under_text():
    turns = [
        {"role": role, "content": [{"type": "text", "value": " x"}], "loss_weight": 0.5}
        for role in ("user", "assistant")
    ]
    become = [
        {"role": role, "content": [{"type": "text", "text": " x"}], "loss_weight": 0.5}
        for role in ("user", "assistant")
    ]
    assert canonical(Format.CHATML, {"id": 1, "messages": turns}) == {"id": 1, "messages": become}


def test_a_long_conversation_is_judged_like_a_short_one():
    assert canonical(Format.CHATML, messages(*[USER, BOT] * 500))
    assert told(Format.CHATML, messages(*[USER, BOT] * 500, BOT)) == [(Kind.NOT_ALTERNATING, "messages[1000]")]


@pytest.mark.parametrize(
    ("role", "hint"),
    [("human", "user"), ("gpt", "assistant"), ("User", "user"), ("asistant", "assistant"), ("sytem", "system")],
)
def test_an_unknown_role_is_told_the_nearest_known_one(role: str, hint: str):
    (problem,) = shape_of(Format.CHATML).problems(messages({**USER, "role": role}, BOT), 3, "line")
    assert str(problem).startswith(f'line 3, messages[0].role: found "{role}"; wanted one of system,')
    assert problem.wanted.endswith(f"; the nearest is {hint}")


SHAREGPT_FAULTS = [
    ({"conversations": []}, [(Kind.EMPTY_LIST, "conversations")]),
    ({"conversations": {}}, [(Kind.WRONG_TYPE, "conversations")]),
    ({}, [(Kind.MISSING_KEY, "conversations")]),
    ({"conversations": [{"from": "human", "value": "x"}]}, [(Kind.LAST_NOT_ASSISTANT, "conversations[0]")]),
    (
        {"conversations": [{"from": "hooman", "value": "x"}, {"from": "gpt", "value": ""}]},
        [(Kind.UNKNOWN_ROLE, "conversations[0].from"), (Kind.EMPTY_TEXT, "conversations[1].value")],
    ),
    (
        {"conversations": [{"from": "human"}, {"value": "x"}]},
        [(Kind.MISSING_KEY, "conversations[0].value"), (Kind.MISSING_KEY, "conversations[1].from")],
    ),
    (
        {"conversations": [{"from": "human", "value": "a", "content": "b"}, {"from": "gpt", "value": "c"}]},
        [(Kind.CONFLICTING_KEYS, "conversations[0].content")],
    ),
    ({"conversations": [SYSTEM, USER, BOT], "system": "Be brief."}, [(Kind.CONFLICTING_KEYS, "system")]),
    ({"conversations": [USER, BOT], "system": 5}, [(Kind.WRONG_TYPE, "system")]),
    ({"conversations": [USER, BOT], "system": "  "}, [(Kind.EMPTY_TEXT, "system")]),
    ({"conversations": [USER, BOT], "messages": [USER]}, [(Kind.CONFLICTING_KEYS, "messages")]),
    ({"conversation": [{"input": "a", "output": ""}]}, [(Kind.EMPTY_TEXT, "conversation[0].output")]),
    ({"conversation": [{"input": "a", "output": "b"}, "c"]}, [(Kind.WRONG_TYPE, "conversation[1]")]),
]


@pytest.mark.parametrize(("example", "problems"), SHAREGPT_FAULTS)
def test_sharegpt_is_refused_with_everything_wrong_where_it_stands(
    example: Any, problems: list[tuple[Kind, str | None]]
):
    assert told(Format.SHAREGPT, example) == problems


def test_a_shared_conversation_with_calls_keeps_each_turns_text():
    turns = [("human", "Time?"), ("function_call", '{"name": "clock"}'), ("observation", "12"), ("gpt", "Noon")]
    named = {"conversations": [{"from": name, "value": text} for name, text in turns], "tools": "[]"}
    roles = ("user", "assistant", "tool", "assistant")
    become = [{"role": role, "content": text} for role, (_, text) in zip(roles, turns, strict=True)]
    assert canonical(Format.SHAREGPT, named) == {"messages": become, "tools": "[]"}


def test_conversations_of_input_and_output_become_turns():
    example = {"source": "s", "conversation": [{"input": "a", "output": "b", "n": 1}, {"input": "c", "output": "d"}]}
    become = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    read = canonical(Format.SHAREGPT, example)
    assert [(turn["role"], turn["content"]) for turn in read["messages"]] == become
    assert (read["source"], read["messages"][1]["n"]) == ("s", 1)


def test_turns_keep_what_else_they_have():
    example = {
        "conversations": [{"from": "human", "value": "a", "weight": None}, {"from": "gpt", "value": "b", "weight": 1.0}]
    }
    assert canonical(Format.SHAREGPT, example)["messages"][1] == {"role": "assistant", "content": "b", "weight": 1.0}


INSTRUCTION_FAULTS = [
    (Format.ALPACA, {"instruction": "a", "input": "", "output": ""}, [(Kind.EMPTY_TEXT, "output")]),
    (Format.ALPACA, {"instruction": " ", "input": "", "output": "b"}, [(Kind.EMPTY_TEXT, "instruction")]),
    (Format.ALPACA, {"instruction": "a", "input": 5, "output": ["b"]}, [(Kind.WRONG_TYPE, "input"), (Kind.WRONG_TYPE, "output")]),
    (Format.ALPACA, {"instruction": "a"}, [(Kind.MISSING_KEY, "output")]),
    (Format.ALPACA, {"instruction": None, "response": None}, [(Kind.MISSING_KEY, "instruction"), (Kind.MISSING_KEY, "response")]),
    (Format.ALPACA, {"instruction": "a", "output": "b", "messages": "c"}, [(Kind.CONFLICTING_KEYS, "messages")]),
    (Format.ALPACA, {"instruction": "a", "output": "b", "history": [["x", ""], "y"]}, [(Kind.EMPTY_TEXT, "history[0][1]"), (Kind.WRONG_TYPE, "history[1]")]),
    (Format.ALPACA, {"instruction": "a", "output": "b", "history": "x"}, [(Kind.WRONG_TYPE, "history")]),
    (Format.OPENORCA, {"system_prompt": "", "question": "", "response": "b"}, [(Kind.EMPTY_TEXT, "question")]),
    (Format.OPENORCA, {"system_prompt": 5, "question": "a", "response": "b"}, [(Kind.WRONG_TYPE, "system_prompt")]),
    (Format.OPENORCA, {"system_prompt": "\t", "question": "a", "response": "b"}, [(Kind.EMPTY_TEXT, "system_prompt")]),
    (Format.OPENORCA, {"question": "a"}, [(Kind.MISSING_KEY, "response")]),
    (Format.UNNATURAL, {"instruction": "a", "instances": []}, [(Kind.EMPTY_LIST, "instances")]),
    (Format.UNNATURAL, {"instruction": "a", "instances": {}}, [(Kind.WRONG_TYPE, "instances")]),
    (Format.UNNATURAL, {"instances": [{"output": "b"}]}, [(Kind.MISSING_KEY, "instruction")]),
    (Format.UNNATURAL, {"instruction": "a", "instances": [{"output": "b"}, {"input": "c"}, 5]}, [(Kind.MISSING_KEY, "instances[1].output"), (Kind.WRONG_TYPE, "instances[2]")]),
    (Format.UNNATURAL, {"instruction": "a", "id": 1, "instances": [{"output": "b", "id": 2}]}, [(Kind.CONFLICTING_KEYS, "instances[0].id")]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "example", "problems"), INSTRUCTION_FAULTS)
def test_instructions_are_refused_with_everything_wrong_where_it_stands(
    form: Format, example: Any, problems: list[tuple[Kind, str | None]]
):
    assert told(form, example) == problems


def test_instances_become_examples_of_their_own():
    instances = [{"input": "1", "output": "one"}, {"instruction_with_input": "Say 2!", "input": "2", "output": "two"}]
    first = shape_of(Format.UNNATURAL).canonical({"instruction": "Say it", "id": 4, "instances": instances})
    said = [[turn["content"] for turn in one.example["messages"]] for one in (first, *first.more)]
    assert said == [["Say it\n\n1", "one"], ["Say 2!", "two"]]
    assert first.more[0].example["instruction"] == "Say it"
    assert [one.example["id"] for one in (first, *first.more)] == [4, 4]


PREFERENCE_FAULTS = [
    (Format.DPO, {"prompt": "a", "chosen": "b", "rejected": "b"}, [(Kind.SAME_ANSWERS, "rejected")]),
    (Format.DPO, {"prompt": "a", "chosen": "b", "rejected": answered("b")}, [(Kind.SAME_ANSWERS, "rejected")]),
    (Format.DPO, {"prompt": "a", "chosen": "b"}, [(Kind.MISSING_KEY, "rejected")]),
    (Format.DPO, {"prompt": "", "chosen": "b", "rejected": "c"}, [(Kind.EMPTY_TEXT, "prompt")]),
    (Format.DPO, {"prompt": 5, "chosen": "b", "rejected": "c"}, [(Kind.WRONG_TYPE, "prompt")]),
    (Format.DPO, {"chosen": "b", "rejected": "c"}, [(Kind.MISSING_KEY, "prompt")]),
    (Format.DPO, {"prompt": "a", "chosen": "", "rejected": 5}, [(Kind.EMPTY_TEXT, "chosen"), (Kind.WRONG_TYPE, "rejected")]),
    (Format.DPO, {"prompt": [USER, BOT], "chosen": "b", "rejected": "c"}, [(Kind.NOT_ALTERNATING, "prompt[1]")]),
    (Format.DPO, {"prompt": "a", "chosen": {"from": "gpt", "value": ""}, "rejected": "c"}, [(Kind.EMPTY_TEXT, "chosen.value")]),
    (Format.DPO, {"chosen": [USER, BOT], "rejected": [USER, BOT]}, [(Kind.SAME_ANSWERS, "rejected")]),
    (Format.DPO, {"chosen": [USER, BOT], "rejected": [*ASKED, BOT]}, [(Kind.DIFFERENT_PROMPTS, "rejected")]),
    (Format.DPO, {"chosen": [USER, BOT], "rejected": answered("c")}, [(Kind.DIFFERENT_PROMPTS, "rejected")]),
    (Format.DPO, {"prompt": "z", "chosen": [USER, BOT], "rejected": [USER, *answered("c")]}, [(Kind.DIFFERENT_PROMPTS, "prompt")]),
    (Format.DPO, {"prompt": [SYSTEM, USER], "system": "x", "chosen": "b", "rejected": "c"}, [(Kind.CONFLICTING_KEYS, "system")]),
    (Format.DPO, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: "}, [(Kind.EMPTY_TEXT, "rejected[1]")]),
    (Format.RLHF, {"prompt": "a", "response": "b"}, [(Kind.MISSING_KEY, "reward")]),
    (Format.RLHF, {"prompt": "a", "response": "b", "reward": "0.5"}, [(Kind.WRONG_TYPE, "reward")]),
    (Format.RLHF, {"prompt": "a", "response": "b", "reward": True}, [(Kind.WRONG_TYPE, "reward")]),
    (Format.RLHF, {"prompt": "a", "response": "b", "reward": float("nan")}, [(Kind.NOT_FINITE, "reward")]),
    (Format.RLHF, {"prompt": "a", "response": "b", "reward": float("-inf")}, [(Kind.NOT_FINITE, "reward")]),
    (Format.RLHF, {"prompt": "", "response": "", "reward": 1}, [(Kind.EMPTY_TEXT, "response"), (Kind.EMPTY_TEXT, "prompt")]),
    (Format.KTO, {"prompt": "a", "completion": "b", "label": 1}, [(Kind.WRONG_TYPE, "label")]),
    (Format.KTO, {"prompt": "a", "completion": "b", "label": None}, [(Kind.MISSING_KEY, "label")]),
    (Format.KTO, {"prompt": "a", "label": True}, [(Kind.MISSING_KEY, "completion")]),
    (Format.KTO, {"messages": [USER], "label": True}, [(Kind.LAST_NOT_ASSISTANT, "messages[0]")]),
    (Format.RAW_TEXT, {"text": "  \n"}, [(Kind.EMPTY_TEXT, "text")]),
    (Format.RAW_TEXT, {"text": ["a"]}, [(Kind.WRONG_TYPE, "text")]),
    (Format.RAW_TEXT, {"content": "a"}, [(Kind.MISSING_KEY, "text")]),
    (Format.JSONL, {}, [(Kind.EMPTY_EXAMPLE, None)]),
    (Format.JSONL, [1], [(Kind.WRONG_TYPE, None)]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "example", "problems"), PREFERENCE_FAULTS)
def test_preferences_and_texts_are_refused_with_everything_wrong_where_it_stands(
    form: Format, example: Any, problems: list[tuple[Kind, str | None]]
):
    assert told(form, example) == problems


@pytest.mark.parametrize(
    ("label", "meant"),
    [(1, "true"), (0, "false"), ("true", "true"), ("False", "false"), ("0", "false"), ("good", None)],
)
def test_a_label_that_is_no_boolean_is_told_how_to_write_it(label: Any, meant: str | None):
    (problem,) = shape_of(Format.KTO).problems({"prompt": "a", "completion": "b", "label": label}, 1, "line")
    assert (f"write {meant}, a boolean" in problem.wanted) == bool(meant)
    assert str(label) in problem.found


PREFERRED = {"prompt": ASKED, "chosen": answered("b"), "rejected": answered("c")}


@pytest.mark.parametrize(
    "example",
    [
        {"prompt": "Why?", "chosen": "b", "rejected": "c"},
        {"question": "Why?", "system": "", "chosen": "b", "rejected": "c"},
        {"instruction": "Why?", "input": "", "chosen": "b", "rejected": "c"},
        {"prompt": ASKED, "chosen": answered("b"), "rejected": answered("c")},
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "b"},
            "rejected": {"from": "gpt", "value": "c"},
        },
        {"chosen": [*ASKED, *answered("b")], "rejected": [*ASKED, *answered("c")]},
        {"prompt": "Why?", "chosen": [*ASKED, *answered("b")], "rejected": [*ASKED, *answered("c")]},
        {"prompt": ASKED, "chosen": [*ASKED, *answered("b")], "rejected": [*ASKED, *answered("c")]},
        {"chosen_messages": [*ASKED, *answered("b")], "rejected_messages": [*ASKED, *answered("c")]},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: b", "rejected": "\n\nHuman: Why?\n\nAssistant: c"},
    ],
)
def test_all_ways_to_write_a_preference_become_one(example: dict[str, Any]):
    assert canonical(Format.DPO, example) == PREFERRED


def test_two_conversations_part_where_the_assistant_answers_differently():
    common = [SYSTEM, USER, BOT, USER]
    chosen = [*common, *answered("b"), USER, BOT]
    read = canonical(Format.DPO, {"chosen": chosen, "rejected": [*common, *answered("c")], "score_chosen": 8.5})
    assert read == {"prompt": common, "chosen": chosen[4:], "rejected": answered("c"), "score_chosen": 8.5}


def test_questions_that_differ_after_equal_answers_belong_to_the_answers():
    read = canonical(Format.DPO, {"chosen": [USER, BOT, *ASKED, BOT], "rejected": [USER, BOT, USER, BOT]})
    assert read["prompt"] == [USER]
    assert read["rejected"] == [BOT, USER, BOT]


def test_a_prompt_with_a_transcripts_marks_is_text_like_any_other():
    read = canonical(Format.DPO, {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " b", "rejected": " c"})
    assert read["prompt"][0]["content"] == "\n\nHuman: Why?\n\nAssistant:"


@pytest.mark.parametrize(
    "example", [{"prompt": "Why?", "completion": "b"}, {"prompt": ASKED, "completion": answered("b")}, {"messages": [*ASKED, *answered("b")]}]
)  # fmt: skip
def test_all_ways_to_write_a_labelled_completion_become_one(example: dict[str, Any]):
    read = canonical(Format.KTO, {**example, "label": False, "id": 3})
    assert read == {"prompt": ASKED, "completion": answered("b"), "label": False, "id": 3}


def test_lengths_of_preferences_are_the_prompts_and_the_better_answers():
    read = shape_of(Format.DPO).canonical(
        {"prompt": "four", "system": "six by", "chosen": "three", "rejected": "x" * 99}
    )
    assert read[1:4] == (10, 5, ("system", "user", "assistant"))
    read = shape_of(Format.RLHF).canonical({"prompt": "four", "response": "three", "reward": -1})
    assert read[1:4] == (4, 5, ("user", "assistant"))


def test_texts_and_objects_are_all_output():
    assert shape_of(Format.RAW_TEXT).canonical({"text": "añ🙂", "url": "u"})[1:4] == (0, 3, ())
    assert shape_of(Format.JSONL).canonical({"a": "é", "b": [1, 2]})[1:4] == (0, len('{"a":"é","b":[1,2]}'), ())
    assert shape_of(Format.JSONL).canonical({"a": 2**80})[2] == len('{"a":1208925819614629174706176}')


@pytest.mark.parametrize("form", list(Format))
def test_what_is_no_example_at_all_is_said_to_be_what_it_is(form: Format):
    for value, found in [(None, "null"), (True, "true"), (5, "the number 5"), ("hi", 'the text "hi"')]:
        (problem,) = shape_of(form).problems(value, 4, "element")
        assert str(problem).startswith(f"element 4: found {found}; wanted an object")


def test_a_line_of_another_format_is_one_problem_that_says_so():
    (problem,) = shape_of(Format.ALPACA).problems({"conversations": [USER, BOT], "id": 1}, 8, "line")
    assert problem.kind is Kind.OTHER_FORMAT
    assert str(problem) == (
        "line 8: found a sharegpt example (conversations, id); "
        "wanted alpaca: an object with instruction, input and output"
    )


def test_long_values_are_cut_in_messages():
    example = {"messages": [{"role": "r" * 10_000, "content": "x"}], **{"k" * 500 + str(n): n for n in range(100)}}
    assert max(len(str(problem)) for problem in shape_of(Format.CHATML).problems(example, 1, "line")) < 300
    assert max(len(str(problem)) for problem in shape_of(Format.ALPACA).problems({"k" * 9000: 1}, 1, "line")) < 300


@pytest.mark.parametrize("form", [Format.CHATML, Format.DPO])
def test_an_example_with_endless_problems_is_told_to_have_more_than_were_looked_for(form: Format):
    turns = [0] * 200_000
    example = {"messages": turns} if form is Format.CHATML else {"prompt": turns, "chosen": "a", "rejected": "b"}
    with pytest.raises(MalformedError):
        shape_of(form).canonical(example)
    problems = shape_of(form).problems(example, 7, "line")
    assert [problem.place for problem in problems[:2]] == [f"{next(iter(example))}[{n}]" for n in range(2)]
    assert len(problems) == 1001
    assert str(problems[-1]) == (
        "line 7: found more than 1,000 problems in this one example; wanted an example with fewer: the rest of it was not read"
    )
