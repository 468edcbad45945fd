"""How long a job's instances have been up, kept on disk: after a crash nobody else knows it, and the time off is not billed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE = "uptime"
NOTED_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Uptime:
    """Seconds up all together, and the last moment (epoch seconds) this was known."""

    seconds: float
    moment: float


def note(job_folder: Path, uptime: Uptime) -> None:
    """Replace what was noted; a crash leaves the one or the other. Raises OSError."""
    new = job_folder / f"{FILE}.new"
    new.write_text(f"{uptime.seconds} {uptime.moment}")
    new.replace(job_folder / FILE)


def noted(job_folder: Path) -> Uptime | None:
    """None when nothing legible was noted."""
    with suppress(OSError, ValueError):
        seconds, moment = (job_folder / FILE).read_text().split()
        return Uptime(float(seconds), float(moment))
    return None


def forget(job_folder: Path) -> None:
    for name in (FILE, f"{FILE}.new"):
        (job_folder / name).unlink(missing_ok=True)
