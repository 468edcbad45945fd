"""From examples to texts as the base model's chat template writes them, and which of their letters are learned. Imports no PyTorch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from model.finetune.examples import Conversation, Message
from model.finetune.problems import BadInputError
from model.finetune.rows import RowError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
_STAND_IN = "\ue000stand-in\ue001"
"""Of a turn's content, to find where a template puts it; from Unicode's private use area."""


@dataclass(frozen=True)
class Rendered:
    """A text, and the ranges of its characters that are learned, in order."""

    text: str
    learned: tuple[tuple[int, int], ...]


class Template:
    """A base model's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        self._tokenizer, self._template = tokenizer, template
        self._marked = bool(template and _MARKED.search(template))

    def conversation(self, example: Conversation) -> Rendered:
        """With the ranges that are learned: all there is, or of each turn what follows its header, up to and with what ends it. Raises
        RowError, and BadInputError where there is no template at all."""
        text = self.text(example.messages, example.tools)
        self._check_nothing_is_missing(text, example)
        if len(example.learned) == len(example.messages):
            return Rendered(text, ((0, len(text)),))
        marked = self._marked_ranges(example) if self._marked else {}
        ranges = [marked.get(at) or self._range(text, example, at) for at in sorted(example.learned)]
        return Rendered(text, tuple(ranges))

    def answers(
        self, prompt: Sequence[Message], answers: Sequence[Sequence[Message]], tools: Sequence[Any] | None
    ) -> tuple[str, list[str]]:
        """A prompt that ends where the assistant is to begin, and each answer as it goes on from there, without the token that
        ends it. Raises RowError."""
        begun = self.text(prompt, tools, asking=True)
        whole = [self.text([*prompt, *answer], tools) for answer in answers]
        if not all(text.startswith(begun) for text in whole):
            shorter = self.text(prompt, tools)
            if not all(text.startswith(shorter) for text in whole):
                raise RowError("the chat template writes the prompt in another way when an answer follows")
            begun = shorter
        return begun, [self._unended(text[len(begun) :]) for text in whole]

    def text(self, messages: Sequence[Message], tools: Sequence[Any] | None = None, *, asking: bool = False) -> str:
        """Raises RowError of what the template refuses."""
        return self._rendered(messages, tools, asking=asking)[0]

    def _rendered(
        self, messages: Sequence[Message], tools: Sequence[Any] | None, *, asking: bool = False, marked: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        if not self._template:
            raise BadInputError(
                "The base model has no chat template, and the data are conversations. Set chat_template to 'chatml' or to a"
                " template of your own, or choose a model that was made for chats."
            )
        try:
            (text,), ranges = render_jinja_template(
                [list(messages)],
                tools=list(tools) if tools else None,
                chat_template=self._template,
                return_assistant_tokens_mask=marked,
                add_generation_prompt=asking,
                **self._tokenizer.special_tokens_map,
            )
        except TemplateError as error:
            raise RowError(f"the chat template refuses it ({error})") from error
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RowError(f"the chat template fails on it ({type(error).__name__}: {error})") from error
        return text, ranges[0] if ranges else []

    def _check_nothing_is_missing(self, text: str, example: Conversation) -> None:
        named = [(tool.get("function", tool).get("name"), "tools") for tool in example.tools or ()]
        named += [
            (call["function"]["name"], "tool calls")
            for message in example.messages
            for call in message.get("tool_calls", ())
        ]
        for name, what in named:
            if name and str(name) not in text:
                raise RowError(f"has {what} ({name}), which the chat template has no place for")

    def _marked_ranges(self, example: Conversation) -> dict[int, tuple[int, int]]:
        """By the template's own marks, where it marks every turn of the assistant."""
        answers = [at for at, message in enumerate(example.messages) if message["role"] == "assistant"]
        _, ranges = self._rendered(example.messages, example.tools, marked=True)
        return dict(zip(answers, ranges, strict=True)) if len(ranges) == len(answers) else {}

    def _range(self, text: str, example: Conversation, at: int) -> tuple[int, int]:
        """Of one turn, proven: what was written before it is how the whole begins."""
        messages, tools = example.messages, example.tools
        answer = messages[at]["role"] == "assistant"
        try:
            before = self.text(messages[:at], tools, asking=answer) if at or answer else ""
            whole = self.text(messages[: at + 1], tools)
        except RowError:
            return self._range_of_content(text, example, at)  # a template may refuse half a conversation
        if text.startswith(whole) and whole.startswith(before):
            return len(before), len(whole)
        return self._range_of_content(text, example, at)

    def _range_of_content(self, text: str, example: Conversation, at: int) -> tuple[int, int]:
        """Where templates write a turn differently once others follow: what stands in the place of its content."""
        turn = example.messages[at]
        stood_in = [*example.messages[:at], {**turn, "content": _STAND_IN}, *example.messages[at + 1 :]]
        before, found, after = self.text(stood_in, example.tools).partition(_STAND_IN)
        end = len(text) - len(after)
        if (
            turn.get("tool_calls")
            or not found
            or not (text.startswith(before) and text.endswith(after))
            or end < len(before)
        ):
            raise RowError(
                f"messages[{at}] cannot be told from its surroundings in what the chat template makes of it; give a chat_template"
                " that writes a turn in the same way whatever follows, or one with {% generation %} marks"
            )
        ending = next((token for token in self._tokenizer.all_special_tokens if after.startswith(token)), "")
        return len(before), end + len(ending)

    def _unended(self, answer: str) -> str:
        """Without the token at its end, which the trainers of preferences add themselves."""
        stripped, eos = answer.rstrip(), self._tokenizer.eos_token
        return stripped.removesuffix(eos) if eos and stripped.endswith(eos) else answer
