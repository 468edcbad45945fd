"""What pages for people are made of. Whatever text goes in is shown as it is: no markup, nothing that commands a terminal; but for
secrets, which are hidden."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from decimal import Decimal

from trainmaster.datasets.showing.markdown import plain
from trainmaster.plain_words import printable
from trainmaster.training.secrets import hidden

_CELLS = 20
_TOGETHER = "\N{NO-BREAK SPACE}"


def safe(text: str) -> str:
    """Text as Markdown shows it, secrets in it hidden."""
    return plain(hidden(text))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; one without rows is its header alone."""
    lines = [[plain(cell) for cell in header], ["---"] * len(header), *([safe(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bar(part: Decimal, whole: Decimal) -> str:
    """How much of the whole a part is, drawn and in percent, on one line; what is above the whole says so."""
    if whole <= 0:
        return "of $0"
    percent = int(part * 100 / whole)
    full = min(int(part * _CELLS / whole), _CELLS)
    if part > 0 and not full:
        full = 1
    return f"{'█' * full}{'░' * (_CELLS - full)}{_TOGETHER}{percent}{_TOGETHER}%"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A table of labels and what is said of each; those of which nothing is said are left out."""
    return table(("", ""), ((label, said) for label, said in pairs if said))


def lines(text: Iterable[str]) -> str:
    """Lines as they are, in a block; secrets in them are hidden. Indented, since no run of backticks in them can end it."""
    return "\n".join(f"    {printable(line)}" for line in hidden("\n".join(text)).splitlines())


def links(named: Iterable[tuple[str, str]]) -> str:
    """A list of links; an address is one of ours, which has nothing in it that ends a link."""
    return "\n".join(f"- [{plain(label)}]({address})" for label, address in named)


def page(title: str, said: str, sections: Iterable[tuple[str, str]]) -> str:
    """A heading, the one sentence to read, and under headings of their own those sections that say something."""
    parts = [f"# {safe(title)}", f"**{safe(said)}**" if said else ""]
    parts += [f"## {heading}\n\n{body}" for heading, body in sections if body]
    return "\n\n".join(filter(None, parts)) + "\n"


def figure(value: float) -> str:
    """A measured value, to four figures; a large one whole."""
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def embedded_picture(png: bytes) -> str:
    """The address of a picture that is in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def shown_picture(alt: str, png: bytes | None) -> str:
    """A picture in the page itself; "" of none. `alt` is ours."""
    return f"![{alt}]({embedded_picture(png)})" if png else ""
