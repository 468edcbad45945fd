"""One host of a training job: its /opt/ml, its Python, and the process that trains in it.

A job's Python is a virtual environment of the host's own, laid over ours: it sees all packages ours has, so that a
requirements.txt whose pins are met installs without a network, and whatever pip does add, newer versions included, goes to the
host's folder. pip never removes from ours: to it those packages lie outside the environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainmaster.embedded import processes
from trainmaster.embedded.sagemaker import logs
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.training import channels, trees
from trainmaster.embedded.sagemaker.training.metrics import Metrics, publish
from trainmaster.embedded.sagemaker.wire import Json

GROUP_NAME = "homogeneousCluster"

# Of the machine's environment a job sees only what it takes to load libraries and to reach a package index.
_PASSED_ON = (
    "LD_LIBRARY_PATH", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR", "SSL_CERT_FILE",
)  # fmt: skip


def host_names(count: int) -> list[str]:
    return [f"algo-{n}" for n in range(1, count + 1)]


def resource_config(name: str, names: Sequence[str], instance_type: str) -> Json:
    """The contents of resourceconfig.json."""
    return {
        "current_host": name,
        "current_instance_type": instance_type,
        "current_group_name": GROUP_NAME,
        "hosts": list(names),
        "instance_groups": [
            {"instance_group_name": GROUP_NAME, "instance_type": instance_type, "hosts": list(names)},
        ],
        "network_interface_name": "lo",
    }


@dataclass(frozen=True)
class Host:
    """Host `index` of a job; everything of it lies below `folder`."""

    job: Json
    index: int
    folder: Path
    isolation: Isolation

    @property
    def names(self) -> list[str]:
        return host_names(self.job["ResourceConfig"]["InstanceCount"])

    @property
    def name(self) -> str:
        return self.names[self.index]

    @property
    def ml(self) -> Path:
        """This host's /opt/ml as seen from outside."""
        return self.folder / "ml"

    def inside(self, path: str) -> Path:
        """Where a path the job knows below /opt/ml lies."""
        return self.ml / Path(path).relative_to("/opt/ml")

    def lay_out(self) -> None:
        """Make /opt/ml with its configuration files, without the data, and the host's Python."""
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            (self.ml / name).mkdir(parents=True)
        for name in ("home", "tmp"):
            (self.folder / name).mkdir()
        configuration = {
            "hyperparameters": self.job.get("HyperParameters", {}),
            "inputdataconfig": channels.described(
                self.job.get("InputDataConfig", []), self.job["AlgorithmSpecification"]["TrainingInputMode"]
            ),
            "resourceconfig": resource_config(self.name, self.names, self.job["ResourceConfig"]["InstanceType"]),
        }
        for name, contents in configuration.items():
            (self.ml / "input/config" / f"{name}.json").write_text(json.dumps(contents))
        _lay_python_over_ours(self.folder / "python")

    def command(self) -> list[str]:
        """What AWS runs: the job's ContainerEntrypoint and ContainerArguments, or `train` of AWS's toolkit."""
        algorithm = self.job["AlgorithmSpecification"]
        given = [*algorithm.get("ContainerEntrypoint", []), *algorithm.get("ContainerArguments", [])]
        return given or ["train"]

    def environment(self, client_environment: Mapping[str, str], pip_cache: Path) -> dict[str, str]:
        binaries = [self.folder / "python/bin", Path(sys.executable).parent]
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "PATH": ":".join([*map(str, binaries), "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"]),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PIP_CACHE_DIR": str(pip_cache),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "AWS_EC2_METADATA_DISABLED": "true",
            **client_environment,
            "TRAINING_JOB_NAME": self.job["TrainingJobName"],
            "TRAINING_JOB_ARN": self.job["TrainingJobArn"],
            "SAGEMAKER_BASE_DIR": str(self.isolation.base(self.folder)),
            "SM_STUDIO_LOCAL_MODE": "true",
            **self.job.get("Environment", {}),
        }

    def failure(self) -> str:
        """The first 1,024 characters of /opt/ml/output/failure."""
        with suppress(OSError), trees.open_file(self.ml, self.ml / "output/failure") as file:
            return file.read(4 * 1024).decode("utf-8", "replace")[:1024].strip()
        return ""


class Training:
    """The running process of a host, its output followed to its end."""

    def __init__(self, account: Account, host: Host, metrics: Metrics, log_folder: Path) -> None:
        self._account, self._host, self._metrics = account, host, metrics
        pipe, writer = os.pipe()
        try:
            self._child = processes.start(
                host.isolation.command(host.folder, host.names, host.command()),
                env=host.environment(account.client_environment, account.state / "pip-cache"),
                cwd=host.ml / "code",
                stdout=writer,
                stderr=writer,
            )
        except BaseException:
            os.close(pipe)
            raise
        finally:
            os.close(writer)
        stream = f"{host.name}-{int(time.time())}"
        self._follower = threading.Thread(
            target=self._follow, args=(pipe, stream, log_folder / f"{stream}.log"), name=f"log {stream}", daemon=True
        )
        self._follower.start()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._child.poll()

    def terminate(self) -> None:
        """SIGTERM to the container's first process, as AWS sends it; its default is to be ignored there, as on AWS."""
        if not self._host.isolation.isolated and self._host.command() == ["train"]:
            return  # AWS's toolkit handles no SIGTERM: as PID 1 it lives on, and only here it would die of it
        first = self._host.isolation.first_process(self._child.pid)
        if first is not None:
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGTERM)

    def end(self) -> int:
        """Kill what still runs of it, wait until its last log line is stored, and return the exit code."""
        self._child.kill()
        self._follower.join()
        return self._child.wait()

    def _follow(self, pipe: int, stream: str, path: Path) -> None:
        job_name = self._host.job["TrainingJobName"]

        def observe(lines: list[logs.Line]) -> None:
            if found := self._metrics.observe(lines):
                publish(self._account.cloudwatch, job_name, found)

        try:
            logs.follow(pipe, logs.LogStream(self._account.logs, f"{job_name}/{stream}"), path, observe)
        finally:
            os.close(pipe)


def _lay_python_over_ours(folder: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    binaries = folder / "bin"
    binaries.mkdir()
    original = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python", "python3", f"python{version}"):
        (binaries / name).symlink_to(original)
    (folder / "pyvenv.cfg").write_text(f"home = {original.parent}\ninclude-system-site-packages = false\n")
    ours = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (packages / "ours.pth").write_text("".join(f"{path}\n" for path in ours))
    for name, module in (("train", "sagemaker_training.cli.train"), ("pip", "pip"), ("pip3", "pip")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{binaries / "python"}" -m {module} "$@"\n')
        (binaries / name).chmod(0o755)
