"""YAML as people write settings in it, with the line of every key, so that whatever is wrong is said where it stands. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from yaml.composer import Composer
from yaml.resolver import Resolver

KeyPath = tuple[str | int, ...]
_AT = "wrong_at"
_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong: on which line, at which key ("" for the whole file), and what."""

    line: int
    key: str
    what: str

    def sentence(self) -> str:
        at = f"line {self.line}, {self.key}" if self.key else f"line {self.line}"
        return f"{at}: {self.what}"


class LinedYamlError(ValueError):
    """Raised when a text is no YAML that can be taken as meant; `wrongs` are all that is wrong with it."""

    def __init__(self, wrongs: list[Wrong]) -> None:
        self.wrongs = tuple(wrongs)
        super().__init__("; ".join(one.sentence() for one in wrongs))


@dataclass(frozen=True)
class Document:
    """What a text says, and by the path of each key or item its line, the first being 1."""

    value: Any
    lines: Mapping[KeyPath, int]

    def line_of(self, path: KeyPath) -> int:
        """Of what is there, or of what it would be in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def wrongs(self, error: ValidationError) -> list[Wrong]:
        """What pydantic finds wrong with it, in the order of lines."""
        return sorted(self._wrongs(error), key=lambda one: (one.line, one.key))

    def _wrongs(self, error: ValidationError) -> Iterator[Wrong]:
        for one in error.errors(include_url=False):
            loc = tuple(part for part in one["loc"] if part != "[key]")
            if one["type"] == _AT:
                for path, what in one["ctx"]["wrongs"].items():
                    yield Wrong(self.line_of((*loc, *path)), key_of((*loc, *path)), what)
                continue
            what = str(one["msg"]).removeprefix("Value error, ")
            if one["type"] == "extra_forbidden":
                what = "there is no such key"
            elif not isinstance(one["input"], Mapping | list | tuple) and one["type"] != "missing":
                what = f"{one['input']!s:.80} cannot be taken: {what[:1].lower()}{what[1:]}"
            yield Wrong(self.line_of(loc), key_of(loc), what)


def wrong_at(wrongs: Mapping[KeyPath, str]) -> PydanticCustomError:
    """For a validator to raise that looks at several keys together: what is wrong, each at its own path below."""
    said = "; ".join(f"{key_of(path)}: {what}" for path, what in wrongs.items())
    return PydanticCustomError(_AT, "{said}", {"said": said, "wrongs": dict(wrongs)})


def key_of(path: KeyPath) -> str:
    """For people: `roles.researcher.instance_types[2]`, counted from 1."""
    said = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path)
    return said.removeprefix(".")


def read_yaml(text: str) -> Document:
    """What it says: texts, whole numbers, Decimals, true and false, lists and mappings by text.

    Raises LinedYamlError for what is no YAML, for a key given twice or that is no text, for an empty value, and for anchors, tags
    and what else YAML has that nobody means in settings.
    """
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
        refused = [_refused(event) for event in events if _is_foreign(event)]
        node = None if refused else _Composer(events).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise LinedYamlError([Wrong(mark.line + 1 if mark else 1, "", str(error.problem or error.context))]) from error
    except yaml.YAMLError as error:
        raise LinedYamlError([Wrong(1, "", str(error).partition("\n")[0])]) from error
    reading = _Reading({}, refused)
    value = reading.read(node, ()) if node is not None else {}
    if reading.wrongs:
        raise LinedYamlError(reading.wrongs)
    return Document(value, reading.lines)


class _Composer(Composer, Resolver):
    """Makes nodes of events that were read before: reading a text is what takes long."""

    def __init__(self, events: Iterable[yaml.Event]) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        self._events = deque(events)

    def check_event(self, *kinds: type[yaml.Event]) -> bool:
        return bool(self._events) and isinstance(self._events[0], kinds)

    def peek_event(self) -> yaml.Event:
        return self._events[0]

    def get_event(self) -> yaml.Event:
        return self._events.popleft()


@dataclass(frozen=True)
class _Reading:
    lines: dict[KeyPath, int]
    wrongs: list[Wrong]

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, at)) for at, item in enumerate(node.value)]
        if node.tag == f"{_TAG}null":
            self._note(node, path, "it has no value: give one, or leave the key out")
        return _scalar(node)

    def _items(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
        for key, value in node.value:
            if key.tag != f"{_TAG}str":
                self._note(key, path, f"the key {getattr(key, 'value', '')!s:.80} is no text; put it in quotes")
                continue
            here = (*path, key.value)
            if here in self.lines:
                self._note(key, here, f"it is there twice, first on line {self.lines[here]}")
                continue
            self.lines[here] = key.start_mark.line + 1
            yield key.value, self.read(value, here)

    def _note(self, node: yaml.Node, path: KeyPath, what: str) -> None:
        self.wrongs.append(Wrong(node.start_mark.line + 1, key_of(path), what))


def _scalar(node: yaml.Node) -> Any:
    """Of YAML's many ways to write a number or a truth only the plain ones count; whatever else was meant is text."""
    text = str(node.value)
    if node.tag == f"{_TAG}bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if node.tag == f"{_TAG}int" and _WHOLE.fullmatch(text):
        return int(text)
    if node.tag == f"{_TAG}float":
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text


def _is_foreign(event: yaml.Event) -> bool:
    tag = getattr(event, "tag", None)
    return isinstance(event, yaml.AliasEvent) or bool(getattr(event, "anchor", None)) or tag is not None


def _refused(event: yaml.Event) -> Wrong:
    mark = event.start_mark
    return Wrong(mark.line + 1 if mark else 1, "", "anchors, aliases and tags are not taken; write it out")
