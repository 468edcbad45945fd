"""How far a file is followed before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds on what a file may ask of us. Sizes are in bytes; the defaults let every honest dataset pass.

    A gzip or zstd file is refused once more than `free` bytes came out of it and they are more than `ratio` times what went in:
    text of fine-tuning datasets is packed to between a half and a twentieth, bombs to a thousandth and less.
    """

    example: int = 64 * MIB
    """The longest line, element of an array, or row."""
    values: int = 4_000_000
    """Texts, numbers, objects … in one example, counted by the commas and brackets in it: each takes up to 200 bytes of memory."""
    depth: int = 64
    """Objects and lists within one another; at most 250."""
    unpacked: int = 1024 * 1024 * MIB
    ratio: int = 200
    free: int = 64 * MIB
    window: int = 128 * MIB
    """What a zstd file may make us hold while unpacking it; `zstd` itself takes no more without being asked to."""


DEFAULTS = Limits()
