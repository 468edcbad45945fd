"""The life of one training job, from its first status to its last."""

from __future__ import annotations

import enum
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.python import NoPyTorchError
from trainmaster.embedded.sagemaker.training import artifacts, channels, checkpoints, statuses, uptime, warm_pools
from trainmaster.embedded.sagemaker.training.channels import ManifestError
from trainmaster.embedded.sagemaker.training.checks import TENSORBOARD
from trainmaster.embedded.sagemaker.training.host import Host, Training, host_names
from trainmaster.embedded.sagemaker.training.metrics import Metrics
from trainmaster.embedded.sagemaker.wire import Json

KIND = "training-job"
CHECKPOINTS = "/opt/ml/checkpoints"
POLL_SECONDS = 0.03
CAPACITY_RETRY_SECONDS = 0.2
STOPPED_BY_RESTART = (
    "InternalServerError: We encountered an internal error. Please try again. "
    "(The embedded AWS was stopped while the job was running.)"
)

log = logging.getLogger(__name__)


class Halt(enum.Enum):
    """Why a job ends, or starts anew, before its process does."""

    CLOSING = "the embedded AWS is being stopped"
    STOP = "StopTrainingJob"
    MAX_WAIT = "MaxWaitTimeExceeded"
    MAX_RUNTIME = "MaxRuntimeExceeded"
    INTERRUPTION = "spot interruption"


class HaltedError(Exception):
    """Raised by whatever a job is doing when it has to halt."""

    def __init__(self, halt: Halt) -> None:
        super().__init__(halt.value)
        self.halt = halt


class JobFailedError(Exception):
    """Raised when the job fails; the message is its FailureReason."""


def jobs_folder(account: Account) -> Path:
    return account.state / "training-jobs"


def discard_hosts(job_folder: Path) -> None:
    """Remove all that its hosts had on disk; the logs stay."""
    hosts = job_folder / "hosts"
    for parent, folders, _ in os.walk(hosts):
        for name in folders:
            folder = Path(parent, name)
            if not folder.is_symlink():
                with suppress(OSError):
                    folder.chmod(0o700)  # a job may have locked us out
    shutil.rmtree(hosts, ignore_errors=True)


class TrainingJob:
    """A recorded job being run by a thread of its own. The thread alone moves it on; only Stopping comes from elsewhere."""

    def __init__(self, account: Account, faults: Faults, isolation: Isolation, name: str) -> None:
        self._account, self._faults, self._isolation, self._name = account, faults, isolation, name
        job = account.records.get(KIND, name)
        assert job is not None, name
        self._job = job
        self._folder = jobs_folder(account) / name
        self._metrics = Metrics(job["AlgorithmSpecification"].get("MetricDefinitions", []))
        self._born = time.monotonic()
        self._up_since: float | None = None
        self._up_before = 0.0
        self._noting = threading.Lock()
        self._stop, self._interruption, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"training job {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """As StopTrainingJob does, once the record says Stopping."""
        self._stop.set()

    def interrupt(self) -> None:
        """Take the spot instances away."""
        self._interruption.set()

    def close(self) -> None:
        """Kill it and record it as failed, as after a crash."""
        self._closing.set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def note_uptime(self) -> None:
        """Keep on disk how long its instances have been up; to be called about every `uptime.NOTED_EVERY_SECONDS`."""
        with self._noting:
            if self._up_since is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                uptime.note(self._folder, uptime.Uptime(self._up_seconds(), self._account.now()))

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    # The walk through the statuses

    def _run(self) -> None:
        status, secondary, reason = "Completed", None, None
        try:
            self._train()
        except HaltedError as halted:
            status, secondary, reason = _ending(halted.halt)
        except JobFailedError as failed:
            status, reason = "Failed", str(failed)
        except Exception as error:  # whatever happens to it, a job ends in a status that says so
            log.exception("training job %s", self._name)
            status, reason = "Failed", f"InternalServerError: We encountered an internal error: {error!r}"
        self._pause_clock()
        discard_hosts(self._folder)
        with self._account.records.changing(KIND, self._name) as job:
            if status == "Completed" and job["TrainingJobStatus"] == "Stopping":
                status = "Stopped"  # StopTrainingJob came after the process had ended
            job["FinalMetricDataList"] = self._metrics.final()
            statuses.bill(job, self._up_before)
            with self._noting:
                uptime.forget(self._folder)
            statuses.finish(job, status, self._account.now(), secondary=secondary, reason=reason)
            warm_pools.keep(job)

    def _train(self) -> None:
        while True:
            self._get_instances()
            try:
                self._use_instances()
            except HaltedError as halted:
                if halted.halt is not Halt.INTERRUPTION:
                    raise
            else:
                return
            self._pause_clock()
            self._interruption.clear()
            self._move("Interrupted")
            self._move("Restarting")

    def _get_instances(self) -> None:
        """Wait for capacity as long as a spot job may; raises JobFailedError when there is none."""
        spot = self._job.get("EnableManagedSpotTraining", False)
        while fault := self._faults.take("LaunchingMLInstances"):
            self._pause(fault.latency or 0)
            if not fault.error:
                break
            if not spot:
                raise JobFailedError(f"{fault.error}: {fault.message}")
            self._move("Pending")
            self._pause(CAPACITY_RETRY_SECONDS)
        self._check_halted()

    def _use_instances(self) -> None:
        """One stretch of instances being up: download, train, upload. Raises HaltedError, after what it had is saved, and JobFailedError."""
        self._up_since = time.monotonic()
        self.note_uptime()
        self._move("Downloading")
        discard_hosts(self._folder)
        count = self._job["ResourceConfig"]["InstanceCount"]
        hosts = [
            Host(self._job, index, self._folder / "hosts" / name, self._isolation)
            for index, name in enumerate(host_names(count))
        ]
        for host in hosts:
            try:
                host.lay_out()
            except NoPyTorchError as error:
                raise JobFailedError(f"ClientError: {error}") from error
            self._download(host)
        self._check_halted()
        self._move("Training")
        halt: Halt | None = None
        try:
            self._run_hosts(hosts)
        except HaltedError as halted:
            if halted.halt in (Halt.CLOSING, Halt.INTERRUPTION):
                raise
            halt = halted.halt
        except JobFailedError:
            self._move("Uploading")
            self._upload(hosts, model=False)
            raise
        self._move("Uploading")
        self._upload(hosts, model=True)
        if halt:
            raise HaltedError(halt)

    def _download(self, host: Host) -> None:
        try:
            if source := self._checkpoints():
                folder = host.inside(self._checkpoint_path())
                folder.mkdir(parents=True)
                checkpoints.restore(self._account.s3, source, folder, self._check_halted)
            for channel in self._job.get("InputDataConfig", []):
                channels.download(
                    self._account.s3,
                    channel,
                    host.ml / "input/data" / channel["ChannelName"],
                    index=host.index,
                    count=len(host.names),
                    check_halted=self._check_halted,
                )
        except (ManifestError, OSError, BotoCoreError, ClientError, Boto3Error) as error:
            raise JobFailedError(f"ClientError: Data download failed: {error}") from error

    def _run_hosts(self, hosts: list[Host]) -> None:
        """Until all hosts have ended well. Raises JobFailedError for the first that has not, and HaltedError; all are dead then."""
        log_folder = self._folder / "logs"
        log_folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as cleanup:
            syncs: list[checkpoints.CheckpointSync] = []
            for target, path in self._synced():  # before the hosts start: what is there now is in S3 already
                folder = Path(path).relative_to("/opt/ml")
                syncs.append(checkpoints.CheckpointSync(self._account.s3, target, [host.ml for host in hosts], folder))
                cleanup.callback(syncs[-1].abandon)
            running: list[Training] = []
            for host in hosts:
                running.append(Training(self._account, host, self._metrics, log_folder))
                cleanup.callback(running[-1].end)
            halt = self._watch(running)
            codes = [each.poll() for each in running]
            for each in running:
                each.end()
            for sync in syncs if halt is not Halt.CLOSING else []:
                self._finish(sync)
            if halt:
                raise HaltedError(halt)
            for host, code in zip(hosts, codes, strict=True):
                if code:
                    raise JobFailedError(statuses.algorithm_error(host.failure(), code))

    def _watch(self, running: list[Training]) -> Halt | None:
        """Until all hosts have ended, or one has failed, or they were made to end by a Halt."""
        known: list[Json] = []
        noted = time.monotonic()
        while True:
            codes = [each.poll() for each in running]
            if all(code == 0 for code in codes) or any(codes):
                return None
            if halt := self._halt():
                self._wind_down(running, halt)
                return halt
            if time.monotonic() - noted > 1 and (final := self._metrics.final()) != known:
                known, noted = final, time.monotonic()
                with self._account.records.changing(KIND, self._name) as job:
                    job["FinalMetricDataList"] = final
            self._closing.wait(POLL_SECONDS)

    def _wind_down(self, running: list[Training], halt: Halt) -> None:
        """SIGTERM, then the grace AWS gives until SIGKILL."""
        if halt is Halt.CLOSING:
            return
        self._move("Interrupted" if halt is Halt.INTERRUPTION else "Stopping")
        unasked = running
        until = time.monotonic() + self._account.stop_grace
        while any(each.poll() is None for each in running) and time.monotonic() < until:
            unasked = [each for each in unasked if not each.terminate()]
            if self._closing.wait(POLL_SECONDS):
                return

    def _finish(self, sync: checkpoints.CheckpointSync) -> None:
        try:
            sync.finish()
        except (OSError, BotoCoreError, ClientError, Boto3Error) as error:
            raise JobFailedError(f"ClientError: Checkpoint upload failed: {error}") from error

    def _upload(self, hosts: list[Host], *, model: bool) -> None:
        try:
            self._upload_output(hosts)
            if model:
                self._upload_model(hosts)
        except (OSError, BotoCoreError, ClientError, Boto3Error) as error:
            raise JobFailedError(f"ClientError: Artifact upload failed: {error}") from error

    def _upload_output(self, hosts: list[Host]) -> None:
        results = {
            name: left
            for name, left in artifacts.files_below([host.ml for host in hosts], "output").items()
            if name in ("failure", "success") or name.startswith("data/")
        }
        if not results.keys() - {"success"}:
            return
        if self._compressed:
            target = self._output.below("output.tar.gz")
            artifacts.upload_archive(self._account.s3, results, target, self._folder / "hosts")
        else:
            artifacts.upload(self._account.s3, results, self._output)

    def _upload_model(self, hosts: list[Host]) -> None:
        """AWS names the place of the model whether or not the job wrote one."""
        files = artifacts.files_below([host.ml for host in hosts], "model")
        target = self._output.below("model.tar.gz" if self._compressed else "model/")
        if files and self._compressed:
            artifacts.upload_archive(self._account.s3, files, target, self._folder / "hosts")
        elif files:
            artifacts.upload(self._account.s3, files, target)
        with self._account.records.changing(KIND, self._name) as job:
            job["ModelArtifacts"] = {"S3ModelArtifacts": str(target)}

    @property
    def _output(self) -> Location:
        return Location.parse(self._job["OutputDataConfig"]["S3OutputPath"]).below(f"{self._name}/output")

    @property
    def _compressed(self) -> bool:
        return bool(self._job["OutputDataConfig"].get("CompressionType") != "NONE")

    # What it has to know meanwhile

    def _checkpoints(self) -> Location | None:
        config = self._job.get("CheckpointConfig")
        return Location.parse(config["S3Uri"]) if config else None

    def _checkpoint_path(self) -> str:
        path: str = self._job["CheckpointConfig"].get("LocalPath", CHECKPOINTS)
        return path

    def _synced(self) -> Iterator[tuple[Location, str]]:
        """Where in S3 what the job writes below a path is kept while it runs."""
        if target := self._checkpoints():
            yield target, self._checkpoint_path()
        if board := self._job.get("TensorBoardOutputConfig"):
            yield (
                Location.parse(board["S3OutputPath"]).below(f"{self._name}/tensorboard-output"),
                board.get("LocalPath", TENSORBOARD),
            )

    def _move(self, secondary: str) -> None:
        """Enter a secondary status. A job that is Stopping stays so: of its further way only Uploading shows."""
        with self._account.records.changing(KIND, self._name) as job:
            if job["TrainingJobStatus"] == "Stopping" and secondary != "Uploading":
                return
            now = self._account.now()
            statuses.move(job, secondary, now, "Stopping" if secondary == "Stopping" else None)
            if secondary == "Downloading":
                job.setdefault("TrainingStartTime", now)

    def _halt(self) -> Halt | None:
        condition = self._job["StoppingCondition"]
        now = time.monotonic()
        if self._closing.is_set():
            return Halt.CLOSING
        if self._stop.is_set():
            return Halt.STOP
        max_wait = condition.get("MaxWaitTimeInSeconds")
        if max_wait is not None and now - self._born > max_wait:
            return Halt.MAX_WAIT
        if self._up_seconds() > condition["MaxRuntimeInSeconds"]:
            return Halt.MAX_RUNTIME
        if self._interruption.is_set() and self._up_since is not None:
            return Halt.INTERRUPTION
        return None

    def _check_halted(self) -> None:
        if halt := self._halt():
            raise HaltedError(halt)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check_halted()
            self._closing.wait(min(left, POLL_SECONDS))

    def _up_seconds(self) -> float:
        since = self._up_since
        return self._up_before + (time.monotonic() - since if since is not None else 0.0)

    def _pause_clock(self) -> None:
        self._up_before, self._up_since = self._up_seconds(), None


def _ending(halt: Halt) -> tuple[str, str | None, str | None]:
    """The job's last status, secondary status and FailureReason."""
    if halt is Halt.CLOSING:
        return "Failed", None, STOPPED_BY_RESTART
    if halt in (Halt.MAX_RUNTIME, Halt.MAX_WAIT):
        return "Stopped", halt.value, None
    return "Stopped", None, None
