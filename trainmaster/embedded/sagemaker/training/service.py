"""The training job operations of SageMaker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker import experiments, logs
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import Operation
from trainmaster.embedded.sagemaker.listing import page
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.training import checks, limits, statuses, uptime, warm_pools
from trainmaster.embedded.sagemaker.training.runner import (
    KIND,
    STOPPED_BY_RESTART,
    TrainingJob,
    discard_hosts,
    jobs_folder,
)
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid, not_found

CLOSE_SECONDS = 15

log = logging.getLogger(__name__)


class TrainingService:
    """Runs the account's training jobs, each in a thread, as many as `allowed`. `recover` is to be called once."""

    def __init__(
        self, account: Account, faults: Faults, isolation: Isolation, allowed: limits.Allowed = limits.anything
    ) -> None:
        self._account, self._faults, self._isolation, self._allowed = account, faults, isolation, allowed
        self._running: dict[str, TrainingJob] = {}
        self._with_pools: set[str] = set()
        """Names of jobs that keep their instances, or did."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._restoring: threading.Thread | None = None
        threading.Thread(target=self._note_uptimes, name="uptimes", daemon=True).start()
        # boto3 sessions make clients safely in one thread only; the clients may then be shared.
        _ = account.s3, account.logs, account.cloudwatch, account.ec2, account.kms

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
            "UpdateTrainingJob": self._update,
        }

    def recover(self) -> None:
        """After a restart: jobs that were running have failed; the logs of all jobs come back, newest first, in the background."""
        with self._lock:  # requests are answered already: a job made meanwhile is none of the old ones
            jobs = [job for job in self._account.records.all(KIND) if job["TrainingJobName"] not in self._running]
        for job in jobs:
            name = job["TrainingJobName"]
            folder = jobs_folder(self._account) / name
            discard_hosts(folder)
            if job["TrainingJobStatus"] not in statuses.TERMINAL:
                with self._account.records.changing(KIND, name) as running:
                    statuses.finish(running, "Failed", self._account.now(), reason=STOPPED_BY_RESTART)
                    if up := uptime.noted(folder):
                        longest = running["StoppingCondition"]["MaxRuntimeInSeconds"] + self._account.stop_grace
                        statuses.bill(running, min(up.seconds, longest))
                        running["TrainingEndTime"] = up.moment
                    warm_pools.keep(running)
            uptime.forget(folder)
            if "WarmPoolStatus" in job:
                self._with_pools.add(name)
        names = [job["TrainingJobName"] for job in reversed(jobs)]
        self._restoring = threading.Thread(target=self._restore_logs, args=(names,), name="restore logs", daemon=True)
        self._restoring.start()

    def interrupt(self, job_name: str) -> None:
        """Take a spot job's instances away. Raises AwsError when there is no such job, it is not a spot job or has no instances."""
        job = self._described(job_name)
        if not job.get("EnableManagedSpotTraining"):
            raise invalid(f"Training job {job_name} does not use managed spot training.")
        with self._lock:
            running = self._running.get(job_name)
        if running is None or job["SecondaryStatus"] not in ("Downloading", "Training"):
            raise invalid(f"Training job {job_name} has no instances to take: it is {job['SecondaryStatus']}.")
        running.interrupt()

    def close(self) -> None:
        """Kill all jobs; they are Failed then. Takes no longer than CLOSE_SECONDS."""
        self._closing.set()
        with self._lock:
            jobs = list(self._running.values())
        for job in jobs:
            job.close()
        until = time.monotonic() + CLOSE_SECONDS
        for job in jobs:
            job.join(max(0.0, until - time.monotonic()))
        if self._restoring:
            self._restoring.join(max(0.0, until - time.monotonic()))

    def _create(self, request: Json) -> Json:
        name = request["TrainingJobName"]
        arn = self._account.arn(KIND, name)
        if self._account.records.get(KIND, name) is not None:
            raise _taken(arn)
        checks.check(self._account, request, isolated=self._isolation.isolated)
        if self._closing.is_set():
            raise AwsError("InternalServerError", "The embedded AWS is being stopped.", status=500)
        born = self._born(request, arn)
        with self._lock:
            pools = self._pools()
            pool = warm_pools.matching(pools, born)
            limits.check(born, self._under_way(), [each for each in pools if each is not pool], self._allowed)
            with self._account.records.transaction():
                try:
                    self._account.records.create(KIND, name, arn, born, request.get("Tags"))
                except AlreadyRecordedError:
                    raise _taken(arn) from None
                if pool:
                    with self._account.records.changing(KIND, pool["TrainingJobName"]) as left:
                        warm_pools.reuse(left, name, self._account.now())
                experiments.track(self._account, born)
            if "WarmPoolStatus" in born:
                self._with_pools.add(name)
            job = TrainingJob(self._account, self._faults, self._isolation, name)
            self._running = {each: one for each, one in self._running.items() if one.alive} | {name: job}
            job.start()
        return {"TrainingJobArn": arn}

    def _born(self, request: Json, arn: str) -> Json:
        now = self._account.now()
        algorithm = {"EnableSageMakerMetricsTimeSeries": False, **request["AlgorithmSpecification"]}
        stopping = {"MaxRuntimeInSeconds": checks.DEFAULT_RUNTIME_SECONDS, **request.get("StoppingCondition", {})}
        profiler = request.get("ProfilerConfig", {})
        job = {
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": False,
            "ProfilingStatus": "Disabled" if profiler.get("DisableProfiler", not profiler) else "Enabled",
            **{member: value for member, value in request.items() if member != "Tags"},
            "TrainingJobArn": arn,
            "AlgorithmSpecification": algorithm,
            "StoppingCondition": stopping,
            "CreationTime": now,
        }
        statuses.move(job, "Starting", now, "InProgress")
        warm_pools.begin(job)
        return job

    def _under_way(self) -> list[Json]:
        """The jobs that hold instances, or wait for some."""
        jobs = [self._account.records.get(KIND, name) for name, running in self._running.items() if running.alive]
        return [job for job in jobs if job and job["TrainingJobStatus"] not in statuses.TERMINAL]

    def _pools(self) -> list[Json]:
        """The ended jobs whose instances are kept at this moment, oldest first."""
        jobs = [self._settled(name) for name in sorted(self._with_pools)]
        pools = [job for job in jobs if job and warm_pools.is_available(job)]
        self._with_pools = {job["TrainingJobName"] for job in jobs if job and not _has_lost_pool(job)}
        return sorted(pools, key=lambda job: float(job["CreationTime"]))

    def _settled(self, name: str) -> Json | None:
        """A job with its warm pool brought to the present."""
        job = self._account.records.get(KIND, name)
        if job is None or not warm_pools.is_available(job):
            return job
        with self._account.records.changing(KIND, name) as kept:
            warm_pools.settle(kept, self._account.now())
            return dict(kept)

    def _update(self, request: Json) -> Json:
        name = request["TrainingJobName"]
        self._described(name)
        if unknown := sorted(set(request) - {"TrainingJobName", "ResourceConfig"}):
            raise invalid(f"The embedded AWS does not update {unknown[0]}.")
        with self._account.records.changing(KIND, name) as job:
            status = job.get("WarmPoolStatus", {}).get("Status")
            if "ResourceConfig" in request and status not in ("InUse", "Available"):
                raise invalid(f"Training job {name} has no warm pool to update.")
            period = request.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds")
            if period is not None:
                checks.check_warm_pool(period, spot=False)
                warm_pools.change(job, period, self._account.now())
            return {"TrainingJobArn": job["TrainingJobArn"]}

    def _describe(self, request: Json) -> Json:
        return self._described(request["TrainingJobName"])

    def _list(self, request: Json) -> Json:
        with self._lock:
            self._pools()  # whose status the list tells, too
        return page(
            self._account.records.all(KIND), request, name="TrainingJobName", summaries="TrainingJobSummaries",
            status="TrainingJobStatus",
        )  # fmt: skip

    def _stop(self, request: Json) -> Json:
        name = request["TrainingJobName"]
        self._described(name)
        with self._account.records.changing(KIND, name) as job:
            if job["TrainingJobStatus"] in statuses.TERMINAL:
                raise invalid(
                    f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
                )
            if job["TrainingJobStatus"] != "Stopping":
                statuses.move(job, "Stopping", self._account.now(), "Stopping")
        with self._lock:
            if running := self._running.get(name):
                running.stop()
        return {}

    def _described(self, name: str) -> Json:
        job = self._settled(name)
        if job is None:
            raise not_found()
        return job

    def _note_uptimes(self) -> None:
        while not self._closing.wait(uptime.NOTED_EVERY_SECONDS):
            with self._lock:
                jobs = list(self._running.values())
            for job in jobs:
                try:
                    job.note_uptime()
                except OSError as error:
                    log.warning("how long a job has been up could not be kept: %s", error)

    def _restore_logs(self, names: list[str]) -> None:
        for name in names:
            for path in sorted((jobs_folder(self._account) / name / "logs").glob("*.log")):
                if self._closing.is_set():
                    return
                try:
                    logs.restore(self._account.logs, f"{name}/{path.stem}", path)
                except (BotoCoreError, ClientError, OSError) as error:
                    log.warning("the log %s could not be restored: %s", path, error)


def _has_lost_pool(job: Json) -> bool:
    return bool(job.get("WarmPoolStatus", {}).get("Status") in ("Terminated", "Reused"))


def _taken(arn: str) -> AwsError:
    return AwsError(
        "ResourceInUse",
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        f"exists ({arn})",
    )
