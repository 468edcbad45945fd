"""The image: what its Dockerfile says, what its locks hold, and what its bill of materials tells. `make image` makes it and measures."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployments.image.measure import DOCKERFILE, copied
from deployments.image.sbom import bill
from trainmaster.workspaces.images.dockerfile import lint

ROOT = Path(__file__).parents[2]
TEXT = DOCKERFILE.read_text(encoding="utf-8")
LOCK = (ROOT / "requirements-production.lock").read_text(encoding="utf-8")
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def test_every_stage_starts_from_one_image_that_is_pinned_by_digest() -> None:
    [base] = re.findall(r"^ARG BASE=(\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    stages = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert stages == ["${BASE}", "${BASE}"]
    assert lint(TEXT.replace("${BASE}", base)) == []


def test_nobody_in_the_image_is_root_and_nothing_of_the_build_stays() -> None:
    last = TEXT.rsplit("FROM ", 1)[1]
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["1001:1001"]
    assert re.findall(r"^COPY (.+)$", last, re.MULTILINE) == [
        "--from=build /opt/venv /opt/venv",
        "--from=build /srv/trainmaster /srv/trainmaster",
    ]
    assert "apt-get" not in last


def test_what_is_copied_is_there_and_is_let_through() -> None:
    allowed = (ROOT / "deployments/image/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied(TEXT):
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name
    assert allowed[0] == "*"


@pytest.mark.parametrize("secret", [".env", ".git", ".trainmaster", "tests"])
def test_nothing_that_may_hold_a_secret_is_let_through(secret: str) -> None:
    allowed = (ROOT / "deployments/image/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert f"!{secret}" not in allowed


def test_its_lock_has_the_versions_that_are_tested_here_and_all_that_is_needed() -> None:
    tested = dict(PIN.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    locked = dict(PIN.findall(LOCK))
    assert {
        name: (version, tested[name]) for name, version in locked.items() if tested.get(name, version) != version
    } == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(one) for one in (*project["dependencies"], *project["optional-dependencies"]["production"])]
    assert {canonicalize_name(one.name) for one in needed} - locked.keys() == set()


def test_only_what_is_named_with_its_digest_is_installed() -> None:
    for lock in (LOCK, (ROOT / "deployments/image/build.lock").read_text(encoding="utf-8")):
        pins = re.split(r"^(?=[a-z0-9._-]+==)", lock, flags=re.MULTILINE)[1:]
        assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    install = (ROOT / "deployments/image/install.sh").read_text(encoding="utf-8")
    steps = re.findall(r"pip install(?:[^\n]|(?<=\\)\n)*", install)
    assert len(steps) == 3
    assert all("--require-hashes" in step or "--no-index" in step for step in steps)


def test_the_bill_of_materials_names_version_licence_and_digests_of_what_is_installed() -> None:
    installed = [distribution("prefect"), distribution("pyyaml")]
    made = bill(LOCK, installed)
    assert made == bill(LOCK, installed[::-1])
    yaml, prefect = sorted(made["components"], key=lambda one: str(one["name"]), reverse=True)
    assert prefect["purl"] == f"pkg:pypi/prefect@{distribution('prefect').version}"
    assert yaml["licenses"] == [{"license": {"name": "MIT License"}}]
    for one in (yaml, prefect):
        assert one["properties"], one["name"]
        assert all(each["value"] in LOCK for each in one["properties"])
