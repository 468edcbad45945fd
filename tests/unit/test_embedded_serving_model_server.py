"""The model server alone, over its socket, as the router drives it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainmaster.embedded import processes
from trainmaster.embedded.sagemaker.serving import model_server

SCRIPT = """
import threading
together = threading.Barrier(2)

def model_fn(folder): return "model"

def input_fn(body, content_type, context):
    if body == "both":
        together.wait(90)
    return context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")

def predict_fn(given, model): return given

def output_fn(given, accept, context):
    if given == "unspeakable":
        return {"a": object()}
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", f"heard {given}")
    return given or ""
"""

Post = Callable[..., tuple[int, http.client.HTTPMessage, bytes]]


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=90)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(90)
        self.sock.connect(str(self._path))


def started(folder: Path) -> tuple[processes.Child, Path]:
    """A model server of SCRIPT, and its socket."""
    (folder / "inference.py").write_text(SCRIPT)
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        child = processes.start(
            [sys.executable, "-P", model_server.__file__, str(folder), str(folder)],
            env={"PATH": os.environ["PATH"], "SAGEMAKER_PROGRAM": "inference.py"},
            stdin=listening.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return child, path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    child, path = started(tmp_path_factory.mktemp("m"))
    yield path
    child.kill()


@pytest.fixture
def post(server: Path) -> Post:
    def posted(attributes: str | None, body: bytes = b"{}") -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = Connection(server)
        headers = {model_server.CUSTOM_ATTRIBUTES: attributes} if attributes else {}
        connection.request("POST", "/invocations", body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    return posted


def test_requests_run_side_by_side_and_each_sees_its_own_context(post: Post) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: post(name, b"both"), ["one", "two"]))

    assert [body for _, _, body in answers] == [b"one", b"two"]
    assert [headers[model_server.CUSTOM_ATTRIBUTES] for _, headers, _ in answers] == ["heard one", "heard two"]


def test_an_answer_that_cannot_be_written_is_an_error_not_a_closed_connection(post: Post) -> None:
    status, _, body = post("unspeakable")

    assert (status, body) == (500, b"Unable to serialize model output.")
    assert post("next")[0] == 200


def test_one_connection_carries_many_requests(server: Path) -> None:
    connection = Connection(server)
    for path, status in (("/ping", 200), ("/elsewhere", 404), ("/ping", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_pickles_are_refused_where_the_toolkit_takes_them() -> None:
    import numpy as np
    from sagemaker_inference import content_types, decoder

    taken = decoder._decoder_map[content_types.NPY]
    try:
        model_server.refuse_pickle()
        packed = model_server.decoder.BytesIO()
        np.save(packed, np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match="allow_pickle=False"):
            decoder.decode(packed.getvalue(), content_types.NPY)
    finally:
        decoder._decoder_map[content_types.NPY] = taken


def test_sigterm_ends_it_once_it_is_up(tmp_path: Path) -> None:
    child, path = started(tmp_path)
    connection = Connection(path)
    connection.request("GET", "/ping")
    assert connection.getresponse().status == 200

    child.terminate()

    assert child.wait(90) == 143
    connection.close()
