"""Retryable steps, one file per subject."""

import logging

from trainmaster.errors import TrainmasterError


def _without_traceback(record: logging.LogRecord) -> bool:
    """An error of ours is an answer, not a crash: its sentence is logged, not the sixty lines of calls that led to it."""
    if record.exc_info and isinstance(record.exc_info[1], TrainmasterError):
        record.msg, record.args, record.exc_info = str(record.exc_info[1]), (), None
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_without_traceback)
