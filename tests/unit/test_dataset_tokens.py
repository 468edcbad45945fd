"""Tokens counted by a tokenizer that is built here, so that the right number is known."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from trainmaster.datasets.formats import Canonical
from trainmaster.datasets.statistics import Tally
from trainmaster.datasets.tokens import BATCH_CHARACTERS, named_tokenizer, texts
from trainmaster.errors import NotConfiguredError


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A tokenizer.json by which every word is a token, and which would cut, pad and frame as many published ones do."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "hello": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=16)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def chat(*contents: str) -> Canonical:
    messages = [{"role": "user", "content": content} for content in contents]
    return Canonical({"messages": messages}, sum(map(len, contents)), 0, ("user",) * len(contents))


def test_every_token_of_the_text_counts_and_nothing_a_tokenizer_would_add_or_cut(words: Path) -> None:
    tally = Tally(named_tokenizer(str(words)))
    tally.add([chat("hello you there", "one two three four five six seven"), chat("hello")], [1, 2])
    tally.add([chat("")], [3])
    found = tally.result()
    assert (found.exact_tokens, found.tokenizer) == (11, str(words))
    assert found.estimated_tokens == round(53 / 4)


def test_a_folder_with_a_tokenizer_will_do(words: Path) -> None:
    assert named_tokenizer(str(words.parent)).count([{"text": "hello you"}]) == 2


def test_more_text_than_is_encoded_at_once_counts_whole(words: Path) -> None:
    long = "word " * (BATCH_CHARACTERS // 10)
    assert named_tokenizer(str(words)).count([{"text": long}] * 5) == 5 * (BATCH_CHARACTERS // 10)


@pytest.mark.parametrize(
    ("example", "wanted"),
    [
        ({"text": "a", "source": "web"}, ["a"]),
        (
            {
                "prompt": [{"role": "user", "content": "a"}],
                "chosen": [{"content": "b"}],
                "rejected": [{"content": "c"}],
            },
            ["a", "b"],
        ),
        ({"prompt": [{"content": "a"}], "completion": [{"content": "b"}], "label": True}, ["a", "b"]),
        ({"messages": [{"content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], "id": "7"}, ["a"]),
        (
            {"messages": [{"content": None, "tool_calls": [{"id": "é"}]}, {"role": "tool", "content": "a"}]},
            ['[{"id":"é"}]', "a"],
        ),
        ({"question": "a", "n": [1, None]}, ['{"question":"a","n":[1,null]}']),
    ],
)
def test_what_counts_is_what_lengths_are_measured_of(example: dict[str, object], wanted: list[str]) -> None:
    assert list(texts(example)) == wanted


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, words: Path) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(NotConfiguredError, match=r"pip install 'trainmaster\[tokenizers\]'"):
        named_tokenizer(str(words))


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json", b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_refused_by_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotConfiguredError, match=str(path)):
        named_tokenizer(str(path))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotConfiguredError, match="No such file"):
        named_tokenizer(str(tmp_path))


def test_a_name_the_hub_cannot_give_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotConfiguredError, match=r"nobody/nothing is neither a file here nor .* Give the path"):
        named_tokenizer("nobody/nothing")


def test_a_name_that_can_be_no_id_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(NotConfiguredError, match="Give the path"):
        named_tokenizer("no such name")
