"""A Supabase Storage whose calls a test may see, spoil or answer itself: the embedded one behind a layer of our own."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from pydantic import SecretStr
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.state import State
from trainmaster.embedded.supabase.service import Supabase
from trainmaster.embedded.supabase.tokens import Keys
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_calls import Timing

UPLOAD = r"object/training-datasets/|upload/resumable"
DOWNLOAD = "object/authenticated/"
Step = Callable[[Request], Response | None]
"""What happens to a call on its way: it is answered, or altered and let through."""


@dataclass
class Seen:
    """A call as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    at: float
    sent: int


@dataclass
class StorageBetween:
    """`url` is the project's address. Each rule befalls as many calls as it says, the first that matches first."""

    folder: Path
    prefix: str = ""
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keys = Keys.of(State(self.folder))
        self._app = Supabase(self.folder / "supabase", self.keys, Faults())
        self._rules: list[list[Any]] = []
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}{self.prefix}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._app.close()

    def store(self, **settings: Any) -> SupabaseStore:
        timing = Timing(**{"answer_seconds": 20, "tries": 3, "pause_seconds": 0.01, **settings.pop("timing", {})})
        key = settings.pop("key", self.keys.service_role_key)
        return SupabaseStore(self.url, SecretStr(key), "training-datasets", timing=timing, **settings)

    def befall(self, method: str, path: str, step: Step, times: int = 1) -> None:
        """The next so many calls of this method whose path, without /storage/v1/, matches the pattern."""
        self._rules.append([method, re.compile(path), step, times])

    def calm(self) -> None:
        """Nothing befalls any call any more."""
        self._rules.clear()

    def called(self, method: str, path: str) -> list[Seen]:
        return [each for each in self.seen if each.method == method and re.match(path, each.path)]

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        if not request.path.startswith(f"{self.prefix}/storage/v1/"):
            return Response("no route", status=404)(environ, start_response)
        environ["PATH_INFO"] = request.path.removeprefix(self.prefix)
        request = Request(environ)
        path = unquote(request.path.removeprefix("/storage/v1/"))
        length = request.content_length or 0
        self.seen.append(
            Seen(request.method, path, dict(request.headers), dict(request.args), time.monotonic(), length)
        )
        answer = self._step(request.method, path)(request)
        if answer is None:
            return self._app(environ, start_response)
        request.get_data()  # or it would be taken for the next call on this connection
        return answer(environ, start_response)

    def let_through(self, request: Request) -> None:
        """Have the call carried out, whatever it is answered then."""
        request.environ["wsgi.input"] = io.BytesIO(request.get_data())
        for _ in self._app(request.environ, lambda *_: None):
            pass

    def losing_the_answer(self, status: int = 502, said: str = "<html></html>") -> Step:
        """The call is carried out, and something else answered."""

        def step(request: Request) -> Response | None:
            self.let_through(request)
            return answering(status, said, Content_Type="text/html")(request)

        return step

    def overwrite(self, key: str, data: bytes, metadata: str = "") -> None:
        """As the application does it, which records no checksum; `metadata` is base64."""
        httpx.post(
            f"{self.url}/storage/v1/object/training-datasets/{key}",
            content=data,
            headers={
                "Authorization": f"Bearer {self.keys.service_role_key}",
                "x-upsert": "true",
                "x-metadata": metadata,
            },
        ).raise_for_status()

    def lose_bytes(self) -> None:
        """Of all objects; their rows stay."""
        for file in self._files():
            file.unlink()

    def spoil_bytes(self) -> None:
        for file in self._files():
            file.write_bytes(file.read_bytes()[::-1])

    def _files(self) -> list[Path]:
        return [each for each in (self.folder / "supabase" / "objects").rglob("*") if each.is_file()]

    def _step(self, method: str, path: str) -> Step:
        for rule in self._rules:
            if rule[0] == method and rule[1].match(path) and rule[3] > 0:
                rule[3] -= 1
                step: Step = rule[2]
                return step
        return lambda _: None


def answering(status: int, body: Any = b"", **headers: str) -> Step:
    """Bytes, or what is to be JSON."""
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Response(text, status=status, headers=named)


def altering(alter: Callable[[bytes], bytes]) -> Step:
    """The call goes on with another body."""

    def step(request: Request) -> None:
        body = alter(request.get_data(cache=False))
        request.environ["wsgi.input"], request.environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))

    return step


def meanwhile(happens: Callable[[], Any]) -> Step:
    """Something else happens before the call goes on."""

    def step(_: Request) -> None:
        happens()

    return step


class PiecemealUpload:
    """An upload at a server that keeps what has arrived of a piece."""

    def __init__(self, between: StorageBetween, *, shown: bool = True) -> None:
        self._between, self._shown, self._arrived, self._headers = between, shown, bytearray(), {}

    def begin(self, request: Request) -> Response | None:
        self._headers = dict(request.headers)
        return answering(201, Location="https://elsewhere.example/upload/resumable/piecemeal")(request)

    def take_half(self, request: Request) -> Response | None:
        data = request.get_data()
        self._arrived += data[: len(data) // 2]
        return answering(502)(request)

    def take(self, request: Request) -> Response | None:
        assert int(request.headers["Upload-Offset"]) == len(self._arrived)
        self._arrived += request.get_data()
        if self._shown and len(self._arrived) == int(self._headers["Upload-Length"]):
            self.show()
        return self.say(request)

    def show(self) -> None:
        described = dict(each.split(" ") for each in self._headers["Upload-Metadata"].split(","))
        key = base64.b64decode(described["objectName"]).decode()
        self._between.overwrite(key, bytes(self._arrived), described["metadata"])

    def say(self, request: Request) -> Response | None:
        return answering(204, Upload_Offset=str(len(self._arrived)))(request)
