"""A bar that shows how much of something is done, below what is said meanwhile, and is gone in the end."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

_WIDTH = 30


class Bar:
    """Of `total`; one that goes to and fro where that is 0, for nobody knows it."""

    def __init__(self, total: int, stream: TextIO) -> None:
        columns = (BarColumn(_WIDTH), TextColumn("{task.fields[said]}", markup=False))
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar = Progress(
            *columns, console=self._console, auto_refresh=False, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total or None, said="")
        self._bar.start()

    def show(self, done: int, said: str) -> None:
        """So much is done, and what is said of it."""
        self._bar.update(self._task, completed=done, said=said, refresh=True)

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """The bar is taken away."""
        self._bar.stop()
