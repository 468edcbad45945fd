"""What a job's host offers the process in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.embedded.sagemaker.namespaces import SETTING, EnvironmentOnly, detect
from trainmaster.embedded.sagemaker.training.artifacts import files_below
from trainmaster.embedded.sagemaker.training.checkpoints import stamps, to_store
from trainmaster.embedded.sagemaker.training.host import Host
from trainmaster.embedded.sagemaker.training.trees import open_file
from trainmaster.embedded.sagemaker.wire import Json

JOB: Json = {
    "TrainingJobName": "cats-7",
    "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/cats-7",
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "HyperParameters": {"epochs": "3"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
    "Environment": {"MINE": "1", "LANG": "de_DE.UTF-8"},
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(JOB, 1, tmp_path / "algo-2", EnvironmentOnly("a test"))
    made.lay_out()
    return made


def read(host: Host, name: str) -> Json:
    found: Json = json.loads((host.ml / "input/config" / f"{name}.json").read_text())
    return found


def test_every_host_is_told_its_own_name_and_all_others(host: Host) -> None:
    resources = read(host, "resourceconfig")
    assert (resources["current_host"], resources["hosts"]) == ("algo-2", ["algo-1", "algo-2"])
    assert resources["instance_groups"][0]["hosts"] == ["algo-1", "algo-2"]
    assert (resources["current_instance_type"], resources["current_group_name"]) == (
        "ml.m5.large",
        "homogeneousCluster",
    )


def test_hyperparameters_are_written_as_given(host: Host) -> None:
    assert read(host, "hyperparameters") == {"epochs": "3"}


def test_a_job_sees_its_own_environment_and_none_of_ours(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "ours")
    environment = host.environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, Path("/cache"))
    assert "ours" not in environment.values()
    assert environment["MINE"] == "1"
    assert environment["LANG"] == "de_DE.UTF-8"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["TRAINING_JOB_ARN"] == JOB["TrainingJobArn"]
    assert environment["HOME"].startswith(str(host.folder))


def test_a_job_reaches_an_index_by_the_machines_proxy_and_this_aws_without(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "intranet", "PIP_TRUSTED_HOST": "index"}.items():
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, value)
    environment = host.environment({}, Path("/cache"))
    assert (environment["HTTPS_PROXY"], environment["PIP_TRUSTED_HOST"]) == ("http://proxy:1", "index")
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet,127.0.0.1,localhost,algo-1,algo-2"
    offline = Host(JOB | {"EnableNetworkIsolation": True}, 0, host.folder, host.isolation)
    assert not offline.environment({"AWS_ACCESS_KEY_ID": "x"}, Path("/cache")).keys() & {
        "HTTPS_PROXY", "NO_PROXY", "AWS_ACCESS_KEY_ID",
    }  # fmt: skip


@pytest.mark.parametrize(("cores", "hosts", "threads"), [(8, 2, "4"), (2, 2, "1"), (2, 3, "1"), (8, 1, None)])
def test_hosts_that_share_the_machine_have_their_part_of_its_cores(
    host: Host, monkeypatch: pytest.MonkeyPatch, cores: int, hosts: int, threads: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    job = JOB | {"ResourceConfig": JOB["ResourceConfig"] | {"InstanceCount": hosts}}
    one = Host(job, 0, host.folder, host.isolation)
    assert one.environment({}, Path("/cache")).get("OMP_NUM_THREADS") == threads
    asked = Host(job | {"Environment": {"OMP_NUM_THREADS": "7"}}, 0, host.folder, host.isolation)
    assert asked.environment({}, Path("/cache"))["OMP_NUM_THREADS"] == "7"


def test_a_jobs_python_has_our_packages_but_not_our_own_code(host: Host) -> None:
    python = host.folder / "python/bin/python"
    script = "import sys, sklearn; print(sys.prefix)\ntry: import trainmaster\nexcept ImportError: print('not ours')"
    answer = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True, cwd="/", timeout=150)
    assert answer.stdout.split("\n")[:2] == [str(host.folder / "python"), "not ours"]


def test_what_pip_installs_for_a_job_leaves_our_environment_as_it_is(host: Host, tmp_path: Path) -> None:
    package = tmp_path / "six"  # one that we have, in another version
    package.mkdir()
    (package / "six.py").write_text("__version__ = '0.0.1'\n")
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "six"\nversion = "0.0.1"\n[tool.hatch.build.targets.wheel]\ninclude = ["six.py"]\n'
    )
    pip = [host.folder / "python/bin/pip", "install", "--no-build-isolation", "--no-index", "-q", package]
    subprocess.run(pip, check=True, timeout=120, env=host.environment({}, tmp_path / "cache"))

    def version(python: Path) -> str:
        command = [python, "-c", "import six; print(six.__version__)"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=150).stdout.strip()

    assert version(host.folder / "python/bin/python") == "0.0.1"
    assert version(Path(sys.executable)) != "0.0.1"


def test_the_container_runs_the_entrypoint_with_its_arguments_or_else_train(host: Host) -> None:
    assert host.command() == ["train"]
    algorithm = {"ContainerEntrypoint": ["/bin/bash"], "ContainerArguments": ["-c", "true"]}
    given = Host(JOB | {"AlgorithmSpecification": algorithm}, 0, host.folder, host.isolation)
    assert given.command() == ["/bin/bash", "-c", "true"]


def test_the_failure_file_counts_up_to_1024_characters(host: Host) -> None:
    assert host.failure() == ""
    (host.ml / "output/failure").write_bytes(b"\xff" + "é".encode() * 5000)
    assert host.failure() == "\ufffd" + "é" * 1023


@pytest.mark.parametrize("kind", ["FIFO", "link", "folder behind a link", "folder"])
def test_a_failure_that_is_no_file_of_the_job_is_none(host: Host, tmp_path: Path, kind: str) -> None:
    (tmp_path / "failure").write_text("the machine's")
    failure = host.ml / "output/failure"
    if kind == "FIFO":
        os.mkfifo(failure)
    elif kind == "link":
        failure.symlink_to(tmp_path / "failure")
    elif kind == "folder":
        failure.mkdir()
    else:
        shutil.rmtree(host.ml / "output")
        (host.ml / "output").symlink_to(tmp_path)
    assert host.failure() == ""


def test_nothing_behind_a_link_out_of_the_job_is_taken_for_a_file_of_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "ml", tmp_path / "outside"
    for folder in (root / "model", outside):
        folder.mkdir(parents=True)
        (folder / "weights").write_text(folder.name)
    (root / "output").symlink_to(outside)
    (root / "model/latest").symlink_to("weights")
    (root / "model/secret").symlink_to(outside / "weights")
    (root / "model/folder").symlink_to(outside)
    os.mkfifo(root / "model/pipe")
    assert files_below([root], "output") == {}
    assert stamps(root, root / "output") == {}
    assert stamps(root, root / "model").keys() == {"weights", "latest"}
    with open_file(root, root / "model/latest") as file:
        assert file.read() == b"model"
    for name in ("secret", "folder", "folder/weights", "pipe"):
        with pytest.raises(OSError, match=r"job's folder|no regular file"):
            open_file(root, root / "model" / name)


def test_namespaces_are_done_without_when_so_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "off")
    found = detect()
    assert not found.isolated
    assert SETTING in found.sentence


def test_namespaces_are_done_without_where_there_is_no_unshare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no unshare" in detect().sentence


def test_a_refused_unshare_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "Operation not permitted" in detect().sentence


def test_of_files_named_alike_on_two_hosts_the_first_hosts_is_kept(tmp_path: Path) -> None:
    for name in ("algo-1", "algo-2"):
        (tmp_path / name / "model/deep").mkdir(parents=True)
        (tmp_path / name / "model/weights").write_text(name)
        (tmp_path / name / "model/deep" / f"of-{name}").write_text(name)
    found = files_below([tmp_path / "algo-1", tmp_path / "algo-2"], "model")
    assert sorted(found) == ["deep/of-algo-1", "deep/of-algo-2", "weights"]
    assert found["weights"].path.read_text() == "algo-1"


def test_only_files_that_stopped_changing_are_copied_and_only_once() -> None:
    before = {"growing": (1, 1), "complete": (5, 1), "copied": (9, 1), "rewritten": (9, 2)}
    found = {"growing": (2, 2), "complete": (5, 1), "copied": (9, 1), "rewritten": (9, 2), "new": (1, 2)}
    stored = {"copied": (9, 1), "rewritten": (9, 1)}
    assert to_store(found, before, stored) == ["complete", "rewritten"]


def test_a_changed_file_has_another_stamp_and_a_broken_link_none(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "weights"
    file.parent.mkdir()
    file.write_text("1")
    (tmp_path / "latest").symlink_to("nowhere")
    before = stamps(tmp_path, tmp_path)
    file.write_text("22")
    assert list(before) == ["deep/weights"]
    assert stamps(tmp_path, tmp_path) != before
