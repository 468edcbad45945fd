"""The page that tells of the HTTP API is whole, and a browser needs nothing but it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from http_offices import NOWHERE, asking, office_at

from trainmaster.http_api.reading import page_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("office")
    with office_at(NOWHERE, folder) as office:
        yield asking(office)


@pytest.fixture(scope="module")
def page(client: TestClient) -> str:
    return client.get("/docs").text


def test_it_loads_nothing_and_runs_nothing(client: TestClient, page: str) -> None:
    policy = client.get("/docs").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\son\w+=|\sstyle=", page)
    assert {one for one in re.findall(r'href="([^"]*)"', page) if not one.startswith("#")} == {"/openapi.json"}
    assert client.get("/redoc").status_code == 404


def test_it_has_every_request_with_its_parameters_fields_and_statuses(client: TestClient, page: str) -> None:
    document: dict[str, Any] = client.get("/openapi.json").json()
    sections = dict(re.findall(r"<h2 [^>]*><code>([A-Z]+ [^<]+)</code></h2>(.*?)(?=<h2|</body>)", page, re.DOTALL))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            section = sections.pop(f"{method.upper()} {path}")
            assert operation["summary"] in unescape(section)
            assert "curl" in section
            for parameter in operation.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in section
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for field in content["schema"].get("properties", {}):
                    assert f"<code>{field}</code>" in section
            for status in operation["responses"]:
                assert f"<td>{status}</td>" in section
    assert sections == {}


def test_every_link_of_it_leads_to_a_heading_that_is_there(page: str) -> None:
    ids = re.findall(r'id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    assert "DeployRequest" in ids


def test_its_examples_are_whole_commands_of_a_shell(page: str) -> None:
    examples = {unescape(one) for one in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)}
    for example in examples:
        assert "{" not in shlex.split(example.replace("\\\n", " "))[-1]
    [upload] = [one for one in examples if "-F file=@" in one]
    assert "-F name=" in upload
    assert any('-d \'{"name": "notes", "template": "sagemaker-studio"}' in one for one in examples)
    assert any('-d \'{"bedrooms": 3' in one for one in examples)


def test_what_a_description_says_is_text_and_no_markup() -> None:
    operation = {"summary": "<b>x</b>", "responses": {"200": {"description": "`<i>`"}}}
    said = page_of({"info": {"title": "<x>", "version": "1"}, "paths": {"/<p>": {"get": operation}}})
    assert not re.search(r"<x>|<b>x|<i>|/<p>", said)
    assert "<code>&lt;i&gt;</code>" in said
