"""The handler behind POST /predict, where the model cannot be reached, takes too long, or something was not foreseen."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[2] / "deployments" / "predict_api" / "handler.py"
ACCEPTED = {"sqft": [100, 20_000], "rooms": [0, 9.5]}
HOUSE = {"sqft": 1500, "rooms": 3}
CONTEXT = SimpleNamespace(aws_request_id="of-lambda")


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it lies in its zip, beside its schema, with its environment."""
    (tmp_path / "schema.json").write_text(json.dumps(ACCEPTED))
    (tmp_path / "handler.py").write_text(SOURCE.read_text())
    for name, value in {
        "ENDPOINT_NAME": "house-prices",
        "ALLOWED_ORIGIN": "https://houses.example",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "of nobody",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "predict_handler", raising=False)
    return _loaded("predict_handler", tmp_path / "handler.py")


def _loaded(name: str, path: Path) -> ModuleType:
    """The module of that name, from that file when it is not loaded yet."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def event(body: Any, **changes: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return {"body": text, "headers": headers, "requestContext": {"requestId": "of-gateway"}, **changes}


@contextmanager
def model(monkeypatch: pytest.MonkeyPatch, answer: bytes | None) -> Iterator[None]:
    """Something that listens where SageMaker should, and answers this; nothing at all where it is None."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                if answer is None:
                    over.wait(90)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join(90)


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def asked(handler: ModuleType, given: dict[str, Any]) -> tuple[int, Any]:
    answer = handler.handler(given, CONTEXT)
    assert answer["headers"]["Access-Control-Allow-Origin"] == "https://houses.example"
    assert answer["headers"]["X-Request-Id"] == "of-gateway"
    return answer["statusCode"], json.loads(answer["body"])


def test_a_model_that_does_not_answer_in_time_is_a_504(
    handler: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handler, "ANSWER_SECONDS", 1)
    with model(monkeypatch, None):
        status, said = asked(handler, event(HOUSE))
    assert (status, said["error"]) == (504, "The model did not answer within 1 s.")
    assert json.loads(capsys.readouterr().out)["outcome"] == "timed_out"


def test_a_model_that_cannot_be_reached_is_a_503_with_a_time_to_come_back(
    handler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
    answer = handler.handler(event(HOUSE), CONTEXT)
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("said", [b"", b"not json", b"[1]", b'{"predicted_price": true}', b'{"predicted_price": NaN}'])
def test_an_answer_that_is_no_price_is_a_502(handler: ModuleType, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    with model(monkeypatch, http(said)):
        assert asked(handler, event(HOUSE))[0] == 502


def test_a_price_without_a_time_gets_one(handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with model(monkeypatch, http(b'{"predicted_price": 425000, "model_version": "v1"}')):
        status, said = asked(handler, event(HOUSE))
    assert status == 200
    assert (said["predicted_price"], said["model_version"]) == (425_000, "v1")
    assert said["timestamp"].endswith("Z")


def test_what_nobody_foresaw_is_a_500_whose_log_says_where_and_not_what_was_asked(
    handler: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.SCHEMA.unlink()
    status, said = asked(handler, event({"sqft": 7654}))
    assert status == 500
    assert said["request_id"] == "of-gateway"
    line = capsys.readouterr().out
    assert "7654" not in line
    noted = json.loads(line)
    assert (noted["level"], noted["error_type"]) == ("ERROR", "FileNotFoundError")
    assert noted["where"].startswith("handler.py:")


def test_every_problem_is_told_at_once(handler: ModuleType) -> None:
    status, said = asked(handler, event('{"sqft": 1e999, "rooms": -1, "street": "x"}'))
    assert status == 400
    assert [field["field"] for field in said["fields"]] == ["sqft", "rooms", "street"]


def test_a_body_in_base64_is_read(handler: ModuleType) -> None:
    status, said = asked(handler, event("eyJzcWZ0IjogMX0=", isBase64Encoded=True))
    assert (status, said["fields"][0]["field"]) == (400, "sqft")
    assert asked(handler, event("*", isBase64Encoded=True))[1]["error"] == "The body is not UTF-8."


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["sqft", "rooms"]) | st.text(), inner),
    )
)
def test_whatever_json_is_sent_is_refused_with_reasons_or_is_a_house(body: Any) -> None:
    module = _loaded("predict_handler_of_any", SOURCE)
    ranges = {name: tuple(limits) for name, limits in ACCEPTED.items()}
    try:
        house, refused = module.checked(module.read(event(body)), ranges), None
    except module.RefusedError as refusal:
        house, refused = None, refusal
    if refused:
        assert refused.status in (400, 413)
        assert refused.sentence
        json.dumps(refused.fields, allow_nan=False)
    else:
        assert house.keys() == ACCEPTED.keys()
        assert all(low <= house[name] <= high for name, (low, high) in ranges.items())
