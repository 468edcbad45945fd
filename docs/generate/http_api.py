"""docs/reference/http-api.md: every request the HTTP API takes and what it answers, from its own OpenAPI document."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from docs.generate.markdown import code, page, prose, table
from docs.generate.schemas import fields
from trainmaster.http_api.application import application
from trainmaster.http_api.office import FlowRuns, Office
from trainmaster.schema_words import kind, parts
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk

_ABOUT = """\
Every request that `trainmaster api` takes. The same is at `/openapi.json` of a server that runs, for clients to be generated from, and at
`/docs` to be read. [How callers are known, limits and retries](../http-api.md) hold for all of them. `{name}` in a path is yours to fill in."""
_SIGNED_BY = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_JWT_SECRET": "x" * 32, "DATABASE_URL": None}
_METHODS = ("get", "post", "put", "patch", "delete")


def reference() -> str:
    """The page."""
    document = openapi()
    asked = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method in _METHODS
        if (operation := operations.get(method))
    ]
    definitions = document.get("components", {}).get("schemas", {})
    listed = table(
        ["request", "what it does"],
        [
            [f"[`{_request(method, path)}`](#{_anchor(method, path)})", prose(one.get("summary"))]
            for method, path, one in asked
        ],
    )
    used = _used([one for _, _, one in asked], definitions)
    return page(
        "HTTP API",
        _ABOUT,
        listed,
        *(_section(method, path, one, definitions) for method, path, one in asked),
        "## What requests and answers are made of" if used else "",
        *(f"### {name}\n\n{_of(definitions[name], definitions)}" for name in used),
    )


def openapi() -> dict[str, Any]:
    """The document of the application, which nobody asks anything else here."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({**_SIGNED_BY, "state_dir": folder})
        with open_desk(settings, _no_aws) as desk:
            return application(Office(settings, desk, cast("FlowRuns", None))).openapi()


def _no_aws(service: str) -> NoReturn:
    raise NotImplementedError(f"Describing the API asked {service} of AWS.")


def _request(method: str, path: str) -> str:
    return f"{method.upper()} {path}"


def _anchor(method: str, path: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(
        letter for letter in f"{method} {path}".lower().replace(" ", "-") if letter.isalnum() or letter in "-_"
    )


def _section(method: str, path: str, operation: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    parameters = table(
        ["parameter", "in", "what", "takes"],
        [
            [code(one["name"]), one["in"], prose(one.get("description")), kind(one["schema"], definitions)]
            for one in operation.get("parameters", [])
        ],
    )
    answers = table(
        ["answer", "when", "body"],
        [
            [status, prose(answer.get("description")), _body(answer, definitions)]
            for status, answer in sorted(operation["responses"].items())
        ],
    )
    bodies = [
        "\n\n".join(filter(None, [f"Body, `{media}`: {_kind_of(schema, definitions)}", fields(schema, definitions)]))
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
        for schema in [content["schema"]]
    ]
    said = [f"## {_request(method, path)}", prose(operation.get("description") or operation.get("summary"))]
    return "\n\n".join(part for part in (*said, parameters, *bodies, _example(operation), answers) if part)


def _body(answer: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    return ", ".join(
        _kind_of(content["schema"], definitions) if content.get("schema") else code(media)
        for media, content in answer.get("content", {}).items()
    )


def _kind_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"[{name}](#{name.lower()})" if name and "properties" in definitions[name] else kind(schema, definitions)


def _example(operation: Mapping[str, Any]) -> str:
    """The first example of what is sent, where there is one."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for example in content.get("examples", {}).values():
            return f"```json\n{json.dumps(example['value'], indent=2, ensure_ascii=False)}\n```"
    return ""


def _used(operations: list[Mapping[str, Any]], definitions: Mapping[str, Any]) -> list[str]:
    return parts({"all": [dict(one) for one in operations]}, definitions)


def _of(definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    said = prose(definition.get("description"))
    return "\n\n".join(part for part in (said, fields(definition, definitions)) if part)
