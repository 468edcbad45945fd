"""Options that are pairs of words."""

from __future__ import annotations

import argparse


def read_pair(text: str) -> tuple[str, str]:
    """KEY=VALUE. Raises argparse.ArgumentTypeError."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text.partition('=')[0]!r} is not KEY=VALUE")
    return key, value
