"""From texts to tokens, with what is learned of them and within the longest that is trained on. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from model.finetune.rendering import Rendered
from model.finetune.rows import RowError


@dataclass(frozen=True)
class Tokens:
    """Of an example. `learned` is 1 for each token that has a share in the loss; the first never has, for nothing foretells it."""

    ids: Sequence[int]
    learned: Sequence[int]


def tokens_of(tokenizer: PreTrainedTokenizerBase, rendered: Sequence[Rendered]) -> list[Tokens]:
    """Of each text, tokenised together. A token that begins in a learned range is learned. Raises RowError where the tokenizer does not
    let it be told."""
    fast = tokenizer.is_fast
    texts = [each.text for each in rendered]
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
    offsets = found["offset_mapping"] if fast else [[] for _ in texts]
    return [
        Tokens(ids, _learned(tokenizer, each, ids, marks))
        for each, ids, marks in zip(rendered, found["input_ids"], offsets, strict=True)
    ]


def _learned(
    tokenizer: PreTrainedTokenizerBase, rendered: Rendered, ids: Sequence[int], offsets: Sequence[tuple[int, int]]
) -> list[int]:
    learned = [0] * len(ids)
    trusted = _cover(offsets, len(rendered.text))
    for begin, end in rendered.learned:
        if trusted:
            inside = (at for at, (start, stop) in enumerate(offsets) if begin <= start < end and stop > start)
        else:
            inside = iter(
                range(_count(tokenizer, rendered.text, begin, ids), _count(tokenizer, rendered.text, end, ids))
            )
        for at in inside:
            learned[at] = 1
    if learned:
        learned[0] = 0
    return learned


def _cover(offsets: Sequence[tuple[int, int]], length: int) -> bool:
    """Whether the tokens stand one after the other from the beginning of the text to its end, as not every tokenizer tells."""
    if not offsets or max(stop for _, stop in offsets) != length:
        return False
    starts = [start for start, _ in offsets]
    return starts == sorted(starts)


def _count(tokenizer: PreTrainedTokenizerBase, text: str, end: int, ids: Sequence[int]) -> int:
    """Tokens of the text's beginning, which must be those the whole text begins with."""
    beginning = tokenizer(text[:end], add_special_tokens=False, verbose=False)["input_ids"]
    if list(ids[: len(beginning)]) != list(beginning):
        raise RowError("the tokenizer joins letters across the boundaries of turns, so that they cannot be told apart")
    return len(beginning)


def pieces(tokens: Sequence[int], most: int) -> list[Sequence[int]]:
    """A long text in pieces that overlap by one token, so that every token but the first is foretold once."""
    if len(tokens) <= most:
        return [tokens]
    return [tokens[at : at + most] for at in range(0, len(tokens) - 1, most - 1)]


def shortened(prompt: int, longest_answer: int, most: int) -> tuple[int, int]:
    """How many tokens of prompt and answer are kept: all of the answer where half the room is enough for the prompt, which loses its
    beginning."""
    if prompt + longest_answer <= most:
        return prompt, longest_answer
    kept = min(prompt, max(most - longest_answer, most // 2))
    return kept, min(longest_answer, most - kept)


def last_of(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> str:
    """The end of a text, of at most so many tokens."""
    return _part(tokenizer, text, slice(-most, None), most)


def first_of(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> str:
    """The beginning of a text, of at most so many tokens."""
    return _part(tokenizer, text, slice(0, most), most)


def _part(tokenizer: PreTrainedTokenizerBase, text: str, part: slice, most: int) -> str:
    """Cut between letters where the tokenizer tells where its tokens are, so that what is kept is what was written."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    if len(found["input_ids"]) <= most:
        return text
    if not tokenizer.is_fast:
        return str(tokenizer.decode(found["input_ids"][part]))
    kept = found["offset_mapping"][part]
    return text[kept[0][0] : kept[-1][1]] if kept else ""
