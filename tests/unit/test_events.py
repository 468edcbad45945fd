"""What is sent to Prefect as an event is what trainmaster/events.py says, and docs/reference/events.md after it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from trainmaster.events import EVENTS

ROOT = Path(__file__).parents[2]
SENDERS = [
    file for folder in ("tasks", "flows", "trainmaster", "deployments") for file in (ROOT / folder).rglob("*.py")
]


def sent() -> Iterator[tuple[str, frozenset[str]]]:
    """Name and keys of the payload of every event that some line sends."""
    for file in SENDERS:
        if "emit_event(" in (text := file.read_text(encoding="utf-8")):
            tree = ast.parse(text)
            constants = {
                target.id: node.value
                for node in tree.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "emit_event":
                    yield name_in(call.args[0], constants), keys_of(call)


def name_in(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    """An event's name, with `*` for what is put into it."""
    if isinstance(node, ast.Name):
        return name_in(constants[node.id], constants)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def keys_of(call: ast.Call) -> frozenset[str]:
    [payload] = [each.value for each in call.keywords if each.arg == "payload"]
    assert isinstance(payload, ast.Dict), ast.dump(payload)
    return frozenset(str(key.value) for key in payload.keys if isinstance(key, ast.Constant))


def test_every_event_is_told_of_with_each_key_of_its_payload_and_no_other_is() -> None:
    assert set(sent()) == {(event.name, frozenset(event.payload)) for event in EVENTS}
