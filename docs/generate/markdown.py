"""Markdown, written the same on every machine and by every Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTE = "<!-- Made from the code by `make reference`; change it there. -->"


def page(title: str, about: str, *sections: str) -> str:
    """A whole page."""
    return "\n\n".join([f"# {title}", NOTE, about, *(section for section in sections if section)]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; "" where there are no rows."""
    lines = [_row(cells) for cells in rows]
    return "\n".join([_row(heads), "|" + " --- |" * len(heads), *lines]) if lines else ""


def code(text: object) -> str:
    """As code; "" for nothing."""
    return f"`{text}`" if str(text) else ""


def prose(text: str | None) -> str:
    """On one line, with what Markdown would take for its own as it was meant."""
    return " ".join((text or "").split()).replace("<", "&lt;")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
