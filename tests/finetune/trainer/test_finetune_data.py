"""What a method makes of canonical datasets: which formats, which tokens are learned, what is cut, and all that is wrong at once."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import CHATS, LABELLED, PAIRS, REWARDED, TEXTS, asked, assistant, channel, tiny_model, user
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from model.finetune import prepared as preparing
from model.finetune.data import Data, read_datasets
from model.finetune.problems import BadInputError
from model.finetune.rendering import CHATML

MARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FORGETS_THOUGHTS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' and loop.last %}(thought)\n{% endif %}"
    "{{ m['content'] | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>(thought)\n{% endif %}"
)
"""Writes the last turn in another way than those before it, as models that reason do, and cuts white space."""
REFUSES_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
)
CALLS = (
    "{% for t in tools or [] %}<|tool|>{{ t | tojson }}<|end|>{% endfor %}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tokenizer(base: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(base)


class Reader:
    """Reads channels of rows in a folder of its own."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        self.folder, self.tokenizer = folder, tokenizer

    def read(self, rows: Iterable[Any] | Mapping[str, Iterable[Any]], **given: Any) -> Data:
        channels = rows if isinstance(rows, Mapping) else {"training": rows}
        folders = {name: channel(self.folder / name, several) for name, several in channels.items()}
        return read_datasets(asked(**given), folders, self.tokenizer, self.folder / "scratch")

    def refused(self, rows: Any, **given: Any) -> str:
        with pytest.raises(BadInputError) as refusal:
            self.read(rows, **given)
        return str(refusal.value)

    def learned(self, messages: list[Any], **given: Any) -> list[str]:
        """The text of each stretch of tokens that is learned."""
        return self.stretches({"messages": messages}, **given)

    def stretches(self, row: dict[str, Any], **given: Any) -> list[str]:
        (row,) = self.read([row], max_length=2048, **given).training
        stretches: list[list[int]] = [[]]
        for token, mask in zip(row["input_ids"], row["assistant_masks"], strict=True):
            if mask:
                stretches[-1].append(token)
            elif stretches[-1]:
                stretches.append([])
        return [self.tokenizer.decode(stretch) for stretch in stretches if stretch]


@pytest.fixture
def reader(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Reader:
    return Reader(tmp_path, tokenizer)


TALK = [
    {"role": "system", "content": "Be brief."},
    user("Hello?"),
    assistant("  Good day."),
    user("And?"),
    assistant("It is blue.\n"),
]


class TestLearnedTokens:
    @pytest.mark.parametrize(
        ("template", "learned"),
        [
            (None, ["  Good day.<|end|>", "It is blue.\n<|end|>"]),
            (MARKED, ["  Good day.<|end|>", "It is blue.\n<|end|>"]),
            (FORGETS_THOUGHTS, ["Good day.<|end|>", "It is blue.<|end|>\n"]),
            (CHATML, ["  Good day.<|im_end|>\n", "It is blue.\n<|im_end|>\n"]),
        ],
        ids=["plain", "with generation marks", "of a model that reasons", "chatml, of no special tokens"],
    )
    def test_are_the_answers_and_what_ends_them(self, template: str | None, learned: list[str], reader: Reader) -> None:
        reader.tokenizer.chat_template = template or reader.tokenizer.chat_template
        assert reader.learned(TALK) == learned

    def test_are_those_of_turns_with_weight_1_alone(self, reader: Reader) -> None:
        talk = [*TALK[:2], assistant("Forget this.", weight=0), user("And?"), assistant("It is blue.", weight=1)]
        for template in (reader.tokenizer.chat_template, MARKED):
            reader.tokenizer.chat_template = template
            assert reader.learned(talk) == ["It is blue.<|end|>"]

    def test_are_those_of_every_turn_but_the_ones_with_weight_0_when_that_is_asked_for(self, reader: Reader) -> None:
        talk = [user("Hello?"), assistant("Forget this.", weight=0), user("And?"), assistant("It is blue.")]
        said = "".join(reader.learned(talk, completion_only_loss=False))
        assert "Forget" not in said
        assert said.endswith("And?<|end|>It is blue.<|end|>")
        (whole,) = reader.learned([user("And?"), assistant("It is blue.")], completion_only_loss=False)
        assert whole == "And?<|end|><|assistant|>It is blue.<|end|>"

    def test_are_the_answers_whatever_is_said(self, reader: Reader) -> None:
        chance = random.Random(5)  # noqa: S311 - nothing secret
        letters = "ab \n<|end>é漢🙂\t.<|user|>"
        for _ in range(60):
            said = ["".join(chance.choices(letters, k=chance.randint(1, 12))) + "x" for _ in range(6)]
            talk = [user(text) if at % 2 == 0 else assistant(text) for at, text in enumerate(said)]
            assert reader.learned(talk) == [f"{text}<|end|>" for text in said[1::2]]

    def test_have_calls_of_tools_among_them_whose_arguments_are_objects_for_the_template(self, reader: Reader) -> None:
        reader.tokenizer.chat_template = CALLS
        call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
        tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        talk = [
            user("Look."),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "blue"},
            assistant("Blue."),
        ]
        (row,) = reader.read([{"messages": talk, "tools": tools}], max_length=2048).training
        learned = [token for token, mask in zip(row["input_ids"], row["assistant_masks"], strict=True) if mask]
        assert reader.tokenizer.decode(learned) == '{"name": "look", "arguments": {"at": "sky"}}<|end|>Blue.<|end|>'
        assert "parameters" in reader.tokenizer.decode(row["input_ids"])

    def test_are_never_of_a_template_that_leaves_calls_out(self, reader: Reader) -> None:
        call = {"function": {"name": "look", "arguments": {}}}
        talk = [
            user("Look."),
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": ""},
            assistant("Blue."),
        ]
        assert "tool calls (look), which the chat template has no place for" in reader.refused([{"messages": talk}])

    def test_of_parts_are_their_texts(self, reader: Reader) -> None:
        parts = [{"type": "text", "text": "It is "}, {"type": "text", "text": "blue."}]
        assert reader.learned([user("?"), {"role": "assistant", "content": parts}]) == ["It is blue.<|end|>"]

    def test_begin_after_a_system_prompt_where_there_was_none(self, reader: Reader) -> None:
        data = reader.read([{"messages": TALK}, {"messages": TALK[1:]}], system_prompt="Be long.", max_length=2048)
        first, second = (reader.tokenizer.decode(row["input_ids"]) for row in data.training)
        assert "Be brief." in first
        assert "Be long." not in first
        assert second.startswith("<|system|>Be long.<|end|>")

    def test_of_pairs_in_supervised_training_are_the_chosen_answers(self, reader: Reader) -> None:
        for row in reader.read(PAIRS, training_method="sft").training:
            learned = [token for token, mask in zip(row["input_ids"], row["assistant_masks"], strict=True) if mask]
            assert reader.tokenizer.decode(learned) == "It is blue.<|end|>"

    def test_of_plain_prompts_are_the_completions_and_need_no_chat_template(self, reader: Reader) -> None:
        reader.tokenizer.chat_template = None
        (row,) = reader.read([{"prompt": "The sky is", "completion": " blue."}], training_method="sft").training
        learned = [token for token, mask in zip(row["input_ids"], row["assistant_masks"], strict=True) if mask]
        assert reader.tokenizer.decode(learned) == " blue.<|end|>"

    @pytest.mark.parametrize(
        ("row", "alone", "all_turns"),
        [
            ({"prompt": "The sky is", "completion": " blue."}, [" blue.<|end|>"], [" sky is blue.<|end|>"]),
            ({"prompt": "The sky is", "chosen": " blue.", "rejected": " red."}, [" blue.<|end|>"], [" sky is blue.<|end|>"]),
            (
                {"prompt": [user("And?")], "completion": [assistant("Call it."), {"role": "tool", "content": "The sky"}, assistant("Blue.")]},
                ["Call it.<|end|>", "Blue.<|end|>"],
                ["And?<|end|><|assistant|>Call it.<|end|><|tool|>The sky<|end|><|assistant|>Blue.<|end|>"],
            ),
            (
                {"prompt": [user("And?")], "completion": [assistant("No.", weight=0), user("Yes?"), assistant("Blue.")]},
                ["Blue.<|end|>"],
                ["And?<|end|>", "Yes?<|end|>", "Blue.<|end|>"],
            ),
            (
                {"prompt": [user("Hello?"), assistant("No."), user("And?")], "chosen": [assistant("Blue.")], "rejected": [assistant("No.")]},
                ["Blue.<|end|>"],
                ["Hello?<|end|><|assistant|>No.<|end|><|user|>And?<|end|><|assistant|>Blue.<|end|>"],
            ),
        ],
        ids=["text", "pair of texts", "tools", "weight 0", "pair of turns"],
    )  # fmt: skip
    def test_of_prompts_are_the_assistants_turns_of_the_answer_or_all_turns_but_never_those_with_weight_0(
        self, row: dict[str, Any], alone: list[str], all_turns: list[str], reader: Reader
    ) -> None:
        assert reader.stretches(row) == alone
        everything = reader.stretches(row, completion_only_loss=False)
        assert [text.removeprefix("<|user|>") for text in everything] == all_turns


class TestPreferences:
    def test_part_prompt_and_answers_where_the_assistant_begins_and_leave_the_end_to_the_trainer(
        self, reader: Reader
    ) -> None:
        row = reader.read(PAIRS, training_method="dpo").training[0]
        assert row == {
            "prompt": "<|user|>What colour has the apple?<|end|><|assistant|>", "chosen": "It is blue.", "rejected": "It is red.",
        }  # fmt: skip

    @pytest.mark.parametrize("rows", [LABELLED, REWARDED, PAIRS], ids=["labels", "rewards", "pairs"])
    def test_are_good_and_bad_answers_by_label_reward_or_pair(self, rows: list[Any], reader: Reader) -> None:
        found = reader.read(rows, training_method="kto").training
        assert {(row["completion"], row["label"]) for row in found} == {("It is blue.", True), ("It is red.", False)}
        assert len(found) == 16

    def test_lose_the_beginning_of_a_long_prompt_and_only_then_the_end_of_an_answer(self, reader: Reader) -> None:
        many = " ".join(f"word{number}" for number in range(60))
        rows = [
            {"prompt": [user(many)], "chosen": [assistant("It is blue.")], "rejected": [assistant("It is red.")]},
            {"prompt": [user("?")], "chosen": [assistant(many)], "rejected": [assistant("It is red.")]},
        ]
        data = reader.read(rows, training_method="dpo", max_length=40)
        long_prompt, long_answer = data.training
        assert (long_prompt["chosen"], long_prompt["rejected"]) == ("It is blue.", "It is red.")
        assert long_prompt["prompt"].endswith("word59<|end|><|assistant|>")
        assert long_answer["prompt"] == "<|user|>?<|end|><|assistant|>"
        assert many.startswith(long_answer["chosen"])
        for row in data.training:
            counts = {
                name: len(reader.tokenizer(text, add_special_tokens=False)["input_ids"]) for name, text in row.items()
            }
            assert 30 < counts["prompt"] + max(counts["chosen"], counts["rejected"]) <= 38
        assert data.statistics["training"].longer == 2


class TestLength:
    def test_longer_examples_are_cut_and_those_with_nothing_left_to_learn_left_out_and_both_counted(
        self, reader: Reader, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [
            *CHATS,
            {"messages": [user("Hi?"), assistant("blue " * 90)]},
            {"messages": [user("why " * 90), assistant("So.")]},
        ]
        data = reader.read(rows, max_length=50)
        assert len(data.training) == 9
        assert max(len(row["input_ids"]) for row in data.training) == 50
        said = data.statistics["training"]
        assert (said.rows, said.examples, said.longer, said.left_out) == (10, 9, 2, 1)
        assert "2 are longer than max_length 50: 1 of them are left out." in capsys.readouterr().out

    def test_longer_examples_are_left_out_or_refused_as_asked(self, reader: Reader) -> None:
        rows = [*CHATS, {"messages": [user("Hi?"), assistant("blue " * 90)]}]
        assert len(reader.read(rows, max_length=50, long_examples="drop").training) == 8
        said = reader.refused(rows, max_length=50, long_examples="refuse")
        assert "training/data.jsonl.gz line 9: has " in said
        assert "more than max_length 50" in said

    def test_when_nothing_is_left_nothing_is_trained(self, reader: Reader) -> None:
        rows = [{"messages": [user("why " * 90), assistant("So.")]}]
        assert "None of the 1 rows for training can be trained on within max_length 20" in reader.refused(
            rows, max_length=20
        )

    def test_long_texts_are_split_so_that_every_token_is_learned_once(self, reader: Reader) -> None:
        text = " ".join(f"word{number}" for number in range(100))
        whole = reader.tokenizer(text)["input_ids"] + [reader.tokenizer.eos_token_id]
        for most in range(8, 40):
            rows = list(reader.read([{"text": text}], training_method="cpt", max_length=most).training)
            assert max(len(row["input_ids"]) for row in rows) <= most
            learned = [
                token
                for row in rows
                for token, mask in zip(row["input_ids"], row["assistant_masks"], strict=True)
                if mask
            ]
            assert learned == whole[1:]


class TestRefusals:
    def test_every_bad_row_is_told_with_its_file_and_line(
        self, reader: Reader, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = json.dumps(CHATS[0])
        bad: dict[str, str] = {
            "{": "is no JSON",
            "[]": "is a JSON list, not an object",
            '{"messages": []}': "messages is empty, not a list of turns",
            '{"messages": [{"role": "user", "content": "Hi"}]}': "nothing to learn",
            '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x", "weight": 0}]}': "nothing to learn",
            '{"messages": [{"role": "assistant", "content": "x", "weight": 2}]}': "messages[0].weight is 2, not 0 or 1",
            '{"messages": [{"role": "assistant", "content": 7}]}': "messages[0].content is a JSON number, not text",
            '{"messages": [{"content": "x"}]}': "messages[0] is no turn with a role",
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "x"}]}': "type image_url",
            '{"chosen": "x"}': "has chosen alone",
        }
        lines = [line for each in bad for line in (good, each)]
        said = reader.refused({"training": [good], "training-2": lines})
        assert said.startswith("10 rows cannot be trained on: training-2/data.jsonl.gz line 2: is no JSON")
        assert "and 2 more, which the log lists" in said
        log = capsys.readouterr().out
        for at, what in enumerate(bad.values()):
            line = next(each for each in log.splitlines() if f"training-2/data.jsonl.gz line {2 * at + 2}:" in each)
            assert what in line

    def test_many_bad_rows_are_counted(self, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
        assert reader.refused(["{"] * 1203).startswith("1,203 rows cannot be trained on:")
        log = capsys.readouterr().out.splitlines()
        assert len(log) == 1001
        assert log[-1] == "Cannot be trained on: 203 more rows."

    @pytest.mark.parametrize(
        ("method", "rows", "format_", "would_do"),
        [
            ("sft", TEXTS, "raw_text", "training_method cpt learns from plain text"),
            ("sft", LABELLED, "kto", "training_method kto learns"),
            ("dpo", CHATS, "chatml", "training_method sft learns from conversations"),
            ("orpo", REWARDED, "rlhf", "training_method kto learns from answers with a reward"),
            ("cpt", PAIRS, "dpo", "training_method dpo and orpo learn"),
            ("kto", [{"any": 1}], "jsonl", "no method learns"),
        ],
        ids=["text", "labels", "chats", "rewards", "pairs", "anything"],
    )  # fmt: skip
    def test_a_format_that_a_method_cannot_use_is_told_once_with_its_channel_and_what_would_do(
        self, method: str, rows: list[Any], format_: str, would_do: str, reader: Reader
    ) -> None:
        usable = {"sft": CHATS, "dpo": PAIRS, "orpo": PAIRS, "cpt": TEXTS, "kto": LABELLED}[method]
        said = reader.refused({"training": usable, "training-2": rows}, training_method=method)
        count = f"{len(rows):,} examples of format {format_} (the first: training-2/data.jsonl.gz line 1)"
        assert said.startswith(f"Channel training-2 has {count}. training_method {method} learns from: ")
        assert would_do in said
        assert said.count("training-2") == 2

    def test_several_channels_of_usable_formats_are_learned_from_together(self, reader: Reader) -> None:
        data = reader.read({"training": CHATS, "training-2": PAIRS, "validation": CHATS[:3]}, training_method="sft")
        assert (len(data.training), len(data.validation or ())) == (16, 3)

    def test_without_a_chat_template_conversations_are_refused(self, reader: Reader) -> None:
        reader.tokenizer.chat_template = None
        for method, rows in {"sft": CHATS, "dpo": PAIRS}.items():
            assert "no chat template" in reader.refused(rows, training_method=method)

    def test_what_the_chat_template_says_of_a_row_is_told(self, reader: Reader) -> None:
        reader.tokenizer.chat_template = REFUSES_SYSTEM
        assert "the chat template refuses it (System role not supported)" in reader.refused([{"messages": TALK}])

    def test_a_file_that_breaks_off_or_is_no_dataset_is_told(self, reader: Reader, tmp_path: Path) -> None:
        whole = gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in CHATS))
        (channel(tmp_path / "broken", CHATS) / "data.jsonl.gz").write_bytes(whole[:-20])
        (channel(tmp_path / "foreign", CHATS) / "notes.csv").write_text("a,b")
        for name, said in {"broken": "cannot be read to its end", "foreign": "notes.csv, which is no dataset"}.items():
            with pytest.raises(BadInputError, match=said):
                read_datasets(asked(), {"training": tmp_path / name}, reader.tokenizer, tmp_path / "scratch")

    def test_without_a_channel_or_a_row_there_is_no_data(self, reader: Reader) -> None:
        assert "no channel named 'training'" in reader.refused({"validation": CHATS})
        assert "its files have no rows" in reader.refused([""])


class TestHeldOut:
    def test_rows_are_the_same_for_a_seed_and_others_for_another(self, reader: Reader) -> None:
        def held_out(seed: int) -> list[list[int]]:
            data = reader.read(CHATS, validation_fraction=0.25, seed=seed)
            assert (len(data.training), len(data.validation or ())) == (6, 2)
            return [row["input_ids"] for row in data.validation or ()]

        first = held_out(1)
        assert held_out(1) == first
        assert any(held_out(seed) != first for seed in range(2, 6))

    def test_rows_are_held_out_whole(self, reader: Reader) -> None:
        data = reader.read(TEXTS, training_method="cpt", max_length=8, validation_fraction=0.5)
        sides = [
            "".join(reader.tokenizer.decode(row["input_ids"]) for row in side)
            for side in (data.training, data.validation or ())
        ]
        assert {
            thing for row in TEXTS for thing in [row["text"].split()[1]] if all(thing in side for side in sides)
        } == set()

    def test_at_least_one_is_held_out_and_one_trained_on(self, reader: Reader) -> None:
        data = reader.read(CHATS[:2], validation_fraction=0.01)
        assert (len(data.training), len(data.validation or ())) == (1, 1)
        assert "validation_fraction" in reader.refused(CHATS[:1], validation_fraction=0.5)

    def test_a_validation_channel_is_taken_instead(self, reader: Reader) -> None:
        data = reader.read({"training": CHATS, "validation": CHATS[:2]}, validation_fraction=0.5)
        assert (len(data.training), len(data.validation or ())) == (8, 2)


def test_examples_are_written_once_for_all_processes_of_a_host_and_mapped_from_there(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    writing = preparing._write
    monkeypatch.setattr(preparing, "_write", lambda folder, *rest: (written.append(folder), writing(folder, *rest)))
    channel(reader.folder / "training", CHATS)
    found: list[Data] = []

    def read() -> None:
        found.append(
            read_datasets(
                asked(), {"training": reader.folder / "training"}, reader.tokenizer, reader.folder / "scratch"
            )
        )

    processes = [threading.Thread(target=read) for _ in range(4)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert len(written) == 1
    assert len(found) == 4
    assert all(list(each.training) == list(found[0].training) for each in found)
    assert all("scratch" in file["filename"] for each in found for file in each.training.cache_files)


def test_examples_that_were_being_written_when_a_process_died_are_written_anew(reader: Reader) -> None:
    first = reader.read(CHATS)
    (made,) = {Path(file["filename"]).parent for file in first.training.cache_files}
    made.rename(made.with_name("training.being-made"))
    (made.with_name("training.being-made") / "examples.arrow").write_bytes(b"half")
    assert len(reader.read(CHATS).training) == 8
