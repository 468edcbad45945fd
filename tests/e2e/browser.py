"""A real Chromium without a window, driven by the protocol of its own developer tools."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WITHIN = 240.0
_ANSWER_WITHIN = 60.0
_LARGEST = 64 << 20
"""Bytes of a message: screenshots come in one."""


class Page:
    """One page of it."""

    def __init__(self, address: str) -> None:
        self._socket = connect(address, open_timeout=_ANSWER_WITHIN, max_size=_LARGEST, proxy=None)
        self._numbers = itertools.count(1)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def until(self, condition: str) -> Any:
        """What an expression of JavaScript comes to, once that is true of anything."""
        deadline = time.monotonic() + WITHIN
        while not (found := self.evaluate(condition)):
            assert time.monotonic() < deadline, f"never: {condition}; the page says {self.evaluate(_TEXT)!r}"
            time.sleep(0.2)
        return found

    def says(self, text: str) -> None:
        """Returns once the page shows the text."""
        self.until(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    def text(self) -> str:
        """What it shows."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, element: str) -> None:
        """With the mouse, on what an expression of JavaScript comes to, once it is there and lies still."""
        self._hold_still(element)
        x, y = self.until(
            f"(found => {{ if (!found) return null; found.scrollIntoView({{block: 'center'}});"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2];"
            f" }})({element})"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, element: str, text: str) -> None:
        """Into a field, instead of what is in it."""
        self.click(element)
        self.evaluate(f"({element}).select()")
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page however long it is."""
        if whole:
            height = self.evaluate("Math.max(...[...document.querySelectorAll('*')].map(each => each.scrollHeight))")
            self._call(
                "Emulation.setDeviceMetricsOverride", width=1280, height=height, deviceScaleFactor=1, mobile=False
            )
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))
        if whole:
            self._call("Emulation.clearDeviceMetricsOverride")

    def _hold_still(self, element: str) -> None:
        place = f"(found => found ? JSON.stringify(found.getBoundingClientRect()) : '')({element})"
        seen, now = None, self.until(place)
        while seen != now:
            time.sleep(0.1)
            seen, now = now, self.evaluate(place)

    def close(self) -> None:
        self._socket.close()

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; of a page that is just changing to another, nothing."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        deadline = time.monotonic() + _ANSWER_WITHIN
        while True:
            told = json.loads(self._socket.recv(timeout=max(deadline - time.monotonic(), 0)))
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]


_TEXT = "document.title + ': ' + (document.body ? document.body.innerText.slice(0, 300) : '')"


def installed() -> str:
    """The program; "" where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), "")


@contextmanager
def page_in(program: str, folder: Path) -> Iterator[Page]:
    """A page of a Chromium that knows nobody, and is gone afterwards."""
    told = folder / "DevToolsActivePort"
    with (folder.with_name(f"{folder.name}.log")).open("wb") as log:
        chromium = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--no-proxy-server", "--window-size=1280,800", "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + WITHIN
            while not (told.exists() and told.read_text().count("\n")):
                assert chromium.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline, Path(log.name).read_text()
                time.sleep(0.1)
            port = told.read_text().splitlines()[0]
            with httpx.Client(trust_env=False, timeout=_ANSWER_WITHIN) as client:
                pages = client.get(f"http://127.0.0.1:{port}/json/list").raise_for_status().json()
            page = Page(next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page"))
            try:
                yield page
            finally:
                page.close()
        finally:
            chromium.terminate()
            try:
                chromium.wait(20)
            except subprocess.TimeoutExpired:
                chromium.kill()
                chromium.wait(20)
