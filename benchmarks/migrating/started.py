"""What a Python process has behind it once it can begin."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def tell_started() -> None:
    """Print, as JSON, the seconds this process has lived and the processor's seconds it took, its interpreter's start included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    lived = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    print(json.dumps({"wall": lived, "cpu": time.process_time()}), flush=True)
