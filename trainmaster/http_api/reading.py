"""`/docs`: what the API takes and answers as a page to be read, made of its own OpenAPI; it loads nothing from anywhere."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from trainmaster.schema_words import kind, parts, rows_of

_STYLE = """\
body{max-width:62rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif;color:#1b1b1f;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}
th,td{border:1px solid #c9c9d1;padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:break-word}
pre{background:#f2f2f5;padding:.75rem;overflow-x:auto}code,pre{font-family:ui-monospace,monospace;font-size:.9rem}
h2{margin-top:2.5rem;border-top:1px solid #c9c9d1;padding-top:1rem;overflow-wrap:anywhere}a{color:#0b57a4}
@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#17171a}pre{background:#242429}a{color:#8ab8f0}}"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_JSON, _FORM = "application/json", "multipart/form-data"
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_CODE = re.compile(r"`([^`]+)`")
Json = Mapping[str, Any]


def reference_page(request: Request) -> HTMLResponse:
    """All of it; a browser runs no script of it and asks nobody else for a part of it."""
    return HTMLResponse(page_of(request.app.openapi()), headers={"Content-Security-Policy": _POLICY})


def page_of(document: Json) -> str:
    """The document in HTML: every request with what it takes, an example and what it answers."""
    definitions = document.get("components", {}).get("schemas", {})
    asked = [
        (method, path, operations[method])
        for path, operations in document["paths"].items()
        for method in _METHODS
        if method in operations
    ]
    listed = _table(
        ("request", "what it does"),
        [
            (
                f'<a href="#{_anchor(method, path)}"><code>{method.upper()} {escape(path)}</code></a>',
                _said(one["summary"]),
            )
            for method, path, one in asked
        ],
    )
    used = parts({"all": [one for _, _, one in asked]}, definitions)
    title = f"{document['info']['title']} {document['info']['version']}"
    sections = [
        *(_operation(method, path, one, definitions) for method, path, one in asked),
        *(_definition(name, definitions) for name in used),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}: HTTP API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>'
        f"<p>{_said(document['info'].get('description', ''))}</p>"
        "<p>The examples send <code>$TRAINMASTER_HTTP_TOKEN</code> to <code>$TRAINMASTER_HTTP_URL</code>; on a laptop"
        " <code>source .trainmaster/env</code> sets both. Clients are generated from"
        f' <a href="/openapi.json">/openapi.json</a>.</p>\n{listed}\n' + "\n".join(sections) + "\n</body></html>\n"
    )


def _operation(method: str, path: str, one: Json, definitions: Json) -> str:
    parameters = _table(
        ("parameter", "in", "what", "takes", "without it"),
        [
            (
                _code(each["name"]),
                each["in"],
                _said(each.get("description", "")),
                _said(kind(each["schema"], definitions)),
                "needed" if each.get("required") else _said(_default(each["schema"])),
            )
            for each in one.get("parameters", [])
        ],
    )
    bodies = [
        f"<p>Body, {_code(media)}: {_linked(content['schema'], definitions)}</p>{_fields(content['schema'], definitions)}"
        for media, content in one.get("requestBody", {}).get("content", {}).items()
    ]
    answers = _table(
        ("answer", "when", "body"),
        [
            (status, _said(answer.get("description", "")), _answered(answer, definitions))
            for status, answer in sorted(one["responses"].items())
        ],
    )
    return (
        f'<h2 id="{_anchor(method, path)}"><code>{method.upper()} {escape(path)}</code></h2><p><b>{_said(one["summary"])}.</b>'
        f" {_said(one.get('description', ''))}</p>{parameters}{''.join(bodies)}"
        f"<pre>{escape(curl(method, path, one, definitions))}</pre>{answers}"
    )


def curl(method: str, path: str, one: Json, definitions: Json) -> str:
    """The request as it is typed into a shell; what nobody can know before is a variable of the shell, `$NAME`."""
    said = [{"get": "curl", "head": "curl --head"}.get(method, f"curl -X {method.upper()}")]
    if one.get("security"):
        said.append('-H "Authorization: Bearer $TRAINMASTER_HTTP_TOKEN"')
    for media, content in one.get("requestBody", {}).get("content", {}).items():
        example = _example(content, definitions)
        if media == _FORM:
            said += [f"-F {name}={_typed(value)}" for name, value in example.items()] + ["-F file=@chats.jsonl"]
        else:
            said += [f"-H 'Content-Type: {media}'", f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}"]
    query = []
    for each in one.get("parameters", []):
        value = str(each.get("example") or next(iter(each["schema"].get("examples", [])), f"${each['name'].upper()}"))
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", value)
        elif each["in"] == "query" and each.get("required"):
            query.append(f"{each['name']}={value}")
    said.append(f'"$TRAINMASTER_HTTP_URL{path}{"?" if query else ""}{"&".join(query)}"')
    return " \\\n  ".join(said)


def _example(content: Json, definitions: Json) -> Any:
    """One that is given, or else what is needed and what has an example of its own."""
    for given in content.get("examples", {}).values():
        return given["value"]
    schema = _resolved(content["schema"], definitions)
    if schema.get("examples"):
        return schema["examples"][0]
    return {
        name: next(iter(field.get("examples", [])), f"${name.upper()}")
        for name, field in schema.get("properties", {}).items()
        if field.get("format") != "binary" and (name in schema.get("required", ()) or field.get("examples"))
    }


def _typed(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if text.startswith("$") else shlex.quote(text)


def _resolved(schema: Json, definitions: Json) -> Json:
    """What a reference is to; of a choice, that which is not null."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolved(choice, definitions)
    found: Json = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _definition(name: str, definitions: Json) -> str:
    one = definitions[name]
    return f'<h2 id="{name}">{escape(name)}</h2><p>{_said(one.get("description", ""))}</p>{_fields(one, definitions)}'


def _fields(schema: Json, definitions: Json) -> str:
    return _table(
        ("field", "what", "takes", "without it"),
        [
            (_code(name), _said(what), _said(takes), _said(without))
            for name, what, takes, without in rows_of(schema, definitions)
        ],
    )


def _answered(answer: Json, definitions: Json) -> str:
    return ", ".join(
        _linked(content["schema"], definitions) if content.get("schema") else _code(media)
        for media, content in answer.get("content", {}).items()
    )


def _linked(schema: Json, definitions: Json) -> str:
    """What it takes; where that is made of parts, links to them."""
    named = [name for name in parts({"all": schema}, definitions) if f'/{name}"' in json.dumps(schema)]
    said = _said(kind(schema, definitions))
    for name in named:
        title = escape(str(definitions[name].get("title", name)))
        said = re.sub(rf"\b{re.escape(title)}\b", f'<a href="#{name}">{title}</a>', said, count=1)
    return said


def _default(schema: Json) -> str:
    default = schema.get("default")
    return "" if default in (None, "") else f"`{json.dumps(default, ensure_ascii=False)}`"


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}{re.sub(r'[^a-z0-9_]+', '-', path)}")


def _said(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(" ".join(text.split())))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{one}</th>' for one in heads)}</tr>{''.join(lines)}</table>" if lines else ""
