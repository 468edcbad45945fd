"""Settings in YAML are taken as meant or refused where they stand."""

from decimal import Decimal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from trainmaster.workspaces.lined_yaml import LinedYamlError, read_yaml


def test_what_is_written_is_what_is_read() -> None:
    document = read_yaml("a: 1\nb: [x, 2.50, no]\nc:\n  d: true\n")
    assert document.value == {"a": 1, "b": ["x", Decimal("2.50"), "no"], "c": {"d": True}}
    assert document.line_of(("c", "d")) == 4


def test_what_is_not_there_is_on_the_line_of_what_it_would_be_in() -> None:
    assert read_yaml("a: 1\nc:\n  d: true\n").line_of(("c", "e", "f")) == 2


def test_nothing_says_nothing() -> None:
    assert read_yaml("# only a comment\n").value == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "line 2, a: it is there twice, first on line 1"),
        ("b:\n  a:\n", "line 2, b.a: it has no value"),
        ("no: 1\n", "line 1: the key no is no text"),
        ("a: &x 1\n", "line 1: anchors, aliases and tags"),
        ("a: !!python/object:os.system x\n", "line 1: anchors, aliases and tags"),
        ("a: [1\n", "line 2: expected"),
        ("\tx: 1\n", "line 1: found character"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
    ],
    ids=["twice", "empty", "no-text-key", "anchor", "tag", "not-closed", "tab", "two-documents"],
)
def test_what_nobody_means_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(LinedYamlError) as refused:
        read_yaml(text)
    assert refused.value.wrongs[0].sentence().startswith(said)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(LinedYamlError) as refused:
        read_yaml("a: 1\na: 2\nb:\nno: 3\n")
    assert [one.line for one in refused.value.wrongs] == [2, 3, 4]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = 0
    names: tuple[str, ...] = ()


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parts: dict[str, Part]


def test_what_pydantic_finds_wrong_is_said_with_line_and_key_in_order() -> None:
    document = read_yaml("parts:\n  one:\n    names: [a, 2]\n    number: many\n  two:\n    nubmer: 1\n")
    with pytest.raises(ValidationError) as refused:
        Whole.model_validate(document.value)
    assert [one.sentence() for one in document.wrongs(refused.value)] == [
        "line 3, parts.one.names[2]: 2 cannot be taken: input should be a valid string",
        "line 4, parts.one.number: many cannot be taken: input should be a valid integer, unable to parse string as an integer",
        "line 6, parts.two.nubmer: there is no such key",
    ]
