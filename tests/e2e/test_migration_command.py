"""`trainmaster datasets migrate|verify` in processes of their own, on datasets in the session's Supabase and S3."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from embedded_aws import EmbeddedAws
from library_shelves import S3, SUPABASE, Shelves, chats

from trainmaster.catalog.candidates import Selection
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import upload

PROGRAM = [sys.executable, "-m", "trainmaster.cli", "datasets"]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def value(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def shelves(embedded: EmbeddedAws, tmp_path: Path) -> Shelves:
    return Shelves(embedded.environment, tmp_path)


@pytest.fixture
def environment(embedded: EmbeddedAws, shelves: Shelves) -> dict[str, str]:
    own = {"TRAINMASTER_STATE_DIR": str(shelves.settings.state_dir), "TRAINMASTER_USER_ID": str(shelves.user_id)}
    return {**os.environ, **embedded.environment, **own}


@pytest.fixture
def datasets(environment: dict[str, str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


def stored(shelves: Shelves, count: int, provider: StorageProvider = SUPABASE) -> Sequence[str]:
    """Ids of so many datasets."""
    news = [shelves.sound(shelves.request(chats(3, f"{uuid4()}"), name=f"chats {n}")) for n in range(count)]
    return [upload(shelves.library, new, [provider]).dataset_id for new in news]


def test_all_phases_and_back_from_the_terminal(datasets: Callable[..., Said], shelves: Shelves) -> None:
    first, second = stored(shelves, 2)
    planned = datasets("migrate", "--dry-run")
    assert (planned.code, "To copy          2 datasets" in planned.out) == (0, True), planned
    assert "Supabase egress" in planned.out
    assert {where.split("://")[0] for where in shelves.objects()} == {"supabase"}

    copied = datasets("migrate", "--json")
    assert (copied.code, copied.value()["copied"], copied.value()["status"]) == (0, 2, "completed"), copied
    assert datasets("migrate", "--json").value()["bytes_read"] == 0
    assert datasets("migrate", "promote").out.startswith("promote: 2 datasets")
    assert "verified" in (shown := datasets("show", first).out)
    assert "promote" in shown
    assert datasets("verify", "--all", "--json").value()["read"] == 2

    rehearsed = datasets("migrate", "prune", "--grace-days", "0")
    assert "Nothing was deleted. Do it: the same command with --yes." in rehearsed.err
    assert len(shelves.objects()) == 4
    assert datasets("migrate", "prune", "--grace-days", "0", "--dataset", first, "--yes").code == 0
    assert len(shelves.objects()) == 3
    unsure = datasets("migrate", "rollback")
    assert (unsure.code, "Nothing was changed. Do it: the same command with --yes." in unsure.err) == (0, True), unsure
    assert unsure.out.startswith("Rehearsal of rollback: 2 datasets")
    assert datasets("migrate", "rollback", "--yes").out.startswith("rollback: 2 datasets")
    listed = json.loads(datasets("list", "--json").out)["datasets"]
    assert {(one["id"], one["storage_provider"], len(one["copies"])) for one in listed} == {
        (first, "supabase", 2),
        (second, "supabase", 2),
    }


def test_a_rotten_copy_is_said_and_put_right_as_the_advice_has_it(
    datasets: Callable[..., Said], shelves: Shelves
) -> None:
    [id_] = stored(shelves, 1)
    assert datasets("migrate").code == 0
    assert datasets("migrate", "promote").code == 0
    key = f"{shelves.user_id}/datasets/{id_}.jsonl.gz"
    there = shelves.store(S3).stat(key)
    assert there
    shelves.s3.put_object(Bucket=shelves.store(S3).bucket, Key=key, Body=b"\0" * there.size)
    verified = datasets("verify", "--all")
    assert (verified.code, "1 damaged" in verified.out, id_ in verified.out) == (1, True, True), verified
    assert "phase rollback" in verified.out
    assert "Upload the dataset anew" not in verified.out  # for Supabase has the bytes
    assert ".." not in verified.out
    assert "hindered" in datasets("show", id_).out
    assert datasets("migrate", "rollback", "--dataset", id_).code == 0
    assert datasets("migrate", "--json").value()["copied"] == 1
    assert datasets("verify", "--all").code == 0
    assert "hindered" not in datasets("show", id_).out


def test_what_was_replaced_in_supabase_counts_once_somebody_says_so(
    datasets: Callable[..., Said], shelves: Shelves
) -> None:
    [id_] = stored(shelves, 1)
    assert datasets("migrate").code == 0
    assert datasets("migrate", "promote").code == 0
    path, newer = f"{shelves.user_id}/private/{id_}.jsonl.gz", gzip.compress(b'{"messages": []}\n')
    shelves.store(SUPABASE).delete(path)
    sha256 = hashlib.sha256(newer).hexdigest()
    body = io.BytesIO(newer)
    shelves.store(SUPABASE).put(path, body, size=len(newer), sha256=sha256, content_type="application/gzip")
    left = datasets("migrate", "rollback", "--dataset", id_)
    assert (left.code, "--take-newer" in left.out) == (1, True), left
    unnamed = datasets("migrate", "rollback", "--take-newer")
    assert (unnamed.code != 0, "name those that are meant" in unnamed.err) == (True, True), unnamed
    assert len(shelves.objects()) == 2
    taken = datasets("migrate", "rollback", "--dataset", id_, "--take-newer")
    assert taken.code == 0, taken
    assert shelves.objects() == {f"supabase://{path}"}


def test_a_rehearsal_of_pruning_promises_nothing_of_a_copy_that_was_replaced_and_rotten(
    datasets: Callable[..., Said], shelves: Shelves
) -> None:
    [id_] = stored(shelves, 1)
    assert datasets("migrate").code == datasets("migrate", "promote").code == 0
    key = f"{shelves.user_id}/datasets/{id_}.jsonl.gz"
    there = shelves.store(S3).stat(key)
    assert there
    shelves.s3.put_object(Bucket=shelves.store(S3).bucket, Key=key, Body=b"\0" * there.size)
    rehearsed = datasets("migrate", "prune", "--grace-days", "0")
    assert (rehearsed.code, "0 datasets" in rehearsed.out, "1 failed" in rehearsed.out) == (1, True, True), rehearsed
    assert datasets("migrate", "prune", "--grace-days", "0", "--yes").code == 1
    assert len(shelves.objects()) == 2


def test_what_others_hold_and_ids_that_nobody_has_are_never_called_completed(
    datasets: Callable[..., Said], shelves: Shelves
) -> None:
    unknown, [id_] = str(uuid4()), stored(shelves, 1)
    for command in (["migrate"], ["migrate", "promote"], ["verify"]):
        refused = datasets(*command, "--dataset", unknown, "--dataset", id_)
        assert (refused.code, refused.out) == (1, ""), refused
        assert f"No dataset has the id {unknown}: 1 of 2 ids asked for." in refused.err

    migrations = shelves.library.catalogue.migrations
    [candidate] = migrations.candidates(Selection(dataset_ids=[UUID(id_)]))
    place = (candidate, S3, shelves.store(S3).bucket, f"{shelves.user_id}/datasets/{id_}.jsonl.gz")
    assert migrations.claim([place], holder="somebody", lease=timedelta(hours=1)).held
    stands = datasets("migrate", "status", "--user", str(shelves.user_id))
    assert (stands.code, "Supabase only   1 dataset" in stands.out, "somebody: 1 object since" in stands.out) == (
        0,
        True,
        True,
    )
    left = datasets("migrate")
    assert (left.code, left.out.startswith("Migration: others are at 1 dataset; their claims run out in")) == (0, True)
    assert datasets("migrate", "--dataset", id_).code == 1


def test_an_option_without_effect_is_refused(datasets: Callable[..., Said]) -> None:
    for phase, *options in (
        ("copy", "--yes"), ("copy", "--grace-days", "3"), ("promote", "--retry-given-up"), ("copy", "--timezone", "UTC"),
    ):  # fmt: skip
        refused = datasets("migrate", phase, *options)
        assert (refused.code, refused.out, len(refused.err.strip().splitlines())) == (1, "", 1), refused
        assert refused.err.startswith(options[0])


def test_a_dataset_whose_bytes_are_gone_fails_alone(datasets: Callable[..., Said], shelves: Shelves) -> None:
    gone, _ = stored(shelves, 2)
    shelves.store(SUPABASE).delete(f"{shelves.user_id}/private/{gone}.jsonl.gz")
    copied = datasets("migrate", "--json")
    assert (copied.code, copied.value()["copied"], copied.value()["failed"]) == (1, 1, {"source_missing": 1}), copied
    assert copied.value()["failures"][0]["dataset_id"] == gone


def test_a_bucket_that_is_gone_is_said_once_before_anything_is_read(
    environment: dict[str, str], shelves: Shelves
) -> None:
    stored(shelves, 1)
    elsewhere = {**environment, "TRAINMASTER_DATASET_BUCKET": "nobody-has-this-bucket"}
    done = subprocess.run(
        [*PROGRAM, "migrate"], env=elsewhere, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "S3 bucket 'nobody-has-this-bucket' does not exist." in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_asked_for_is_said_in_a_line(datasets: Callable[..., Said]) -> None:
    for wrong in (
        ["--window", "25:00-06:00"],
        ["--window", "22:00-06:00", "--timezone", "Nowhere"],
        ["--limit", "0"],
        ["--max-minutes", "nan"],
        ["--older-than", "soon"],
    ):
        said = datasets("migrate", *wrong)
        assert said.code == 2, said
        assert len(said.err.strip().splitlines()) == 1, said.err


def test_time_that_is_up_ends_it_in_the_middle_and_the_same_command_goes_on(
    datasets: Callable[..., Said], shelves: Shelves
) -> None:
    stored(shelves, 3)
    ended = datasets("migrate", "--mb-per-second", "0.00001", "--max-minutes", "0.05", "--json")
    assert (ended.code, ended.value()["status"], ended.value()["failed"]) == (0, "completed", {}), ended
    assert (ended.value()["left_off"], ended.value()["copied"] < 3) == ("0.05 minutes were asked for at most", True)
    went_on = datasets("migrate", "--json").value()
    assert (went_on["copied"] + ended.value()["copied"], went_on["under_way"]) == (3, 0)
    verified = datasets("verify", "--all", "--max-minutes", "60", "--json").value()
    assert (verified["read"], verified["ending"]["left_off"]) == (3, "")


def test_ctrl_c_gives_back_what_was_begun_and_says_how_to_go_on(
    environment: dict[str, str], shelves: Shelves, datasets: Callable[..., Said]
) -> None:
    stored(shelves, 3)
    slow = subprocess.Popen(
        [*PROGRAM, "migrate", "--mb-per-second", "0.00001"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not shelves.pending():
        assert time.monotonic() < deadline, "nothing was ever claimed"
        time.sleep(0.05)
    slow.send_signal(signal.SIGINT)
    _, err = slow.communicate(timeout=90)
    assert slow.returncode == 130, err
    assert "the same command goes on from here" in err
    assert datasets("migrate").code == 0
    assert len(shelves.objects()) == 6
    assert shelves.pending() == 0
