"""The container of one endpoint instance: a script-mode model answering `/ping` and `/invocations`.

Runs on its own, `python model_server.py CODE MODEL`: CODE is the folder of the user's script, MODEL that of the unpacked artifact, standard input a
listening socket. The script is driven by AWS's own `sagemaker-inference`; a model that cannot be loaded ends the process before it answers a ping.
"""

from __future__ import annotations

import email.message
import http.server
import importlib.metadata
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement
from sagemaker_inference import content_types, decoder
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.transformer import Transformer

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class ScikitLearnDefaults(DefaultInferenceHandler):  # type: ignore[misc]  # the toolkit has no types
    """What AWS's scikit-learn container does for the functions a script leaves out."""

    def default_input_fn(self, input_data: Any, content_type: str) -> Any:
        array = super().default_input_fn(input_data, content_type)
        return array.astype(np.float32) if content_type in content_types.UTF8_TYPES else array

    def default_predict_fn(self, data: Any, model: Any) -> Any:
        return model.predict(data)


class Context:
    """The toolkit's view of the request in hand. It keeps one context for all requests, and they run in threads: each sees its own here."""

    def __init__(self, model_dir: Path) -> None:
        self.system_properties = {"model_dir": str(model_dir)}
        self._here = threading.local()

    def begin(self, headers: dict[str, str]) -> None:
        self._here.request, self._here.status, self._here.response = headers, HTTPStatus.OK, {}

    @property
    def request_processor(self) -> list[Context]:
        return [self]

    @property
    def status(self) -> int:
        return int(self._here.status)

    @property
    def response_headers(self) -> dict[str, str]:
        headers: dict[str, str] = self._here.response
        return headers

    def get_request_properties(self) -> dict[str, str]:
        headers: dict[str, str] = self._here.request
        return headers

    def get_all_request_header(self, _index: int) -> dict[str, str]:
        return self.get_request_properties()

    def get_request_header(self, _index: int, key: str) -> str | None:
        return self.get_request_properties().get(key)

    def set_response_status(self, code: int = 200, phrase: str = "", _index: int = 0) -> None:  # noqa: ARG002
        self._here.status = code

    def set_response_content_type(self, index: int, value: str) -> None:
        self.set_response_header(index, "Content-Type", value)

    def set_response_header(self, _index: int, key: str, value: str) -> None:
        self._here.response[key] = value


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """A thread for every connection: the router keeps as many open as it has requests under way."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, transformer: Transformer, context: Context) -> None:
        super().__init__("inherited", Handler)
        self.socket, self.transformer, self.context = listening, transformer, context

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, str]:
        return self.socket.accept()[0], "router"

    def close_request(self, request: Any) -> None:
        request.close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = False  # there is none on a unix socket, and asking for it fails

    def do_GET(self) -> None:
        found = self.path == "/ping"
        self._answer(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND, b"", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/invocations":
            self._answer(HTTPStatus.NOT_FOUND, b"", {})
            return
        try:
            status, content, headers = self._transformed(body, self.headers)
        except Exception:  # noqa: BLE001  # what output_fn returned may be anything: its author finds the reason in the log
            traceback.print_exc()
            status, content, headers = HTTPStatus.INTERNAL_SERVER_ERROR, b"Unable to serialize model output.", {}
        self._answer(status, content, headers)

    def _transformed(self, body: bytes, headers: email.message.Message) -> tuple[int, bytes, dict[str, str]]:
        context = self.server.context
        context.begin({"Content-Type": content_types.JSON, **dict(headers.items())})
        [result] = self.server.transformer.transform([{"body": body}], context)
        if context.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            print(result, file=sys.stderr, flush=True)
        if hasattr(result, "get_data"):  # a Flask or werkzeug Response, as AWS's scikit-learn container takes it
            kept = {key: result.headers[key] for key in ("Content-Type", CUSTOM_ATTRIBUTES) if key in result.headers}
            return result.status_code, result.get_data(), kept
        if isinstance(result, (bytes, bytearray)):
            content = bytes(result)
        else:
            content = (result if isinstance(result, str) else json.dumps(result)).encode()
        return context.status, content, context.response_headers

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        now = self.log_date_time_string()
        print(f'169.254.178.2 - - [{now}] "{self.requestline}" {int(status)} {len(body)} "-" "AHC/2.0"', flush=True)


def refuse_pickle() -> None:
    """The toolkit's decoder unpickles what a client sends; AWS's scikit-learn container has that patched out, so do we."""
    decoder._decoder_map[content_types.NPY] = lambda body: np.load(decoder.BytesIO(body), allow_pickle=False)


def install(requirements: Path) -> bool:
    """As AWS's container before it loads a model; False when pip failed. Where all is there already it is not asked: it takes seconds."""
    if not requirements.is_file() or all(
        is_met(line) for line in requirements.read_text(errors="replace").splitlines()
    ):
        return True
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-r", requirements.name]
    ended = subprocess.run(command, cwd=requirements.parent, stdin=subprocess.DEVNULL, check=False)
    importlib.invalidate_caches()
    if ended.returncode:
        print(
            f"{requirements.name} cannot be installed, pip ended with {ended.returncode}: it cannot be served.",
            flush=True,
        )
    return not ended.returncode


def is_met(line: str) -> bool:
    """Whether a line asks for nothing that is not there; what is more than a package and its versions is for pip to say."""
    asked = line.partition("#")[0].strip()
    if not asked:
        return True
    try:
        requirement = Requirement(asked)
        there = importlib.metadata.version(requirement.name)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return False
    plain = not (requirement.extras or requirement.url or requirement.marker)
    return plain and requirement.specifier.contains(there, prereleases=True)


def main(code: Path, model: Path) -> int:
    # As PID 1 of a namespace it would ignore what it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    listening = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    script = code / os.environ["SAGEMAKER_PROGRAM"]
    if not script.is_file():
        print(f"The model has no {script.name}, neither in code/ nor at its root: it cannot be served.", flush=True)
        return 1
    if not install(code / "requirements.txt"):
        return 1
    refuse_pickle()
    sys.path.insert(0, str(code))
    context, transformer = Context(model), Transformer(ScikitLearnDefaults())
    context.begin({})
    try:
        transformer.validate_and_initialize(model_dir=str(model), context=context)
    except Exception:  # noqa: BLE001  # the user's code may raise anything: it belongs into the log, and the ping stays unanswered
        traceback.print_exc()
        return 1
    Server(listening, transformer, context).serve_forever(poll_interval=3600)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
