"""The processes of a run as one of them sees the others: all they have in common goes through here, and waits only so long."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from model.finetune.job import Place, report_failure

PATIENCE = timedelta(minutes=30)
"""For how long a process waits for the others, in anything they do together: one saves, or prepares the data, for that long at most."""


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def first_of_host() -> bool:
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def first_of_all() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def together() -> Iterator[None]:
    """Joined with the other processes that torchrun started: GPUs by NCCL, all else by gloo."""
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # it numbers CPUs else, and PyTorch restores nothing to a "cpu:0"
    if count() == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    yield
    dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """What each process gives, in their order."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def any_of(flag: bool) -> bool:
    """Whether it is so for any process."""
    if count() == 1:
        return flag
    held = torch.tensor(int(flag))
    dist.all_reduce(held, op=dist.ReduceOp.MAX)
    return bool(held.item())


def tell_failure(place: Place, reason: str) -> None:
    """Why this process ends, for SageMaker; through whoever started it where there are others, who may have failed before."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        report_failure(place, reason)
        return
    now = time.time()
    told = {
        "message": {"message": reason, "extraInfo": {"timestamp": int(now)}},
        "at": now,
    }  # as torchrun reads it, and when exactly
    Path(file).write_text(json.dumps(told), encoding="utf-8")
