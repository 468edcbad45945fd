"""Runs commands one after another and says what they took: `stopwatch.py <figures.json> <commands as JSON>`.

A process of its own, small and without our imports: what a child has at most in memory is never counted as less than what its parent
had when it started it.
"""

import json
import resource
import subprocess
import sys
import time


def main() -> int:
    figures, commands = sys.argv[1], json.loads(sys.argv[2])
    began = time.monotonic()
    for command in commands:
        if code := subprocess.run(command, check=False).returncode:
            return code
    wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(figures, "w") as file:  # noqa: PTH123 - pathlib would be a third of its memory
        json.dump({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024 / 1e6}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
