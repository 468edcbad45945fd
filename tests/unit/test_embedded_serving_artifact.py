"""What may be in a model's archive, and where its script is looked for."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from trainmaster.embedded.sagemaker.serving.artifact import DeploymentError, ModelFiles, Script, unpack
from trainmaster.embedded.sagemaker.serving.plan import VariantPlan

URL = "s3://bucket/model.tar.gz"


def packed(path: Path, *members: tarfile.TarInfo) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def file(name: str, *, mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = 1, mode
    return member


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "members",
    [
        [file("../escaped")],
        [file("a/../../escaped")],
        [special("link", tarfile.SYMTYPE, "/etc/passwd")],
        [special("link", tarfile.SYMTYPE, "../../outside")],
        [special("link", tarfile.SYMTYPE, ".."), file("link/escaped")],
        [special("link", tarfile.LNKTYPE, "../outside")],
        [special("device", tarfile.CHRTYPE)],
        [special("pipe", tarfile.FIFOTYPE)],
    ],
    ids=["parent", "hidden parent", "link to a root", "link out", "through a link", "hard link out", "device", "pipe"],
)
def test_an_archive_that_reaches_out_of_its_folder_is_refused_whole(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    archive = packed(tmp_path / "model.tar.gz", *members)

    with pytest.raises(DeploymentError, match=r'from URL "s3://bucket/model\.tar\.gz".*valid tar\.gz archive'):
        unpack(archive, tmp_path / "instance" / "model", URL)

    assert not (tmp_path / "instance" / "escaped").exists()
    assert not (tmp_path / "escaped").exists()


def test_absolute_names_land_inside_and_dangerous_modes_are_dropped(tmp_path: Path) -> None:
    archive = packed(tmp_path / "model.tar.gz", file("/weights"), file("tool", mode=0o6777))

    unpack(archive, tmp_path / "model", URL)

    assert (tmp_path / "model" / "weights").read_bytes() == b"x"
    assert (tmp_path / "model" / "tool").stat().st_mode & 0o6022 == 0


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "model.tar.gz", *(file(f"weights-{n}") for n in range(100)))
    archive.write_bytes(archive.read_bytes()[:-40])

    with pytest.raises(DeploymentError):
        unpack(archive, tmp_path / "model", URL)


@pytest.mark.parametrize(
    ("members", "environment", "script"),
    [
        (["code/inference.py"], {}, Script(Path("model/code"), "inference.py")),
        (["inference.py"], {}, Script(Path("model"), "inference.py")),
        (["code/inference.py", "inference.py"], {}, Script(Path("model/code"), "inference.py")),
        (["code/serve.py"], {"SAGEMAKER_PROGRAM": "serve.py"}, Script(Path("model/code"), "serve.py")),
        (["code/app/serve.py"], {"SAGEMAKER_PROGRAM": "app/serve.py"}, Script(Path("model/code/app"), "serve.py")),
        (
            ["src/inference.py", "code/inference.py"],
            {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/src"},
            Script(Path("model/src"), "inference.py"),
        ),
        (
            ["code/inference.py"],
            {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/mlx/src"},
            Script(Path("model/code"), "inference.py"),
        ),
    ],
)
def test_the_script_is_found_where_awss_containers_look(
    tmp_path: Path, members: list[str], environment: dict[str, str], script: Script
) -> None:
    plan = VariantPlan(
        name="v", image="", artifact=URL, artifact_is_prefix=False, environment=environment,
        instance_type="ml.m5.large", instances=1, weight=1.0,
    )  # fmt: skip
    packed(tmp_path / "source" / "model.tar.gz", *map(file, members))

    assert ModelFiles(plan, tmp_path / "source").lay_out(tmp_path / "ml") == script
