"""Checkpoints of a fine-tuning run: whole or not gone on from, and gone on from as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts_of_jobs import Host, Trainers, given
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from model.finetune import checkpoints, resuming
from model.finetune.checkpoints import Checkpoint, DamagedError, Manifest
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import STAGING, Place
from model.finetune.problems import BadInputError
from model.finetune.saving import CannotSaveError, Saving

MADE_WITH = {"hyperparameters": {"seed": 7}, "batch": 8, "data": {"training": "ab"}}
TWO = ("algo-1", "algo-2")


def sealed(
    folder: Path, step: int, *, run: str = "aaaa", hosts: tuple[str, ...] = ("algo-1",), only: tuple[str, ...] = ()
) -> Path:
    """A checkpoint that each of these hosts, or only some of them, has saved."""
    staging = checkpoints.staging_for(folder)
    final = folder / f"checkpoint-{step}-{run}"
    for host in only or hosts:
        saved = staging / f"of-{host}"
        (saved / "sharded").mkdir(parents=True)
        (saved / f"sharded/weights-{host}").write_bytes(b"weights of %d" % step)
        (saved / f"state-{host}").write_bytes(b"s" * step)
        (saved / f"empty-{host}").write_bytes(b"")
        manifest = Manifest(step, run, host, len(hosts), len(hosts), MADE_WITH, {})
        if final.exists():  # as the files of all hosts come together in S3
            shutil.copytree(checkpoints.seal(saved, manifest, folder / host), final, dirs_exist_ok=True)
        else:
            (folder / TWO[1]).mkdir(exist_ok=True)
            checkpoints.seal(saved, manifest, folder)
    return final


class TestOneCheckpoint:
    """Whole when every byte that the manifests of all hosts name is there."""

    @pytest.mark.parametrize("hosts", [("algo-1",), TWO], ids=["one-host", "two-hosts"])
    def test_is_whole_as_it_was_saved(self, tmp_path: Path, hosts: tuple[str, ...]) -> None:
        found = checkpoints.verified(sealed(tmp_path, 30, hosts=hosts))
        assert (found.step, found.run, found.processes, found.made_with) == (30, "aaaa", len(hosts), MADE_WITH)

    @pytest.mark.parametrize("hosts", [("algo-1",), TWO], ids=["one-host", "two-hosts"])
    def test_is_not_whole_without_any_one_of_its_files_or_with_one_cut_or_changed(
        self, tmp_path: Path, hosts: tuple[str, ...]
    ) -> None:
        whole = sealed(tmp_path, 30, hosts=hosts)
        files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
        assert len(files) == 4 * len(hosts)
        for number, name in enumerate(files):
            for harm in ("remove", "cut", "change"):
                damaged = tmp_path / "damaged" / f"{number}-{harm}" / whole.name
                shutil.copytree(whole, damaged)
                body = (damaged / name).read_bytes()
                if harm == "remove":
                    (damaged / name).unlink()
                elif body:
                    (damaged / name).write_bytes(body[:-1] if harm == "cut" else body[:-1] + bytes([body[-1] ^ 1]))
                else:
                    (damaged / name).write_bytes(b"more")
                with pytest.raises(DamagedError):
                    checkpoints.verified(damaged)

    def test_is_whole_beside_what_no_manifest_names(self, tmp_path: Path) -> None:
        whole = sealed(tmp_path, 30)
        (whole / "model.safetensors.sagemaker-uploaded").touch()
        assert checkpoints.verified(whole).step == 30

    def test_of_two_runs_is_not_whole(self, tmp_path: Path) -> None:
        whole = sealed(tmp_path, 30, hosts=TWO)
        other = sealed(tmp_path / "other", 30, run="bbbb", hosts=TWO)
        shutil.copyfile(other / "manifest-algo-2.json", whole / "manifest-algo-2.json")
        with pytest.raises(DamagedError, match="different checkpoints"):
            checkpoints.verified(whole)


class TestAFolderOfCheckpoints:
    def test_keeps_the_newest(self, tmp_path: Path) -> None:
        for step in (9, 10, 100, 20):
            sealed(tmp_path, step)
        checkpoints.prune(tmp_path, 2)
        assert [checkpoints.step_of(each) for each in checkpoints.found(tmp_path)] == [100, 20]

    def test_loses_what_cannot_be_gone_on_from_and_nothing_else(self, tmp_path: Path) -> None:
        for step in (10, 20):
            sealed(tmp_path, step)
        partial = sealed(tmp_path, 30, hosts=TWO, only=("algo-1",))
        checkpoints.forget_after(tmp_path, checkpoints.verified(tmp_path / "checkpoint-20-aaaa"))
        assert not partial.exists()
        assert [checkpoints.step_of(each) for each in checkpoints.found(tmp_path)] == [20, 10]

    def test_remembers_the_last_step_that_was_told(self, tmp_path: Path) -> None:
        staging = checkpoints.staging_for(tmp_path / "synced")
        assert checkpoints.reported_step(tmp_path / "synced") == 0
        checkpoints.report_step(tmp_path / "synced", staging, 41)
        assert checkpoints.reported_step(tmp_path / "synced") == 41
        (tmp_path / "synced/last_step.json").write_text("{")
        assert checkpoints.reported_step(tmp_path / "synced") == 0


class TestGoingOnFromAnother:
    """A checkpoint that is not of this very run."""

    asked = Hyperparameters(batch_size=2, gradient_accumulation_steps=4)
    theirs = Checkpoint(
        Path("x"), 30, "aaaa", 2,
        {"hyperparameters": {"seed": 7, "learning_rate": 0.1}, "batch": 16, "data": {"training": "ab"}},
    )  # fmt: skip

    def mine(self, **changed: Any) -> dict[str, Any]:
        return {**self.theirs.made_with, **changed}

    def test_is_refused_with_what_differs(self) -> None:
        for changed, said in (
            ({"hyperparameters": {"seed": 8, "learning_rate": 0.1}}, "seed was 7 and is 8"),
            ({"hyperparameters": {"seed": 7}}, "learning_rate was 0.1 and is None"),
            ({"data": {"training": "cd"}}, "the contents of training are not the same"),
            ({"batch": 32}, "2 processes had 16 examples a step, these have 32"),
        ):
            with pytest.raises(BadInputError, match=f"step 30 is of another run: {said}"):
                resuming.going_on(self.asked, self.mine(**changed), self.theirs, 2)

    def test_by_other_processes_has_as_many_examples_a_step_as_before(self) -> None:
        for count, accumulated in ((2, 4), (1, 8), (4, 2), (8, 1)):
            mine = self.mine(batch=2 * 4 * count)
            assert resuming.going_on(self.asked, mine, self.theirs, count).gradient_accumulation_steps == accumulated

    def test_by_processes_that_cannot_have_as_many_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="which 3 cannot have with a batch_size of 2"):
            resuming.going_on(self.asked, self.mine(batch=24), self.theirs, 3)

    def test_with_weights_that_lay_otherwise_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        (tmp_path / "pytorch_model_fsdp_0").mkdir()
        copies, parts = self.theirs, replace(self.theirs, folder=tmp_path)
        sharded = self.asked.model_copy(update={"sharding": "full"})
        assert resuming.going_on(sharded, self.mine(), parts, 2) == sharded
        with pytest.raises(BadInputError, match=r"are in parts .* and those of this run a copy on each process"):
            resuming.going_on(self.asked, self.mine(), parts, 2)
        with pytest.raises(BadInputError, match=r"are a copy .* and those of this run in parts"):
            resuming.going_on(sharded, self.mine(), copies, 2)


SMALL = {
    "num_epochs": 10, "batch_size": 2, "gradient_accumulation_steps": 4, "logging_steps": 1, "save_steps": 3,
    "learning_rate": 0.01, "gradient_checkpointing": False, "merge_weights": False, "finetuning_type": "lora", "lora_r": 4,
    "lora_dropout": 0.1,
}  # fmt: skip
"""40 steps: four an epoch, whose last has one batch less than the others, and dropout wants its random numbers."""


@pytest.fixture(scope="module")
def trainers() -> Trainers:
    return Trainers()


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return given(tmp_path_factory.mktemp("given"), 30)


@pytest.fixture
def host(trainers: Trainers, channels: dict[str, Path], tmp_path: Path) -> Callable[..., Host]:
    def make(name: str = "host", **asked: Any) -> Host:
        return Host(tmp_path / name, channels, trainers, **(SMALL | asked))

    return make


def alike(one: Host, other: Host) -> bool:
    """Whether they have learned the same, to the last bit."""
    mine, theirs = (load_file(next((host.ml / "model").rglob("*.safetensors"))) for host in (one, other))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


class TestARun:
    def test_that_is_killed_at_random_moments_ends_as_one_that_was_not(self, host: Callable[..., Host]) -> None:
        chance = random.Random(7)  # noqa: S311
        undisturbed, disturbed = host("undisturbed"), host("disturbed")
        assert undisturbed.run() == 0, undisturbed.text()
        disturbed.killed_after(chance.randint(4, 9), seconds=chance.random() / 20)
        assert disturbed.told_to_end_after(chance.randint(1, 6)) == 128 + signal.SIGTERM
        told_at = checkpoints.step_of(disturbed.kept[-1])
        disturbed.killed_after(chance.randint(4, 9), seconds=chance.random() / 20)
        cut(disturbed.kept[-1] / "optimizer.pt")
        assert disturbed.run() == 0, disturbed.text()
        assert disturbed.losses() == undisturbed.losses()
        assert alike(disturbed, undisturbed)
        killed, told, damaged = disturbed.resumed()
        assert killed[1] <= SMALL["save_steps"]
        assert told == (told_at, 0)
        assert damaged[1] <= 2 * SMALL["save_steps"]
        assert [checkpoints.step_of(each) for each in disturbed.kept] == [39, 40]

        shutil.rmtree(disturbed.ml / "model")  # as if it was taken away while it wrote what it had learned
        (disturbed.ml / "model").mkdir()
        assert disturbed.run() == 0, disturbed.text()
        assert alike(disturbed, undisturbed)

        assert disturbed.run(learning_rate=0.02) == 1
        said = "The checkpoint of step 40 is of another run: learning_rate was 0.01 and is 0.02."
        assert disturbed.failure.startswith(said)


def test_a_checkpoint_that_finds_no_room_is_told_of_and_loses_none_before_it(tmp_path: Path) -> None:
    place = Place(("algo-1",), "algo-1", 0, *(tmp_path / name for name in ("in", "model", "out", "kept")), channels=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STAGING, str(checkpoints.staging_for(place.checkpoints)))
        before = sealed(place.checkpoints, 2)
        asked = Hyperparameters()
        saving = Saving(place, resuming.Start(asked, MADE_WITH, None, 0))
        state, control = TrainerState(global_step=4), TrainerControl(should_save=True)
        full = place.staging / "checkpoint-4"
        full.mkdir(parents=True)
        (full / "manifest-algo-1.json").symlink_to("/dev/full")
        said = r"checkpoint of step 4 could not be written \(OSError.*No space left.*checkpoint-2-aaaa is whole.*volume_size_gb"

        def save() -> None:
            with saving.around():
                saving.on_step_end(TrainingArguments(), state, control)
                saving.on_save(TrainingArguments(), state, control)

        with pytest.raises(CannotSaveError, match=said):
            save()
        assert checkpoints.found(place.checkpoints) == [before]
        assert checkpoints.verified(before).step == 2
        assert not full.exists()
