"""One line on which a command says how it goes."""

from __future__ import annotations

import shutil
from typing import TextIO


class StatusLine:
    """The last line of a terminal, written over again and again; where there is none, each new state on a line of its own,
    which begins with what it is about."""

    def __init__(self, stream: TextIO, about: str) -> None:
        self._stream, self._on_terminal, self._about = stream, stream.isatty(), about
        self._shown = self._state = ""

    def show(self, state: str, sentence: str) -> None:
        if self._on_terminal:
            columns = shutil.get_terminal_size().columns
            self._shown = sentence if len(sentence) < columns else f"{sentence[: columns - 2]}…"
            self._write(f"\r\033[K{self._shown}")
        elif state != self._state:
            self._write(f"{self._about}: {sentence}\n")
        self._state = state

    def clear(self) -> None:
        if self._shown:
            self._write("\r\033[K")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
