"""How counts, sizes and text out of files are said, on every page and in every line."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def counted(number: int, noun: str) -> str:
    """1 example, 2,000 examples."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def size(count: int) -> str:
    """Bytes as people say them: 912 bytes, 34.5 kB, 1.2 GB."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def printable(text: str) -> str:
    """Text out of a file with what would command a terminal, or not be seen, escaped."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
