"""torchrun, which also tells SageMaker when the kernel killed a process of this host: what is killed can say nothing itself."""

from __future__ import annotations

import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from model.finetune.failures import Stage, killed, reason, shown
from model.finetune.job import Place, hyperparameters, report_failure


def main() -> int:
    """0 when every process of this host did what it was to do."""
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        if first.exitcode == -signal.SIGKILL:
            place = Place.here()
            report_failure(
                place, reason(killed(hyperparameters(), Stage(gpus=place.gpus), f"The process of rank {rank}"))
            )
        print(shown(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
