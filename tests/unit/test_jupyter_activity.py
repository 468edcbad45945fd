"""JupyterLab's own API says when it was in use; what it does not say is unknown, and its address is never told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from trainmaster.errors import JupyterUnreachableError
from trainmaster.workspaces.watch import jupyter
from trainmaster.workspaces.watch.jupyter import last_used

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DEEP = "[" * 100_000
SECRET = "of-nobodys-business"
Lab = Callable[..., str]


class _Handler(BaseHTTPRequestHandler):
    """JupyterLab as far as it matters: a way in, and an API that wants the cookie it leaves."""

    said: ClassVar[dict[str, Any]] = {}
    gone: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == f"/in/{SECRET}":
            return self._answer(302, Location=f"/base/{self.said.get('landing', 'lab')}?token={SECRET}")
        about = path.rsplit("/", 1)[1]
        if about == "lab" and self.said.get("lab") != "drips":
            return self._answer(200, **{"Set-Cookie": "visitor=known"})
        if about == "lab":
            return self._drip()
        if "visitor=known" not in self.headers.get("Cookie", "") or query != "no_track_activity=1":
            return self._answer(403)
        answer = self.said.get(about, [])
        if answer == "drips":
            return self._drip()
        return self._answer(answer) if isinstance(answer, int) else self._answer(200, _said(answer))

    def _drip(self) -> None:
        """A byte now and then, for as long as anybody listens."""
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.gone.wait(0.05):
                self.wfile.write(b" ")

    def _answer(self, status: int, body: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def _said(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


@pytest.fixture
def lab() -> Iterator[Lab]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    _Handler.gone.clear()
    thread.start()

    def says(**said: Any) -> str:
        _Handler.said = {"status": {"last_activity": "2026-11-21T09:00:00Z"}, **said}
        return f"http://127.0.0.1:{server.server_port}/in/{SECRET}"

    yield says
    _Handler.gone.set()
    server.shutdown()
    server.server_close()
    thread.join()


def at(hour: int) -> dict[str, str]:
    return {"last_activity": f"2026-11-21T{hour:02}:00:00.000000Z", "execution_state": "idle"}


def used(url: str) -> int:
    return last_used(url, NOW).hour


def test_the_newest_of_all_it_tells_counts(lab: Lab) -> None:
    assert used(lab()) == 9
    assert used(lab(kernels=[at(8), at(10)])) == 10
    assert used(lab(kernels=[at(8)], terminals=[at(11)])) == 11


@pytest.mark.parametrize("state", ["busy", "starting", "restarting"])
def test_a_kernel_that_computes_is_use_however_long_it_has_said_nothing(lab: Lab, state: str) -> None:
    assert last_used(lab(kernels=[{**at(1), "execution_state": state}]), NOW) == NOW


def test_one_without_terminals_is_asked_all_the_same(lab: Lab) -> None:
    assert used(lab(terminals=404)) == 9


def test_a_clock_that_is_ahead_is_no_use_in_the_future(lab: Lab) -> None:
    assert used(lab(kernels=[at(23)])) == 12


@pytest.mark.parametrize(
    "said",
    [
        {"landing": "auth-login"}, {"status": 500}, {"kernels": 403}, {"terminals": 500}, {"status": []}, {"kernels": {}},
        {"status": {}}, {"status": {"last_activity": "lately"}}, {"kernels": ["busy"]}, {"terminals": [None]}, {"kernels": DEEP},
    ],
    ids=[
        "elsewhere", "status 500", "kernels 403", "terminals 500", "no object", "no list", "no time", "no such time",
        "no kernels", "no terminals", "too deep",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_or_read_is_unknown_and_the_address_is_not_told(lab: Lab, said: dict[str, Any]) -> None:
    with pytest.raises(JupyterUnreachableError) as unknown:
        last_used(lab(**said), NOW)
    told: BaseException | None = unknown.value
    assert SECRET not in str(told)
    assert unknown.value.__suppress_context__ or unknown.value.__context__ is None


@pytest.mark.parametrize("said", [{"status": "drips"}, {"landing": "lab", "lab": "drips"}], ids=["its API", "its page"])
def test_one_that_goes_on_answering_for_ever_is_given_up(
    lab: Lab, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jupyter, "TIMEOUT_SECONDS", 1.0)
    with pytest.raises(JupyterUnreachableError):
        last_used(lab(**said), NOW)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:1/in", "nothing"])
def test_an_address_that_leads_nowhere_is_unknown(url: str) -> None:
    with pytest.raises(JupyterUnreachableError):
        last_used(url, NOW)
