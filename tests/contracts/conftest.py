"""Training jobs made, followed and read through boto3 alone."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killed_phases
import pytest
from killed_phases import KilledAt
from library_shelves import Shelves
from object_stores import FOLDERS, Server, folder
from storage_between import StorageBetween

from trainmaster.migration.request import MigrateDatasetsRequest

FINISH_WITHIN = 120.0
KILLED_WITHIN = 90.0
GROUP = "/aws/sagemaker/TrainingJobs"


class Jobs:
    """A client of one embedded AWS. What it makes is uniquely named."""

    def __init__(self, aws: Any) -> None:
        self.sagemaker, self.s3, self.logs = aws.client("sagemaker"), aws.client("s3"), aws.client("logs")
        self.bucket: str = aws.environment["TRAINMASTER_BUCKET"]
        self.role: str = aws.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
        self.state = aws.state

    def put(self, files: dict[str, str]) -> str:
        """Store files below a prefix of their own, and return its S3 URI."""
        prefix = f"given/{uuid.uuid4().hex[:8]}"
        for name, body in files.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"{prefix}/{name}", Body=body.encode())
        return f"s3://{self.bucket}/{prefix}"

    def request(self, *command: str, name: str = "job", instances: int = 1, **members: Any) -> dict[str, Any]:
        """A valid CreateTrainingJob of a command in the container; `members` replace its own."""
        algorithm: dict[str, Any] = {"TrainingImage": "image", "TrainingInputMode": "File"}
        if command:
            algorithm["ContainerEntrypoint"] = list(command)
        return {
            "TrainingJobName": f"{name}-{uuid.uuid4().hex[:8]}",
            "AlgorithmSpecification": {**algorithm, **members.pop("algorithm", {})},
            "RoleArn": self.role,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 100},
            **members,
        }

    def create(self, *command: str, **members: Any) -> str:
        """Start a job that runs a command; its name."""
        request = self.request(*command, **members)
        self.sagemaker.create_training_job(**request)
        return str(request["TrainingJobName"])

    def python(self, script: str, *, instances: int = 1, **members: Any) -> str:
        """Start a job that runs a Python script as its container's only process, without AWS's toolkit."""
        code = self.channel("code", self.put({"run.py": script}))
        data = [code, *members.pop("InputDataConfig", [])]
        return self.create(
            "python", "/opt/ml/input/data/code/run.py", instances=instances, InputDataConfig=data, **members
        )

    def script(self, script: str, *, files: dict[str, str] | None = None, **members: Any) -> str:
        """Start a job that runs a training script by AWS's toolkit, as the SageMaker SDK does."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, text in {"train.py": script, **(files or {})}.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        key = f"given/{uuid.uuid4().hex[:8]}/sourcedir.tar.gz"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=packed.getvalue())
        hyperparameters = {
            "sagemaker_program": json.dumps("train.py"),
            "sagemaker_submit_directory": json.dumps(f"s3://{self.bucket}/{key}"),
            **members.pop("HyperParameters", {}),
        }
        return self.create(HyperParameters=hyperparameters, **members)

    @staticmethod
    def channel(name: str, uri: str, **source: str) -> dict[str, Any]:
        data = {"S3DataType": "S3Prefix", "S3Uri": uri, **source}
        return {"ChannelName": name, "DataSource": {"S3DataSource": data}}

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return found

    def finished(self, name: str) -> dict[str, Any]:
        """Its description once it has ended."""
        return self.until(name, TrainingJobStatus={"Completed", "Failed", "Stopped"})

    def until(self, name: str, **members: set[str]) -> dict[str, Any]:
        """Its description once each of these members has one of these values."""
        deadline = time.monotonic() + FINISH_WITHIN
        while True:
            job = self.describe(name)
            if all(job[member] in values for member, values in members.items()):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.03)

    def until_logged(self, name: str, line: str) -> None:
        deadline = time.monotonic() + FINISH_WITHIN
        while line not in self.lines(name):
            assert time.monotonic() < deadline, self.lines(name)
            time.sleep(0.05)

    def lines(self, name: str, stream: str = "algo-") -> list[str]:
        """The messages of its log streams, those named alike one after the other."""
        try:
            streams = self.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/{stream}")
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [line for each in streams["logStreams"] for line in self._messages(each["logStreamName"])]

    def _messages(self, stream: str) -> list[str]:
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **token)
            found += [event["message"] for event in page["events"]]
            if token.get("nextToken") == page["nextForwardToken"]:
                return found
            token = {"nextToken": page["nextForwardToken"]}

    def archive(self, name: str, which: str) -> dict[str, str]:
        """The text of each file in its model.tar.gz or output.tar.gz."""
        body = self.s3.get_object(Bucket=self.bucket, Key=f"out/{name}/output/{which}.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {path: file.read().decode() for path, file in files.items() if file}

    def keys(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found]

    def walk(self, name: str) -> list[str]:
        return [each["Status"] for each in self.describe(name)["SecondaryStatusTransitions"]]


@pytest.fixture(scope="session")
def jobs(embedded: Any) -> Jobs:
    return Jobs(embedded)


@pytest.fixture(scope="session")
def jobs_of() -> type[Jobs]:
    """Makes the client of another embedded AWS than the session's."""
    return Jobs


@pytest.fixture(scope="session")
def seaweedfs(embedded: Any) -> Server:
    environment = embedded.environment
    return Server(
        "seaweedfs", "s3", environment["AWS_ENDPOINT_URL_S3"], environment["TRAINMASTER_BUCKET"],
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer  # heavy, and few need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    reached = Server("moto", "s3", f"http://{host}:{port}", "datasets-of-tests", "any", "any")
    reached.client().create_bucket(Bucket=reached.bucket)
    yield reached
    server.stop()


@pytest.fixture(scope="session")
def supabase(embedded: Any) -> Server:
    environment = embedded.environment
    return Server(
        "supabase", "supabase", environment["SUPABASE_URL"], "training-datasets", "",
        environment["SUPABASE_SERVICE_ROLE_KEY"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def supabase_s3_keys(embedded: Any) -> tuple[str, str]:
    """Key id and secret of the S3 endpoint of the embedded Supabase."""
    keys = json.loads((Path(embedded.environment["TRAINMASTER_STATE_DIR"]) / "supabase-s3.json").read_text())
    return keys["access_key_id"], keys["secret_access_key"]


@pytest.fixture(scope="session")
def hosted_supabase() -> Iterator[Server]:
    """Whatever project whoever runs the tests names, with a bucket `training-datasets`; pytest needs --allow-hosts of it."""
    secret = os.environ["SUPABASE_SERVICE_ROLE_KEY"]
    project = Server("hosted_supabase", "supabase", os.environ["SUPABASE_URL"], "training-datasets", "", secret)
    yield project
    store = project.store()
    for each in FOLDERS:
        for found in list(store.list(each)):
            store.delete(found.key)


@pytest.fixture
def shelves(embedded: Any, tmp_path: Path) -> Iterator[Shelves]:
    """A library of one's own over the session's stores, with a user nobody else is."""
    shelves = Shelves(embedded.environment, tmp_path)
    yield shelves
    shelves.catalogue.close()


@pytest.fixture(scope="module")
def children() -> Iterator[Any]:
    """Processes that begin with everything imported that those to be killed need, and nothing opened."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_phases", "killed_work"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # it does not search where we do
        yield context


@pytest.fixture
def killed_at(children: Any, embedded: Any) -> KilledAt:
    """Carries out a phase in a process that kills itself at the step it is told."""

    def at(shelves: Shelves, asked: MigrateDatasetsRequest, step: int) -> bool:
        phase = killed_phases.Phase(dict(embedded.environment), shelves.folder, shelves.user_id, asked, step)
        child = children.Process(target=killed_phases.carry_out, args=(phase,))
        child.start()
        child.join(KILLED_WITHIN)
        assert child.exitcode in (0, -signal.SIGKILL)
        return child.exitcode != 0

    return at


@pytest.fixture
def between(tmp_path: Path) -> Iterator[StorageBetween]:
    storage = StorageBetween(tmp_path / "storage")
    yield storage
    storage.close()


@pytest.fixture
def key() -> str:
    """Where nothing is yet."""
    return folder() + "a.jsonl.gz"
