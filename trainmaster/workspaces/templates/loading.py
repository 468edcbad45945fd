"""The templates workspaces are opened from: the YAML files of a folder, each checked, with what it extends laid under it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainmaster.errors import NotConfiguredError, TemplatesRefusedError, UnknownChoiceError
from trainmaster.local_settings import LocalSettings
from trainmaster.workspaces.lined_yaml import Document, KeyPath, LinedYamlError, Wrong, key_of, read_yaml
from trainmaster.workspaces.templates.template import Template

_SUFFIXES = {".yaml", ".yml"}
_EXTENDS = "extends"
_OWN = {_EXTENDS, "name"}
"""What is not taken from the template that is extended."""
_LARGEST = 256 << 10  # bytes


@dataclass(frozen=True)
class FileProblem:
    """One thing that is wrong in a file of a folder."""

    file: str
    wrong: Wrong

    def sentence(self) -> str:
        return f"{self.file}, {self.wrong.sentence()}"


@dataclass(frozen=True)
class Templates:
    """What a folder has: the templates that are right, and what is wrong with the others."""

    folder: Path
    templates: Mapping[str, Template]
    problems: Mapping[str, tuple[FileProblem, ...]] = field(default_factory=dict)
    """By the name of the template that cannot be used for them, those of what it extends included."""

    @property
    def all_problems(self) -> list[FileProblem]:
        """Each once, by file and line."""
        return _sorted({one for problems in self.problems.values() for one in problems})

    def get(self, name: str) -> Template:
        """The one of that name. Raises TemplatesRefusedError with what is wrong with it, UnknownChoiceError naming what there is."""
        if name in self.problems:
            raise TemplatesRefusedError(f"Template {name}", self.problems[name])
        if name in self.templates:
            return self.templates[name]
        near = get_close_matches(name, self.templates, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UnknownChoiceError(
            f"There is no template {name!r}.{meant} There are: {', '.join(self.templates) or 'none'}."
        )


def load_templates(folder: Path) -> Mapping[str, Template]:
    """All templates of a folder, by name. Raises TemplatesRefusedError with every problem of every file."""
    read = read_templates(folder)
    if read.problems:
        raise TemplatesRefusedError(f"Templates of {folder}", read.all_problems)
    return read.templates


def find_template(settings: LocalSettings, name: str) -> Template:
    """The one of that name; what is wrong with others does not matter. Raises as `Templates.get`."""
    return read_templates(settings.workspace_templates).get(name)


def read_templates(folder: Path) -> Templates:
    """Those that can be used, and what is wrong with those that cannot. Raises NotConfiguredError where there is no such folder."""
    if not folder.is_dir():
        raise NotConfiguredError(
            f"There is no folder {folder} to read the templates of workspaces from. Set TRAINMASTER_WORKSPACE_TEMPLATES to one that is there."
        )
    found = sorted(folder.iterdir(), key=lambda path: path.stem)
    files = {path.stem: _File.read(path) for path in found if path.suffix in _SUFFIXES and path.is_file()}
    templates: dict[str, Template] = {}
    problems: dict[str, tuple[FileProblem, ...]] = {}
    for name in files:
        read = _template(name, files)
        if isinstance(read, Template):
            templates[name] = read
        else:
            problems[name] = tuple(_sorted(read))
    return Templates(folder, templates, problems)


@dataclass(frozen=True)
class _File:
    name: str
    document: Document
    wrongs: tuple[Wrong, ...] = ()

    @classmethod
    def read(cls, path: Path) -> _File:
        """What cannot be read is wrong with it, and no error."""
        nothing = Document({}, {(): 1})
        with path.open("rb") as file:
            body = file.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            return cls(
                path.name, nothing, (Wrong(1, "", f"it has more than {_LARGEST >> 10} KB; a template has a few"),)
            )
        try:
            document = read_yaml(body.decode("utf-8"))
        except LinedYamlError as error:
            return cls(path.name, nothing, error.wrongs)
        except UnicodeDecodeError as error:
            line = body[: error.start].count(b"\n") + 1
            return cls(path.name, nothing, (Wrong(line, "", "it is no UTF-8"),))
        if not isinstance(document.value, dict):
            return cls(path.name, nothing, (Wrong(1, "", "it must hold keys and values, such as name: python-ml"),))
        return cls(path.name, document)

    @property
    def values(self) -> Mapping[str, Any]:
        values: dict[str, Any] = self.document.value
        return values

    def problem(self, key: KeyPath, what: str) -> FileProblem:
        """At its line, or that of what it would be in."""
        return FileProblem(self.name, Wrong(self.document.line_of(key), key_of(key), what))

    @property
    def problems(self) -> list[FileProblem]:
        return [FileProblem(self.name, wrong) for wrong in self.wrongs]


def _template(name: str, files: Mapping[str, _File]) -> Template | list[FileProblem]:
    """The template, or all that is wrong with it."""
    chain, problems = _chain(name, files)
    problems += [one for file in chain for one in file.problems]
    own = files[name]
    if own.values.get("name", name) != name:
        said = f"it must be {name}, as the file is named, and is {own.values['name']}"
        problems.append(own.problem(("name",), said))
    if problems:
        return problems
    try:
        return Template.model_validate({**_laid(chain), "name": name})
    except ValidationError as error:
        return [_problem(chain, wrong) for wrong in error.errors(include_url=False)]


def _chain(name: str, files: Mapping[str, _File]) -> tuple[list[_File], list[FileProblem]]:
    """The file and those it extends, the nearest first; and what keeps it from extending."""
    names = [name]
    while (last := files[names[-1]]).values.get(_EXTENDS) is not None:
        above = last.values[_EXTENDS]
        if not isinstance(above, str) or above not in files:
            there = ", ".join(sorted(files.keys() - set(names))) or "no other"
            problem = last.problem((_EXTENDS,), f"there is no template {above} to extend; there is {there}")
            return [files[one] for one in names], [problem]
        if above in names:
            problem = last.problem((_EXTENDS,), f"it would extend itself: {' → '.join([*names, above])}")
            return [files[one] for one in names], [problem]
        names.append(above)
    return [files[one] for one in names], []


def _laid(chain: list[_File]) -> dict[str, Any]:
    """The nearest file's values over those of what it extends: mappings key by key, anything else as a whole."""
    laid: dict[str, Any] = {}
    for file in reversed(chain):
        laid = _over(laid, {key: value for key, value in file.values.items() if key not in _OWN})
    return laid


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    laid = dict(below)
    for key, value in above.items():
        under = laid.get(key)
        laid[key] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return laid


def _problem(chain: list[_File], wrong: ErrorDetails) -> FileProblem:
    """Told of the file that says it last; of what no file says, of the nearest."""
    key: KeyPath = tuple(part for part in wrong["loc"] if part != "[key]")
    sayers = (file for size in range(len(key), 0, -1) for file in chain if key[:size] in file.document.lines)
    return next(sayers, chain[0]).problem(key, _said(key, wrong))


def _said(key: KeyPath, wrong: ErrorDetails) -> str:
    message = wrong["msg"].removeprefix("Value error, ")
    if wrong["type"] == "extra_forbidden":
        known = sorted(_keys_beside(key))
        near = get_close_matches(str(key[-1]), known, 1)
        return f"there is no such key{f'; did you mean {near[0]}?' if near else '.'} There are: {', '.join(known)}"
    if wrong["type"] == "missing":
        return "it is missing, here and in what it extends"
    if wrong["type"] == "unfit":
        return message
    return f"{wrong['input']!s:.80} cannot be taken: {message[:1].lower()}{message[1:]}"


def _keys_beside(key: KeyPath) -> Iterator[str]:
    """The keys of the part that one would belong to."""
    part: type[BaseModel] = Template
    for name in key[:-1]:
        annotation = part.model_fields[str(name)].annotation
        part = next(one for one in (annotation, *getattr(annotation, "__args__", ())) if _is_part(one))
    yield from part.model_fields
    if part is Template:
        yield _EXTENDS


def _is_part(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _sorted(problems: Iterable[FileProblem]) -> list[FileProblem]:
    return sorted(problems, key=lambda one: (one.file, one.wrong.line, one.wrong.key))
