"""One address, loopback only, for all of AWS; it starts, stops, restarts and refuses clearly."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws, Served
from supabase_project import BUCKET as DATASETS
from supabase_project import SupabaseProject
from waiting import ENDS_WITHIN, IMAGE, TRUST, until

from trainmaster.embedded import launch
from trainmaster.embedded.seaweedfs import SeaweedFS
from trainmaster.embedded.state import State

BYTES = b"bytes" * 2_000_000


def processes_of(aws: EmbeddedAws) -> list[str]:
    """Commands of the processes whose command line or environment names the state folder or the address."""
    marks = [os.fsencode(aws.state), aws.environment["AWS_ENDPOINT_URL"].encode()]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if any(mark in command + (process / "environ").read_bytes() for mark in marks):
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile
    return found


def sleeping_job(aws: EmbeddedAws) -> str:
    """A training job that is running a command of its own."""
    sagemaker, name = aws.client("sagemaker"), f"sleeper-{uuid4().hex[:8]}"
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sleep", "600"],
        },
        RoleArn=aws.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
        OutputDataConfig={"S3OutputPath": f"s3://{aws.environment['TRAINMASTER_BUCKET']}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    until(lambda: any("sleep 600" in command for command in processes_of(aws)))
    return name


@dataclass(frozen=True)
class Killed:
    """An embedded AWS that was killed while a job ran, and the one started after it on the same folder."""

    before: dict[str, str]
    after: Served
    survivors: list[str]
    ports: tuple[int, ...]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    with socket.socket() as one, socket.socket() as another, socket.socket() as third:
        for each in (one, another, third):
            each.bind(("127.0.0.1", 0))
        ports = tuple(each.getsockname()[1] for each in (one, another, third))
    state = tmp_path_factory.mktemp("killed") / "state"
    aws = EmbeddedAws(state, port=ports[0], s3_port=ports[1], supabase_port=ports[2])
    bucket, iam = aws.environment["TRAINMASTER_BUCKET"], aws.client("iam")
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=BYTES)
    aws.client("sagemaker").create_model(
        ModelName="kept",
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/kept"},
        Tags=[{"Key": "user", "Value": "anna"}],
    )
    iam.create_role(RoleName="MyRole", AssumeRolePolicyDocument=TRUST)
    allow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    iam.put_role_policy(RoleName="MyRole", PolicyName="p", PolicyDocument=json.dumps(allow))
    iam.attach_role_policy(RoleName="MyRole", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")
    iam.create_instance_profile(InstanceProfileName="MyProfile")
    iam.add_role_to_instance_profile(InstanceProfileName="MyProfile", RoleName="MyRole")
    project = SupabaseProject.embedded(state, aws.environment)
    with project.client() as client:
        client.post(f"/object/{DATASETS}/a/whole", content=BYTES).raise_for_status()
    sleeping_job(aws)
    with socket.create_connection(("127.0.0.1", ports[2]), timeout=90) as upload:
        head = f"POST /storage/v1/object/{DATASETS}/a/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * len(BYTES)}\r\n"
        upload.sendall(f"{head}Authorization: Bearer {project.service_role_key}\r\n\r\n".encode() + BYTES)
        aws.kill()
    with (state / "roles.jsonl").open("a") as journal:
        journal.write('\n"Action=CreateRo')  # killed while it wrote this
    deadline = time.monotonic() + ENDS_WITHIN
    while (survivors := processes_of(aws)) and time.monotonic() < deadline:
        time.sleep(0.02)
    with launch.running(state) as environment:
        yield Killed(aws.environment, Served(state, environment), survivors, ports)


class TestKilled:
    def test_no_process_outlives_it(self, killed: Killed) -> None:
        assert killed.survivors == []

    def test_the_next_has_the_same_addresses_and_credentials(self, killed: Killed) -> None:
        kept = ("AWS_", "TRAINMASTER_", "SUPABASE_")
        # The session's token is signed anew, by the secret that stays: the one before holds as well.
        same = [name for name in killed.before if name.startswith(kept) and name != "TRAINMASTER_HTTP_TOKEN"]
        assert {"AWS_SECRET_ACCESS_KEY", "SUPABASE_SERVICE_ROLE_KEY", "TRAINMASTER_USER_ID"} < set(same)
        assert [killed.after.environment[name] for name in same] == [killed.before[name] for name in same]

    def test_the_next_has_the_objects_of_supabase_and_nothing_of_a_half_sent_one(self, killed: Killed) -> None:
        with SupabaseProject.embedded(killed.after.state, killed.after.environment).client() as client:
            assert client.get(f"/object/authenticated/{DATASETS}/a/whole").content == BYTES
            assert client.get(f"/object/authenticated/{DATASETS}/a/half").json()["statusCode"] == "404"
        files = [path for path in (killed.after.state / "supabase").rglob("*") if path.is_file()]
        assert [path.stat().st_size for path in files if path.stat().st_size > 1_000_000] == [len(BYTES)]

    def test_given_ports_are_used_and_kept(self, killed: Killed) -> None:
        urls = [killed.before[name] for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "SUPABASE_URL")]
        assert urls == [f"http://127.0.0.1:{port}" for port in killed.ports]

    def test_objects_are_still_there(self, killed: Killed) -> None:
        kept = killed.after.client("s3").get_object(Bucket=killed.before["TRAINMASTER_BUCKET"], Key="kept")
        assert kept["Body"].read() == BYTES

    def test_models_and_their_tags_are_still_there(self, killed: Killed) -> None:
        sagemaker = killed.after.client("sagemaker")
        arn = sagemaker.describe_model(ModelName="kept")["ModelArn"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "user", "Value": "anna"}]

    def test_roles_and_their_policies_are_still_there(self, killed: Killed) -> None:
        iam = killed.after.client("iam")
        assert iam.get_role(RoleName="MyRole")["Role"]["Arn"] == "arn:aws:iam::123456789012:role/MyRole"
        assert iam.list_role_policies(RoleName="MyRole")["PolicyNames"] == ["p"]
        attached = iam.list_attached_role_policies(RoleName="MyRole")["AttachedPolicies"]
        assert [one["PolicyName"] for one in attached] == ["AmazonSSMManagedInstanceCore"]
        roles = iam.get_instance_profile(InstanceProfileName="MyProfile")["InstanceProfile"]["Roles"]
        assert [one["RoleName"] for one in roles] == ["MyRole"]


class TestLife:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_with_all_its_processes_and_success_when_asked(
        self, start_embedded: Callable[..., EmbeddedAws], how: signal.Signals
    ) -> None:
        aws = start_embedded()
        sleeping_job(aws)
        os.kill(aws.pid, how)
        until(lambda: not processes_of(aws))
        assert aws.stop() == 0

    def test_it_ends_with_an_error_when_s3_does(self, start_embedded: Callable[..., EmbeddedAws]) -> None:
        aws = start_embedded()
        weed = next(pid for pid in descendants(aws.pid) if Path(f"/proc/{pid}/exe").resolve().name == "weed")
        os.kill(weed, signal.SIGKILL)
        until(lambda: not processes_of(aws))
        assert aws.stop() == 1
        assert "SeaweedFS ended with exit code 137" in aws.log.read_text()

    def test_a_second_one_on_the_same_folder_is_refused_and_told_where_the_first_is(
        self, embedded: EmbeddedAws
    ) -> None:
        second = command("--state", str(embedded.state))
        assert second.returncode == 1
        assert f"served already by process {embedded.pid}" in second.stderr
        assert embedded.environment["AWS_ENDPOINT_URL"] in second.stderr
        assert embedded.control("GET", "health")["pid"] == embedded.pid

    def test_a_port_that_is_taken_is_refused_by_its_number(self, embedded: EmbeddedAws, tmp_path: Path) -> None:
        port = embedded.environment["AWS_ENDPOINT_URL"].rpartition(":")[2]
        second = command("--state", str(tmp_path), "--port", port)
        assert second.returncode == 1
        assert f"Port {port} of 127.0.0.1 cannot be used" in second.stderr
        assert "Traceback" not in second.stderr

    @pytest.mark.parametrize("stolen", ["filer.grpc", "volume"])
    def test_a_port_that_somebody_takes_at_the_last_moment_is_replaced(self, stolen: str, tmp_path: Path) -> None:
        state = State(tmp_path)
        seaweed = SeaweedFS(state, state.credentials(), None)
        ports = json.loads((tmp_path / "ports.json").read_text())
        try:
            with socket.create_server(("127.0.0.1", ports[stolen])):
                seaweed.wait_until_healthy(time.monotonic() + 90)
            assert json.loads((tmp_path / "ports.json").read_text())[stolen] != ports[stolen]
            assert seaweed.url.endswith(f":{ports['s3']}")
        finally:
            seaweed.stop()

    @pytest.mark.parametrize("port", ["0", "65536", "x"])
    def test_what_is_no_port_is_refused(self, tmp_path: Path, port: str) -> None:
        assert "a port is a number from 1 to 65535" in command("--state", str(tmp_path), "--port", port).stderr

    def test_the_users_proxy_settings_are_kept_for_other_hosts(self, embedded: EmbeddedAws) -> None:
        assert embedded.environment["no_proxy"] == "intranet.example,127.0.0.1,localhost"

    def test_a_shell_can_evaluate_what_it_prints(self, tmp_path: Path) -> None:
        state = tmp_path / "with space" / "s'tate"
        script = f"""
            {shlex.quote(sys.executable)} -m trainmaster.cli embedded --state {shlex.quote(str(state))} --print-env > env &
            while ! grep -q no_proxy env; do sleep 0.05; done
            eval "$(cat env)"
            {shlex.quote(sys.executable)} -c 'import boto3
print(boto3.client("sts").get_caller_identity()["Account"], boto3.client("s3").list_buckets()["Buckets"][0]["Name"])'
            kill %1; wait %1
        """
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=no_aws(), capture_output=True, text=True, timeout=150, check=False
        )
        assert (done.returncode, done.stdout) == (0, "123456789012 sagemaker-us-east-1-123456789012\n"), done.stderr
        assert all(line.startswith("export ") for line in (tmp_path / "env").read_text().splitlines())
        assert "Embedded AWS at http://127.0.0.1:" in done.stderr

    def test_it_listens_on_loopback_only(self, embedded: EmbeddedAws) -> None:
        inodes = set()
        for pid in [embedded.pid, *descendants(embedded.pid)]:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                inodes.add(str(fd.readlink()).removeprefix("socket:[").removesuffix("]"))
        lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
        listening = [fields[1] for fields in map(str.split, lines) if fields[3] == "0A" and fields[9] in inodes]
        assert len(listening) >= 8
        assert {address.partition(":")[0] for address in listening} == {"0100007F"}

    def test_nobody_else_can_look_into_its_folder_an_existing_one_too(
        self, embedded: EmbeddedAws, tmp_path: Path
    ) -> None:
        assert stat.S_IMODE(embedded.state.stat().st_mode) == 0o700
        tmp_path.chmod(0o755)
        with State(tmp_path).claimed():
            assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700

    def test_what_keeps_the_objects_serves_and_deletes_none_for_anybody_unsigned(self, embedded: EmbeddedAws) -> None:
        bucket, s3 = embedded.environment["TRAINMASTER_BUCKET"], embedded.client("s3")
        s3.put_object(Bucket=bucket, Key="unsigned", Body=BYTES)
        ports = json.loads((embedded.state / "ports.json").read_text())
        asked = [("filer", f"/buckets/{bucket}/unsigned"), ("master", f"/col/delete?collection={bucket}")]
        asked += [("master", "/dir/assign"), ("master", f"/dir/lookup?volumeId=1&collection={bucket}")]
        asked += [("volume", f"/{volume},01637037d6") for volume in range(1, 9)]
        for name, path in asked:
            for method in ("GET", "PUT", "POST", "DELETE"):
                request = urllib.request.Request(f"http://127.0.0.1:{ports[name]}{path}", b"x", method=method)
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(request, timeout=90)
                assert refused.value.code in (401, 404, 405), (name, path, method)
        assert s3.get_object(Bucket=bucket, Key="unsigned")["Body"].read() == BYTES

    def test_secrets_are_readable_by_their_owner_alone(self, embedded: EmbeddedAws) -> None:
        secret = embedded.environment["AWS_SECRET_ACCESS_KEY"].encode()
        files = [file for file in embedded.state.rglob("*") if file.is_file() and secret in file.read_bytes()]
        assert {file.name for file in files} == {"credentials.json", "identities.json", "serving.json"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


class TestLaunch:
    def test_one_that_serves_the_folder_is_used_and_left_running(self, embedded: EmbeddedAws) -> None:
        with launch.running(embedded.state) as environment:
            assert environment == embedded.environment
        assert health(environment)["pid"] == embedded.pid

    def test_two_blocks_at_once_on_one_folder_share_one_that_ends_with_them(self, tmp_path: Path) -> None:
        def run(_: int) -> dict[str, str]:
            with launch.running(tmp_path / "state", stop_grace=1) as environment:
                pids.add(health(environment)["pid"])
                both.wait(90)
            return environment

        both, pids = threading.Barrier(2), set[int]()
        with ThreadPoolExecutor(2) as pool:
            environments = list(pool.map(run, range(2)))
        assert len(pids) == 1
        for environment in environments:
            with pytest.raises(urllib.error.URLError):
                health(environment)

    def test_a_start_that_fails_says_why(self, embedded: EmbeddedAws, tmp_path: Path) -> None:
        port = int(embedded.environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
        with (
            pytest.raises(launch.DidNotStartError, match=f"Port {port} of 127.0.0.1 cannot be used"),
            launch.running(tmp_path / "state", port=port),
        ):
            pass


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainmaster.embedded.command", *options],
        env=no_aws(), capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def no_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [one for child in children for one in (child, *descendants(child))]


def health(environment: dict[str, str]) -> Any:
    with urllib.request.urlopen(f"{environment['AWS_ENDPOINT_URL']}/_trainmaster/health", timeout=90) as answer:
        return json.load(answer)
