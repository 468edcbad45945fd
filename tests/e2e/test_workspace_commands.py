"""`trainmaster launch`, `list`, `info`, `connect`, `stop`, `start`, `delete`, as a user types them, for every kind of workspace."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import browser
import httpx
import pytest
from train_shell import PATIENCE, Said

from trainmaster import cli

LAB = "/jupyterlab/default/"
FILE = "notes.txt"
PNG = b"\x89PNG"


@pytest.fixture
def environment(client_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Of a user nobody else is, with books of their own."""
    return {**client_environment, "TRAINMASTER_STATE_DIR": str(tmp_path / "state"), "TRAINMASTER_USER_ID": str(uuid4())}


@pytest.fixture
def trainmaster(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """In this process, since loading everything takes seconds. What was opened is deleted after the test."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Said:
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Said(code, *capsys.readouterr())

    yield run
    for one in run("list", "--json").json["workspaces"]:
        assert run("delete", one["name"], "--yes").code == 0


def stands(trainmaster: Callable[..., Said], name: str) -> dict[str, Any]:
    """What `list` tells of a workspace."""
    [one] = [one for one in trainmaster("list", "--json").json["workspaces"] if one["name"] == name]
    return dict(one)


class JupyterLab:
    """The one a presigned address leads to, as a browser gets there."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(follow_redirects=True, timeout=60, trust_env=False)
        landed = self._client.get(address).raise_for_status()
        self.root = str(landed.url.copy_with(path=LAB, query=None))
        self.page = landed.text
        token = parse_qs(urlsplit(str(landed.url)).query).get("token") or _token(landed)
        self._client.headers["Authorization"] = f"token {token[0]}"

    def __enter__(self) -> JupyterLab:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def write(self, name: str, text: str) -> None:
        body = {"type": "file", "format": "text", "content": text}
        self._client.put(f"{self.root}api/contents/{name}", json=body).raise_for_status()

    def read(self, name: str) -> str:
        return str(self._client.get(f"{self.root}api/contents/{name}").raise_for_status().json()["content"])


def _token(landed: httpx.Response) -> list[str]:
    """From the addresses it came by, where JupyterLab has taken it out of the last."""
    return [parse_qs(str(one.headers["location"].partition("?")[2]))["token"][0] for one in landed.history][-1:]


def test_the_commands_of_the_design_as_written(trainmaster: Callable[..., Said], tmp_path: Path) -> None:
    planned = trainmaster("launch", "sagemaker-studio-gpu", "ml-training", "--dry-run")
    assert (planned.code, "space" in planned.out, "an hour while it runs" in planned.out) == (0, True, True), planned
    assert trainmaster("list", "--json").json == {"workspaces": []}

    launched = trainmaster("launch", "sagemaker-studio-gpu", "ml-training")
    assert (launched.code, "Workspace ml-training is running." in launched.out) == (0, True), launched
    again = trainmaster("launch", "sagemaker-studio-gpu", "ml-training", "--json")
    assert (again.code, again.json["steps"], again.json["status"]) == (0, [], "running"), again

    taken = trainmaster("launch", "python-ml", "ml-training")
    assert (taken.code, "opened from template sagemaker-studio-gpu" in taken.err) == (1, True), taken

    listed = trainmaster("list")
    [line] = [line for line in listed.out.splitlines() if line.startswith("ml-training")]
    assert line.split()[1:5] == ["Studio", "running", "web", "$1.43"], listed
    told = trainmaster("info", "ml-training")
    assert told.code == 0, told
    assert all(word in told.out for word in ("compute", "service", "storage", "total", "spent", "ml.g5.xlarge")), told

    connected = trainmaster("connect", "ml-training", "--print-url")
    assert (connected.code, connected.out.count("\n")) == (0, 1), connected
    with JupyterLab(connected.out.strip()) as lab:
        lab.write(FILE, "kept")
    assert connected.out.strip() not in trainmaster("info", "ml-training", "--json").out
    assert not_written_down(connected.out.strip(), tmp_path)

    stopped = trainmaster("stop", "ml-training")
    assert (stopped.code, "is stopped" in stopped.out, "files are kept" in stopped.out) == (0, True, True), stopped
    assert stands(trainmaster, "ml-training")["status"] == "stopped"
    refused = trainmaster("connect", "ml-training", "--print-url")
    assert (refused.code, refused.out, "trainmaster start ml-training" in refused.err) == (1, "", True), refused

    started = trainmaster("start", "ml-training", "--instance-type", "ml.g5.2xlarge", "--json")
    assert (started.code, started.json["instance_type"], started.json["status"]) == (0, "ml.g5.2xlarge", "running")
    with JupyterLab(trainmaster("connect", "ml-training", "--print-url").out.strip()) as lab:
        assert lab.read(FILE) == "kept"

    asked = trainmaster("delete", "ml-training")
    assert (asked.code, "trainmaster delete ml-training --yes" in asked.err) == (0, True), asked
    assert stands(trainmaster, "ml-training")["status"] == "running"
    deleted = trainmaster("delete", "ml-training", "--yes")
    assert (deleted.code, "is deleted" in deleted.out) == (0, True), deleted
    assert trainmaster("list", "--json").json == {"workspaces": []}
    gone = trainmaster("info", "ml-training")
    assert (gone.code, "There is no workspace ml-training" in gone.err) == (1, True), gone


def not_written_down(secret: str, folder: Path) -> bool:
    """Whether neither the address nor what is secret in it is in any file of ours."""
    part = secret.rpartition("/")[2].encode()
    files = [one for one in folder.rglob("*") if one.is_file() and one.stat().st_size < 64 << 20]
    return not [one for one in files if part in one.read_bytes()]


def test_a_browser_opens_jupyterlab_on_an_address_nobody_is_shown(
    trainmaster: Callable[..., Said], environment: dict[str, str], tmp_path: Path
) -> None:
    assert trainmaster("launch", "sagemaker-studio", "notebook").code == 0
    opened, program = tmp_path / "opened", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    program.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "connect", "notebook"],
        env={**environment, "BROWSER": f"{program} %s"}, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    address = opened.read_text()
    assert urlsplit(address).scheme in ("http", "https")
    assert address not in done.stdout + done.stderr
    assert "Opened notebook in the browser." in done.stdout

    if chromium := browser.installed():
        with browser.page_in(chromium, tmp_path / "chromium") as page:
            page.open(address)
            page.until("document.querySelector('.jp-Launcher') !== null")
            assert "JupyterLab" in page.until("document.title")
            page.screenshot(tmp_path / "jupyterlab.png")
        assert (tmp_path / "jupyterlab.png").read_bytes().startswith(PNG)
    else:
        with JupyterLab(address) as lab:
            assert "jupyter-config-data" in lab.page
    with httpx.Client(follow_redirects=True, timeout=60, trust_env=False) as client:
        assert client.get(address).is_client_error, "it holds once"


def test_without_a_browser_nobody_is_asked_for_an_address(
    trainmaster: Callable[..., Said], environment: dict[str, str], tmp_path: Path
) -> None:
    assert trainmaster("launch", "sagemaker-studio", "headless").code == 0
    empty = tmp_path / "no-programs"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "connect", "headless"],
        env={**environment, "PATH": str(empty)}, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "trainmaster connect headless --print-url" in done.stderr


def test_a_machine_of_ec2_by_the_same_commands(
    trainmaster: Callable[..., Said], environment: dict[str, str], tmp_path: Path
) -> None:
    launched = trainmaster("launch", "python-ml", "box", "--tag", "project=cats", "--json")
    assert (launched.code, launched.json["status"]) == (0, "running"), launched
    instance = launched.json["resources"]["instance_id"]
    shown = trainmaster("connect", "box")
    assert (shown.code, shown.out.startswith("aws ssm start-session"), instance in shown.out) == (0, True, True), shown
    assert trainmaster("connect", "box", "--print-url").code == 2

    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "aws").write_text('#!/bin/sh\nprintf "%s\\n" aws "$@"\n')
    (programs / "aws").chmod(0o700)
    ran = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "connect", "box", "--run"],
        env={**environment, "PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout.splitlines()) == (0, shlex.split(shown.out)), ran

    assert trainmaster("stop", "box").code == 0
    assert stands(trainmaster, "box")["status"] == "stopped"
    started = trainmaster("start", "box", "--json")
    assert (started.code, started.json["resources"]["instance_id"]) == (0, instance), started
    assert trainmaster("delete", "box", "--yes").code == 0
    assert trainmaster("list", "--json").json == {"workspaces": []}


def test_all_kinds_are_one_table(trainmaster: Callable[..., Said]) -> None:
    kinds = {
        "canvas": ("sagemaker-canvas", "Canvas", "web"),
        "lab": ("sagemaker-studio-lab", "Studio", "web"),
        "desktop": ("ubuntu-desktop", "EC2", "dcv"),
    }
    for name, (template, _, _) in kinds.items():
        launched = trainmaster("launch", template, name)
        assert launched.code == 0, launched
    table = {line.split()[0]: line for line in trainmaster("list").out.splitlines()}
    for name, (_, kind, access) in kinds.items():
        assert f" {kind} " in table[name], table
        assert f" {access} " in table[name], table
    assert "$0 " in table["lab"]
    address = trainmaster("connect", "lab", "--print-url")
    assert (address.code, address.out.startswith("https://studiolab.sagemaker.aws")) == (0, True), address
    assert "AWS has no API" in address.err
    canvas = trainmaster("connect", "canvas", "--print-url")
    with httpx.Client(follow_redirects=True, timeout=60, trust_env=False) as client:
        assert "Canvas" in client.get(canvas.out.strip()).raise_for_status().text
    way = trainmaster("connect", "desktop", "--json").json
    assert (way["command"][:3], way["url"].startswith("https://")) == (["aws", "ssm", "start-session"], True), way


def test_everybody_has_names_of_their_own(trainmaster: Callable[..., Said]) -> None:
    other = str(uuid4())
    for whose in ([], ["--user", other]):
        assert trainmaster("launch", "sagemaker-studio-lab", "project", *whose).code == 0
    ours = os.environ["TRAINMASTER_USER_ID"]
    assert [one["user_id"] for one in trainmaster("list", "--json").json["workspaces"]] == [ours]
    everybody = trainmaster("list", "--all-users", "--json").json["workspaces"]
    assert sorted(one["user_id"] for one in everybody) == sorted([ours, other])
    assert f"{other[:8]}…" in trainmaster("list", "--user", other).out
    assert trainmaster("delete", "project", "--yes", "--user", other).code == 0
    assert trainmaster("info", "project", "--user", other).code == 1
    assert trainmaster("info", "project").code == 0


WRONG = {
    "a template that is not there": (["launch", "nope", "mine"], 1, "nope"),
    "a name that cannot be": (["launch", "python-ml", "My_ml"], 2, "NAME cannot be 'My_ml'"),
    "a type the template does not have": (
        ["launch", "sagemaker-studio", "mine", "--instance-type", "ml.p5.48xlarge"],
        1,
        "ml.p5.48xlarge",
    ),
    "an hour that costs too much": (
        ["launch", "sagemaker-studio-gpu", "mine", "--max-hourly-cost", "0.10"],
        1,
        "$0.10",
    ),
    "a workspace that is not there": (["info", "nowhere"], 1, "There is no workspace nowhere. Yours: none."),
    "a way into nothing": (["connect", "nowhere"], 1, "There is no workspace nowhere."),
    "an end to nothing": (["delete", "nowhere", "--yes"], 1, "There is no workspace nowhere."),
    "everybody's and one's": (["list", "--all-users", "--user", str(uuid4())], 2, "--all-users is of everybody"),
    "a user without an id": (["list", "--user", "me"], 2, "'me' is no user's id"),
}


@pytest.mark.parametrize(("typed", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_sentence_and_by_the_exit_code(
    trainmaster: Callable[..., Said], typed: list[str], code: int, said: str
) -> None:
    refused = trainmaster(*typed)
    assert (refused.code, refused.out) == (code, ""), refused
    assert said in refused.err
    assert "Traceback" not in refused.err
    assert trainmaster("list", "--json").json == {"workspaces": []}, "nothing is left of what was refused"


def test_what_no_budget_has_money_for_is_refused_before_anything_is_made(trainmaster: Callable[..., Said]) -> None:
    user = os.environ["TRAINMASTER_USER_ID"]
    assert trainmaster("budget", "set", "0.10", "--user", user).code == 0
    refused = trainmaster("launch", "sagemaker-studio-gpu", "dear", "--json")
    assert (refused.code, refused.json["error"]) == (1, "OverBudgetError"), refused
    assert "Opening" not in refused.err, "what is refused does not begin"
    assert "$0.10" in refused.json["message"]
    planned = trainmaster("launch", "sagemaker-studio-gpu", "dear", "--dry-run")
    assert (planned.code, "It would be refused: Workspace dear" in planned.out) == (1, True), planned
    assert "$0.10" in planned.out, planned


def test_what_the_policy_has_against_it_is_planned_refused_and_listed_for_machines(
    trainmaster: Callable[..., Said],
) -> None:
    asked = ["launch", "sagemaker-studio", "kept", "--keep-until", "30d", "--auto-stop-minutes", "6000"]
    planned = trainmaster(*asked, "--dry-run")
    assert (planned.code, "The policy refuses it:" in planned.out) == (1, True), planned
    assert "max_keep" in planned.out
    assert "auto_stop" in planned.out
    refused = trainmaster(*asked, "--json")
    assert (refused.code, refused.json["error"]) == (1, "PolicyRefusedError"), refused
    assert [one["kind"] for one in refused.json["problems"]] == ["auto_stop", "max_keep"]
    assert all(one["remedy"] for one in refused.json["problems"])
    assert trainmaster("list", "--json").json == {"workspaces": []}
