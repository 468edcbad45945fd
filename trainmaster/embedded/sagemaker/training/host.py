"""One host of a training job: its /opt/ml, its Python, and the process that trains in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainmaster.embedded import processes
from trainmaster.embedded.sagemaker import logs, python
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import Container, Isolation
from trainmaster.embedded.sagemaker.training import channels, trees
from trainmaster.embedded.sagemaker.training.metrics import Metrics, publish
from trainmaster.embedded.sagemaker.wire import Json

GROUP_NAME = "homogeneousCluster"

# Of the machine's environment a job sees only what it takes to load libraries and to reach a package index.
_PASSED_ON = (
    "LD_LIBRARY_PATH", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS",
    "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_PROXY", "PIP_TRUSTED_HOST", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)  # fmt: skip
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


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
    def offline(self) -> bool:
        """Whether the job is to have no network, and no credentials."""
        return bool(self.job.get("EnableNetworkIsolation", False))

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
        (self.folder / "home").mkdir()
        configuration = {
            "hyperparameters": self.job.get("HyperParameters", {}),
            "inputdataconfig": channels.described(
                self.job.get("InputDataConfig", []), self.job["AlgorithmSpecification"]["TrainingInputMode"]
            ),
            "resourceconfig": resource_config(self.name, self.names, self.job["ResourceConfig"]["InstanceType"]),
        }
        for name, contents in configuration.items():
            (self.ml / "input/config" / f"{name}.json").write_text(json.dumps(contents))
        python.lay_over_ours(self.folder / "python", self.job["AlgorithmSpecification"].get("TrainingImage", ""))

    def command(self) -> list[str]:
        """What AWS runs: the job's ContainerEntrypoint and ContainerArguments, or `train` of AWS's toolkit."""
        algorithm = self.job["AlgorithmSpecification"]
        given = [*algorithm.get("ContainerEntrypoint", []), *algorithm.get("ContainerArguments", [])]
        return given or ["train"]

    def environment(self, client_environment: Mapping[str, str], pip_cache: Path) -> dict[str, str]:
        """What its process finds; of the network and this AWS nothing when the job is to be without."""
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            **({} if self.offline else {**_proxies(self.names), **client_environment}),
            "PATH": python.search_path(self.folder / "python"),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PIP_CACHE_DIR": str(pip_cache),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "AWS_EC2_METADATA_DISABLED": "true",
            **_share_of_cores(len(self.names)),
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
        pip_cache = account.state / "pip-cache"
        pip_cache.mkdir(exist_ok=True)
        container = Container(host.folder, host.names, state=account.state, kept=[pip_cache], offline=host.offline)
        # With namespaces it has a /tmp of its own. Below its folder the name of a socket would soon be too long.
        self._temporary = None if host.isolation.isolated else Path(tempfile.mkdtemp(prefix="tm-"))
        temporary = {"TMPDIR": str(self._temporary)} if self._temporary else {}
        pipe, writer = os.pipe()
        try:
            self._child = processes.start(
                host.isolation.command(container, host.command()),
                env=temporary | host.environment(account.client_environment, pip_cache),
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

    def terminate(self) -> bool:
        """SIGTERM to the container's first process, as AWS sends it; its default is to be ignored there, as on AWS.

        False while there is no such process yet: then it is to be called again.
        """
        if not self._host.isolation.isolated and self._host.command() == ["train"]:
            return True  # AWS's toolkit handles no SIGTERM: as PID 1 it lives on, and only here it would die of it
        first = self._host.isolation.first_process(self._child.pid)
        if first is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGTERM)
        return True

    def end(self) -> int:
        """Kill what still runs of it, wait until its last log line is stored, and return the exit code."""
        self._child.kill()
        self._follower.join()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
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


def _share_of_cores(hosts: int) -> dict[str, str]:
    """Of hosts that share this machine each computes with its part of the cores: with all of them each waits for the others' threads."""
    if hosts == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // hosts))}


def _proxies(names: Sequence[str]) -> dict[str, str]:
    """The machine's proxies, with this machine and the job's hosts reached without: both spellings, some read only one."""
    found = {each: os.environ[each] for name in _PROXIES for each in (name, name.lower()) if each in os.environ}
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = ",".join([*filter(None, [direct]), "127.0.0.1", "localhost", *names])
    return {**found, "NO_PROXY": direct, "no_proxy": direct} if found else {}
