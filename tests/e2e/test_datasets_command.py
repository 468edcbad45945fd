"""`trainmaster datasets upload|list|show|url|delete|sweep`, as a user types them, on the embedded AWS and Supabase."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from library_shelves import BAD, chats

from trainmaster import cli

COMMAND = [sys.executable, "-m", "trainmaster.cli", "datasets"]


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def user(client_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new one, in the environment that `trainmaster embedded --print-env` prints."""
    for name, value in client_environment.items():
        monkeypatch.setenv(name, value)
    user_id = str(uuid4())
    monkeypatch.setenv("TRAINMASTER_USER_ID", user_id)
    monkeypatch.chdir(tmp_path)
    return user_id


@pytest.fixture
def datasets(user: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        try:
            code = cli.main(["datasets", *arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "mine.jsonl", chats(12))


def written(file: Path, lines: list[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_from_a_file_to_a_link_and_back_to_nothing_in_processes_of_their_own(
    client_environment: dict[str, str], user: str, file: Path, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**client_environment, "TRAINMASTER_USER_ID": user}
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    uploaded = run("upload", str(file), "--name", "my chats", "--storage", "both")
    assert uploaded.returncode == 0, uploaded.stderr
    assert "mine.jsonl: accepted · 12 examples of chatml" in uploaded.stderr
    assert "in supabase and s3" in uploaded.stdout
    dataset_id = uploaded.stdout.splitlines()[1].split()[-1]
    assert f"trainmaster datasets url {dataset_id}" in uploaded.stdout
    link = run("url", dataset_id)
    assert "my chats.jsonl.gz from supabase, until 20" in link.stderr
    with urllib.request.urlopen(link.stdout.strip(), timeout=90) as answer:
        assert len(gzip.decompress(answer.read()).splitlines()) == 12
    assert run("delete", dataset_id, "--yes").stdout == f"Deleted my chats ({dataset_id}) and 2 objects.\n"
    gone = run("delete", dataset_id, "--yes")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == f"There is no dataset {dataset_id} of user {user}.\n"


class TestUpload:
    def test_the_result_is_json_for_machines_and_the_same_upload_is_found(
        self, datasets: Callable[..., Said], file: Path
    ) -> None:
        first, again = (json.loads(datasets("upload", str(file), "--name", "x", "--json").out) for _ in range(2))
        assert (first["found"], again["found"], again["dataset_id"]) == (False, True, first["dataset_id"])
        assert (first["examples"], first["storage_provider"], first["warnings"]) == (12, "supabase", [])

    def test_a_bad_file_is_refused_with_all_that_is_wrong_and_what_to_do(
        self, datasets: Callable[..., Said], tmp_path: Path
    ) -> None:
        file = written(tmp_path / "bad.jsonl", [*chats(9), BAD])
        refused = datasets("upload", str(file), "--name", "x")
        assert (refused.code, refused.out) == (1, "")
        assert "line 10" in refused.err
        assert "--max-bad-fraction 0.1" in refused.err
        taken = datasets("upload", str(file), "--name", "x", "--max-bad-fraction", "0.1")
        assert taken.code == 0
        assert "9 examples, 1 dropped and kept beside it" in taken.out

    @pytest.mark.parametrize(
        "file", ["/not/there.jsonl", "/dev/zero", ".", "ftp://host.example/x", "https://me:pw@h/x"]
    )
    def test_what_cannot_be_read_is_something_else_than_refused(self, file: str, datasets: Callable[..., Said]) -> None:
        said = datasets("upload", file, "--name", "x")
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "pw" not in said.err

    def test_what_is_not_set_up_is_told_before_the_file_is_looked_for(
        self, datasets: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SUPABASE_URL")
        said = datasets("upload", "/not/there.jsonl", "--name", "x")
        assert said.code == 1
        assert "SUPABASE_URL is not set" in said.err
        assert "`trainmaster embedded --print-env`" in said.err
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        said = datasets("upload", "/not/there.jsonl", "--name", "x", "--storage", "s3")
        assert said.code == 1
        assert "no AWS credentials were found" in said.err

    def test_a_choice_there_is_not_is_named(self, datasets: Callable[..., Said], file: Path) -> None:
        for arguments, said in (
            (["--name", "x", "--max-bad-fraction", "2"], "max_bad_fraction cannot be 2"),
            (["--name", "x\ny"], "name cannot be"),
            (["--name", "x", "--storage", "gcs"], "cannot be 'gcs': choose"),
            (["--name", "x", "--user", "me"], "'me' is no user's id"),
            (["--name", "x", "--format", "csv"], "cannot be 'csv': choose"),
        ):
            refused = datasets("upload", str(file), *arguments)
            assert refused.code == 2
            assert said in refused.err

    def test_a_database_left_in_the_shell_is_not_reached_for(self, client_environment: dict[str, str]) -> None:
        """The embedded environment names none, so that nobody mixes its stores with a real project's catalogue."""
        assert client_environment["DATABASE_URL"] == ""


class TestList:
    def test_newest_first_in_pages_and_by_what_training_sees(
        self, datasets: Callable[..., Said], tmp_path: Path
    ) -> None:
        for number, storage in enumerate(["supabase", "s3", "both"]):
            file = written(tmp_path / f"{number}.jsonl", chats(3 + number))
            assert datasets("upload", str(file), "--name", f"set {number}", "--storage", storage).code == 0
        everything = datasets("list")
        assert [line.split("  ")[-1].strip() for line in everything.out.splitlines()] == [
            "NAME",
            "set 2",
            "set 1",
            "set 0",
        ]
        assert "supabase+s3" in everything.out
        assert everything.err == ""

        def names(*arguments: str) -> list[str]:
            return [one["name"] for one in json.loads(datasets("list", "--json", *arguments).out)["datasets"]]

        assert names("--for", "sagemaker") == names("--provider", "s3") == ["set 2", "set 1"]
        assert names("--for", "runpod") == ["set 2", "set 0"]
        assert names("--name", "T 1") == ["set 1"]
        assert names("--format", "alpaca") == []
        first = datasets("list", "--limit", "2")
        assert len(first.out.splitlines()) == 3
        after = first.err.split("--after ")[1].strip()
        assert names("--limit", "2", "--after", after) == ["set 0"]

    def test_when_there_are_none_the_next_step_is_said(self, datasets: Callable[..., Said]) -> None:
        said = datasets("list")
        assert (said.code, said.out) == (0, "")
        assert "`trainmaster datasets upload FILE --name NAME` adds one" in said.err

    def test_limits_and_cursors_there_are_not_are_refused(self, datasets: Callable[..., Said]) -> None:
        assert "choose 1 to 200" in datasets("list", "--limit", "0").err
        assert datasets("list", "--after", "nonsense").code == 1


class TestOne:
    @pytest.fixture
    def dataset_id(self, datasets: Callable[..., Said], file: Path) -> str:
        said = datasets("upload", str(file), "--name", "one", "--description", "for tests", "--json")
        found: str = json.loads(said.out)["dataset_id"]
        return found

    def test_show_tells_what_is_known(self, datasets: Callable[..., Said], dataset_id: str, file: Path) -> None:
        shown = datasets("show", dataset_id)
        for said in ("for tests", dataset_id, "12", "of 100", str(file), "supabase://training-datasets/", "verified"):
            assert said in shown.out
        known: dict[str, Any] = json.loads(datasets("show", dataset_id, "--json").out)
        assert (known["name"], known["metadata"]["statistics"]["total_examples"]) == ("one", 12)

    def test_a_link_is_alone_on_stdout_and_as_long_lived_as_asked(
        self, datasets: Callable[..., Said], dataset_id: str
    ) -> None:
        link = datasets("url", dataset_id, "--expires", "7d")
        assert (link.out.count("\n"), link.out[:7]) == (1, "http://")
        assert time.strftime("%Y-%m-%d", time.gmtime(time.time() + 7 * 86400)) in link.err
        assert "1 second to 7 days" in datasets("url", dataset_id, "--expires", "8d").err
        assert "'soon' is no time; write 90s, 30m, 2h or 7d" in datasets("url", dataset_id, "--expires", "soon").err

    def test_nothing_is_deleted_without_yes(self, datasets: Callable[..., Said], dataset_id: str) -> None:
        told = datasets("delete", dataset_id)
        assert told.code == 0
        assert "Would delete one" in told.out
        assert f"trainmaster datasets delete {dataset_id} --yes" in told.out
        assert datasets("show", dataset_id).code == 0

    def test_another_users_is_as_missing_as_none(self, datasets: Callable[..., Said], dataset_id: str) -> None:
        stranger = str(uuid4())
        for command in ("show", "url", "delete"):
            refused = datasets(command, dataset_id, "--user", stranger)
            assert (refused.code, refused.err) == (1, f"There is no dataset {dataset_id} of user {stranger}.\n")

    def test_what_is_no_id_is_told_from_one_that_is_missing(self, datasets: Callable[..., Said]) -> None:
        said = datasets("show", "mine")
        assert said.code == 2
        assert "'mine' is no dataset's id" in said.err


def test_a_sweep_says_what_it_did(datasets: Callable[..., Said]) -> None:
    said = datasets("sweep")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(("There is nothing to be removed.", "Removed "))
