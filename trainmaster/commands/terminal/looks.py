"""Whether colours and bars are wanted."""

from __future__ import annotations

import os
from typing import TextIO


def is_styled(stream: TextIO) -> bool:
    """Whether there is somebody who sees colours, and has not said that they are not wanted."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
