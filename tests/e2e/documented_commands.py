"""What a Markdown page shows of a terminal: commands, in order, and what it says they answer.

A block of ```console has commands after `$ `, each with the lines that belong to it (after a backslash, or up to the end of a
here-document), and below it what is answered. `…` in an answer stands for any text in a line, and alone for any lines. A comment at
the end of a command may say more: `# exit code 1`, or `# leave it running`. A block whose first line is one of NOT_RUN is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NOT_RUN = {
    "# needs an AWS account": "the tests have none",
    "# the tests": "they would run themselves",
    "# gets what this page is about": "it is there already",
}
"""What the first line of a block may say, for a reader as for the tests, and why it is not run."""
LEFT_RUNNING = "# leave it running"
_EXIT_CODE = re.compile(r"# exit code (\d+)$", re.MULTILINE)
_HERE_DOCUMENT = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_ANY_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INVOKED = re.compile(r"(?:^|[;&|(] *|\$\()(?:\.venv/bin/)?trainmaster ([^;&|)<>]+)")

DIFFERENT_EVERYWHERE = (
    r"\b\d+(?:\.\d+)? s\b",  # seconds
    r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",  # ids
    r"\b[0-9a-f]{10}\b",  # fingerprints
    r"127\.0\.0\.1:\d+",
    r"\b20\d\d-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?",
)
"""What is another on every machine or day: any of its kind will do for the one that is shown."""
_ALIKE = re.compile("|".join(f"({pattern})" for pattern in DIFFERENT_EVERYWHERE))


@dataclass(frozen=True)
class Command:
    """What is typed, from which line of the page, and what comes of it."""

    page: str
    line: int
    typed: str
    answer: str = ""

    @property
    def exit_code(self) -> int:
        said = _EXIT_CODE.search(self.typed)
        return int(said[1]) if said else 0

    @property
    def is_left_running(self) -> bool:
        return self.typed.endswith(LEFT_RUNNING)

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}: $ {self.typed}"


@dataclass(frozen=True)
class Block:
    """Commands of one block; `not_run` is what its first line says, "" where it is run."""

    commands: tuple[Command, ...]
    not_run: str = ""


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """All blocks of a page, in order. Raises ValueError where one begins with anything but a command."""
    for found in _FENCE.finditer(text):
        first = text.count("\n", 0, found.start()) + 2
        lines = found[1].splitlines()
        marked = lines[0] if lines[0] in NOT_RUN else ""
        skipped = 1 if marked else 0
        yield Block(tuple(_commands(page, first + skipped, lines[skipped:])), marked)


def trainmaster_commands(text: str) -> list[list[str]]:
    """The words after `trainmaster` wherever a page writes a command, in a block or between backticks; placeholders are left out."""
    blocks = _FENCE.findall(text)
    typed = [line[2:] for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    inline = re.findall(r"`((?:\.venv/bin/)?trainmaster [^`]+)`", " ".join(_ANY_FENCE.sub("", text).split()))
    return [
        [word for word in found.split("  # ")[0].split() if word not in {"…", "COMMAND"}]
        for line in (*typed, *inline)
        for found in _INVOKED.findall(line)
    ]


def _commands(page: str, first: int, lines: list[str]) -> Iterator[Command]:
    typed: list[str] = []
    answer: list[str] = []
    began = first
    until = ""
    for number, line in enumerate(lines, first):
        goes_on = typed and not answer and (until or typed[-1].endswith("\\"))
        if goes_on:
            typed.append(line)
            until = "" if line == until else until
        elif line.startswith("$ "):
            if typed:
                yield Command(page, began, "\n".join(typed), "\n".join(answer))
            typed, answer, began = [line[2:]], [], number
        elif typed:
            answer.append(line)
        else:
            raise ValueError(f"{page}, line {number}: a block begins with a command, not with {line!r}")
        if not until and typed and not answer and (opened := _HERE_DOCUMENT.search(typed[-1])) and not goes_on:
            until = opened[2]
    if typed:
        yield Command(page, began, "\n".join(typed), "\n".join(answer))


def is_as_shown(shown: str, said: str) -> bool:
    """Whether what was said is what the page shows, but for what it leaves out and what differs everywhere."""
    lines = [_line(line) for line in shown.strip().splitlines()]
    pattern = "".join(r"(?:.*\n)*?" if line is None else line + r"[ \t]*\n" for line in lines)
    return re.fullmatch(pattern, "\n".join(said.strip().splitlines()) + "\n") is not None


def _line(shown: str) -> str | None:
    """A pattern of one line; None stands for any number of them."""
    if shown.strip() == "…":
        return None
    pattern, at = "", 0
    for found in _ALIKE.finditer(shown):
        pattern += _text(shown[at : found.start()]) + f"(?:{DIFFERENT_EVERYWHERE[(found.lastindex or 1) - 1]})"
        at = found.end()
    return pattern + _text(shown[at:].rstrip())


def _text(shown: str) -> str:
    """Any blanks where there are two or more: columns are as wide as what is in them."""
    return r".*".join(re.sub(r"(?:\\ ){2,}", r"[ ]+", re.escape(part)) for part in shown.split("…"))
