"""torchrun on one host, which also tells SageMaker why: the reason of the process that failed first, whatever the others said of it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from model.finetune.failures import Stage, killed, reason, shown
from model.finetune.job import Place, hyperparameters, report_failure

LET_ANOTHER_HOST_SPEAK_SECONDS = 15
"""For so long a host that lost the others stays up: SageMaker takes the reason of the host that ends first, which is to be the one
whose process failed."""
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "connectFullMesh failed",
    "remote process exited",
)
"""How gloo and NCCL say that a process on the other end is gone."""


@dataclass(frozen=True)
class Failure:
    """What ended one process: a signal, or what it said itself, and when."""

    rank: int
    exit_code: int
    said: str = ""
    at: float = 0.0

    @property
    def lost_others(self) -> bool:
        return any(words in self.said for words in LOST)


def main() -> int:
    """0 when every process of this host did what it was to do."""
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        place = Place.here()
        first = first_of(_failures(error))
        if first.lost_others:
            time.sleep(LET_ANOTHER_HOST_SPEAK_SECONDS)
        report_failure(place, reason(_explained(first, place)))
        print(shown(str(error)), file=sys.stderr)
        return 1
    except SignalException as told:
        return 128 + int(told.sigval)
    return 0


def first_of(failures: Iterable[Failure]) -> Failure:
    """The one that the others followed: a process that was killed cannot say so, and those that lost it say nothing else."""
    return min(failures, key=lambda each: (each.exit_code != -signal.SIGKILL, each.lost_others, each.at, each.rank))


def _explained(first: Failure, place: Place) -> str:
    if first.exit_code == -signal.SIGKILL:
        return killed(hyperparameters(), Stage(gpus=place.gpus), f"The process of rank {first.rank}")
    if first.lost_others:
        return f"{place.host}: the process of rank {first.rank} lost the others, of which one ended: {first.said}"
    return first.said or f"The process of rank {first.rank} ended with exit code {first.exit_code}."


def _failures(error: ChildFailedError) -> Iterable[Failure]:
    for rank, each in error.failures.items():
        file = Path(each.error_file)
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        said = told.get("message", "")  # of our processes, or in Python's own words of one that could not even begin
        yield Failure(
            rank, each.exitcode, said["message"] if isinstance(said, dict) else str(said), told.get("at", 0.0)
        )


if __name__ == "__main__":
    sys.exit(main())
