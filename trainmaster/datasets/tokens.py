"""How many tokens a dataset has: guessed from its characters, or counted by a tokenizer the user names (an extra)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainmaster.errors import NotConfiguredError

if TYPE_CHECKING:
    import tokenizers

CHARACTERS_PER_TOKEN = 4
"""What OpenAI's help pages give for English; other scripts have more tokens, code has fewer."""

BATCH_CHARACTERS = 1 << 20
"""Encoded at a time: an encoding takes some hundred bytes for each of its tokens."""

_CONVERSATIONS = ("messages", "prompt", "chosen", "response", "completion")


class TokenCounter(Protocol):
    """Counts the tokens of canonical examples."""

    name: str

    def count(self, examples: Sequence[Mapping[str, Any]]) -> int: ...


class NamedTokenizer:
    """A Hugging Face tokenizer. Each text counts on its own, without a chat template or the tokens that begin and end it."""

    def __init__(self, name: str, tokenizer: tokenizers.Tokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer
        tokenizer.no_truncation()  # many a tokenizer.json has both on, and would count 512 for whatever is longer
        tokenizer.no_padding()

    def count(self, examples: Sequence[Mapping[str, Any]]) -> int:
        """Tokens of all texts in the examples; other threads run meanwhile."""
        return sum(map(self._count_batch, _batches(text for example in examples for text in texts(example))))

    def _count_batch(self, batch: list[str]) -> int:
        encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        return sum(map(len, encodings))


def named_tokenizer(name: str) -> NamedTokenizer:
    """The tokenizer at a path (tokenizer.json, or a folder with one) or of a Hugging Face Hub id, which needs the network.

    Raises NotConfiguredError when the extra is not installed or there is no such tokenizer.
    """
    try:
        import tokenizers  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NotConfiguredError(
            f"Counting tokens with {name} needs an extra that is not installed. Install it with `pip install"
            " 'trainmaster[tokenizers]'`, or go without: tokens are then estimated from characters."
        ) from error
    path = _tokenizer_file(name)
    try:
        return NamedTokenizer(name, tokenizers.Tokenizer.from_buffer(path.read_bytes()))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise NotConfiguredError(
            f"{path} cannot be read as a tokenizer: {said}. Give a tokenizer.json that Hugging Face's tokenizers wrote."
        ) from error


def texts(example: Mapping[str, Any]) -> Iterator[str]:
    """What the lengths of a canonical example are the lengths of: the text of its turns (of a preference those of prompt and
    chosen answer) with their tool calls as JSON, its text, or the JSON of an object of no known shape."""
    conversations = [example[key] for key in _CONVERSATIONS if isinstance(example.get(key), list)]
    if conversations:
        for message in chain.from_iterable(conversations):
            yield from _texts_of(message)
    elif isinstance(example.get("text"), str):
        yield example["text"]
    else:
        yield _as_json(example)


def _texts_of(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part.get("text"), str))
    yield from (_as_json(message[key]) for key in ("tool_calls", "function_call") if message.get(key))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tokenizer_file(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path / "tokenizer.json"
    if path.is_file() or path.suffix == ".json" or name.count("/") > 1 or name.startswith((".", "~", "/")):
        return path
    return _from_hub(name)


def _from_hub(identifier: str) -> Path:
    """Where the Hub's client keeps it; it asks again for half a minute before it gives up."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - comes with the extra

    try:
        return Path(hf_hub_download(identifier, "tokenizer.json", etag_timeout=10))
    except (OSError, ValueError) as error:
        raise NotConfiguredError(
            f"The tokenizer {identifier} is neither a file here nor to be had from the Hugging Face Hub"
            f" ({str(error).splitlines()[0]}). Give the path of a tokenizer.json, or an id such as gpt2 and a network."
        ) from error


def _batches(pieces: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
