"""What runs on every host of the job: it checks what was asked, starts a process for each GPU, and says why when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from model.finetune.checkpoints import staging_for
from model.finetune.failures import Stage, killed, reason
from model.finetune.hyperparameters import Hyperparameters, read_hyperparameters
from model.finetune.problems import BadInputError

STAGING = "FINE_TUNING_STAGING"
FIRST_PORT, PORTS = 12_000, 20_000
"""Below those that Linux gives to connections (32,768 on)."""
MEET_WITHIN_SECONDS = 900
"""SageMaker starts the hosts of a job within minutes of each other."""


@dataclass(frozen=True)
class Place:
    """Where SageMaker put things on this host, and which of how many hosts it is."""

    hosts: tuple[str, ...]
    host: str
    gpus: int
    input: Path
    model: Path
    output: Path
    checkpoints: Path
    channels: tuple[str, ...]

    @classmethod
    def here(cls) -> Place:
        """From the environment of AWS's training toolkit."""
        env = os.environ
        base = Path(env.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
        return cls(
            hosts=tuple(json.loads(env.get("SM_HOSTS", '["algo-1"]'))),
            host=env.get("SM_CURRENT_HOST", "algo-1"),
            gpus=int(env.get("SM_NUM_GPUS", "0")),
            input=Path(env.get("SM_INPUT_DIR", base / "input")),
            model=Path(env.get("SM_MODEL_DIR", base / "model")),
            output=Path(env.get("SM_OUTPUT_DIR", base / "output")),
            checkpoints=base / "checkpoints",
            channels=tuple(json.loads(env.get("SM_CHANNELS", "[]"))),
        )

    def channel(self, name: str) -> Path:
        return self.input / "data" / name

    @property
    def staging(self) -> Path:
        """Where checkpoints are written before they are whole, as `main` found it for all processes of this host."""
        return Path(os.environ.get(STAGING) or self.checkpoints / ".being-saved")


def hyperparameters() -> Hyperparameters:
    return read_hyperparameters(json.loads(os.environ.get("SM_HPS", "{}")))


def command(asked: Hyperparameters, place: Place) -> list[str]:
    """What trains on this host: torchrun with a process for each GPU, or a single process."""
    program = ["-m", "model.finetune.training"]
    processes = processes_on(asked, place)
    if processes == 1 and len(place.hosts) == 1:
        return [sys.executable, *program]
    return [
        sys.executable,
        "-m",
        "model.finetune.ranks",
        f"--nproc-per-node={processes}",
        *_meeting(place),
        "--max-restarts=0",
        *program,
    ]


def processes_on(asked: Hyperparameters, place: Place) -> int:
    """How many train on each host."""
    return asked.processes_per_host or place.gpus or 1


def _meeting(place: Place) -> list[str]:
    """Where the processes of all hosts meet: on one host at a free port, on several at a port that is the job's own, as several
    jobs may share a machine."""
    if len(place.hosts) == 1:
        return ["--standalone", "--local-addr=127.0.0.1"]
    port = FIRST_PORT + zlib.crc32(os.environ.get("TRAINING_JOB_NAME", "").encode()) % PORTS
    return [
        f"--nnodes={len(place.hosts)}",
        f"--node-rank={place.hosts.index(place.host)}",
        f"--master-addr={place.hosts[0]}",
        f"--master-port={port}",
        f"--rdzv-conf=timeout={MEET_WITHIN_SECONDS}",
    ]


def main() -> int:
    """The exit code of the processes it started."""
    place = Place.here()
    try:
        asked = hyperparameters()
        seen = gpus_seen(asked, place)
    except BadInputError as error:
        report_failure(place, reason(str(error)))
        print(error, file=sys.stderr)
        return 1
    told = {STAGING: str(staging_for(place.checkpoints))} | seen | network(asked, place) | threads(asked, place)
    code = run(command(asked, place), told)
    if code == -signal.SIGKILL:
        report_failure(place, reason(killed(asked, Stage(gpus=place.gpus))))
    return code


def gpus_seen(asked: Hyperparameters, place: Place) -> dict[str, str]:
    """A variable that leaves a single process one GPU: the Trainer takes all it sees, each with a batch of its own. Raises BadInputError
    of more processes than GPUs."""
    if place.gpus and asked.processes_per_host > place.gpus:
        raise BadInputError(
            f"processes_per_host is {asked.processes_per_host}, and this host has {place.gpus} GPUs. Leave it out for a process on each."
        )
    return {"CUDA_VISIBLE_DEVICES": "0"} if asked.processes_per_host == 1 < place.gpus else {}


def network(asked: Hyperparameters, place: Place) -> dict[str, str]:
    """Variables that keep Hugging Face's libraries off the network where nothing is to come from it or go to it, and that say by which
    interface several hosts reach each other: else gloo and NCCL choose one themselves, the loopback maybe."""
    told = {} if "model" not in place.channels or asked.push_to_hub else {"HF_HUB_OFFLINE": "1"}
    interface = os.environ.get("SM_NETWORK_INTERFACE_NAME")
    if len(place.hosts) > 1 and interface:
        told |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    return told


def threads(asked: Hyperparameters, place: Place) -> dict[str, str]:
    """A variable that shares the cores of a host without GPUs among its processes, of which torchrun gives each one; what is set stays."""
    processes = processes_on(asked, place)
    if place.gpus or processes == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // processes))}


def run(command: list[str], environment: dict[str, str]) -> int:
    """The exit code of a process that is told of SIGTERM when we are: AWS's toolkit passes none on, other entry points do."""
    child = subprocess.Popen(command, env=os.environ | environment)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


def report_failure(place: Place, message: str) -> None:
    """Say why where SageMaker looks for it. AWS's toolkit leaves a failure that is already there alone."""
    if place.output.is_dir():
        (place.output / "failure").write_text(message, encoding="utf-8")
