"""Which checkpoint a run goes on from, agreed by all its hosts, and whether it may."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.finetune import checkpoints, processes
from model.finetune.checkpoints import Checkpoint, DamagedError
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place
from model.finetune.problems import BadInputError
from model.finetune.sharding import is_sharded, lies_in_parts

WITHOUT_EFFECT = frozenset(
    {
        "logging_steps", "eval_steps", "eval_batch_size", "save_steps", "save_total_limit", "merge_weights", "push_to_hub",
        "hub_model_id", "hub_private", "hub_token_secret_arn", "processes_per_host", "sharding", "batch_size",
        "gradient_accumulation_steps", "gradient_checkpointing",
    }
)  # fmt: skip
"""Hyperparameters that may differ from those a checkpoint was made with: the weights would become the same. Of the batches their
product over all processes has to."""

SMALL = 1_000_000
"""Bytes up to which a file of the base model is known by its contents, and not by its size alone."""


@dataclass(frozen=True)
class Start:
    """Where a run begins."""

    asked: Hyperparameters
    """With as many accumulated batches as make the batch of all processes the same as before."""
    made_with: Mapping[str, Any]
    """What its checkpoints will be told to be made with."""
    checkpoint: Checkpoint | None
    reported: int
    """The last step that any run before it reported."""


def start(asked: Hyperparameters, place: Place) -> Start:
    """The same on all processes. Says what it goes on from. Raises BadInputError when the newest whole checkpoint is of another run."""
    host = processes.first_of_host()
    mine = made_with(asked, place, processes.count()) if host else None
    said = [each for each in processes.gathered(mine) if each is not None]
    if any(each != said[0] for each in said):
        raise BadInputError(
            "The hosts were given different data. Let every channel be replicated to all of them (FullyReplicated)."
        )
    chosen = _agreed(place.checkpoints)
    if chosen is not None:
        asked = going_on(asked, said[0], chosen, processes.count())
    reported = max(processes.gathered(checkpoints.reported_step(place.checkpoints)))
    if host:
        checkpoints.forget_after(place.checkpoints, chosen)
    processes.gathered(None)  # nobody saves before all have tidied up
    begun = Start(asked, chosen.made_with if chosen else said[0], chosen, reported)
    if processes.first_of_all() and (chosen or reported):
        step = chosen.step if chosen else 0
        print(f"resumed_from_step={step}; steps_lost={max(reported - step, 0)};", flush=True)
    return begun


def made_with(asked: Hyperparameters, place: Place, count: int) -> dict[str, Any]:
    """What decides the weights at each step."""
    channels = {name: place.channel(name) for name in place.channels}
    return {
        "hyperparameters": {
            name: value for name, value in asked.model_dump(mode="json").items() if name not in WITHOUT_EFFECT
        },
        "batch": asked.batch_size * asked.gradient_accumulation_steps * count,
        "data": {name: _contents(folder) for name, folder in sorted(channels.items())},
    }


def going_on(asked: Hyperparameters, mine: Mapping[str, Any], chosen: Checkpoint, count: int) -> Hyperparameters:
    """What is asked, so that each step has as many examples as before. Raises BadInputError."""
    theirs = chosen.made_with
    differing = [
        f"{name} was {theirs['hyperparameters'].get(name)!r} and is {mine['hyperparameters'].get(name)!r}"
        for name in sorted({*theirs["hyperparameters"], *mine["hyperparameters"]})
        if theirs["hyperparameters"].get(name) != mine["hyperparameters"].get(name)
    ]
    if differing:
        raise _refused(chosen, "; ".join(differing))
    if other := sorted(
        name for name in {*theirs["data"], *mine["data"]} if theirs["data"].get(name) != mine["data"].get(name)
    ):
        raise _refused(chosen, f"the contents of {', '.join(other)} are not the same")
    if lies_in_parts(chosen.folder) != is_sharded(asked):
        raise _refused(
            chosen, f"its weights are {_laid(not is_sharded(asked))}, and those of this run {_laid(is_sharded(asked))}"
        )
    if theirs["batch"] == mine["batch"]:
        return asked
    before = f"{chosen.processes} processes had {theirs['batch']} examples a step"
    if chosen.processes == count:
        raise _refused(chosen, f"{before}, these have {mine['batch']}")
    accumulated, rest = divmod(theirs["batch"], asked.batch_size * count)
    if rest:
        raise _refused(chosen, f"{before}, which {count} cannot have with a batch_size of {asked.batch_size}")
    if processes.first_of_all():
        print(
            f"The checkpoint is of {chosen.processes} processes, this run has {count}: gradient_accumulation_steps is"
            f" {accumulated} instead of {asked.gradient_accumulation_steps}, so that each step has {theirs['batch']} examples as before.",
            flush=True,
        )
    return asked.model_copy(update={"gradient_accumulation_steps": accumulated})


def _laid(sharded: bool) -> str:
    return "in parts on several processes (sharding full)" if sharded else "a copy on each process (sharding none)"


def _refused(chosen: Checkpoint, why: str) -> BadInputError:
    return BadInputError(
        f"The checkpoint of step {chosen.step} is of another run: {why}. Ask for the same as before to go on from it, or give"
        " another checkpoint_s3_uri to begin anew."
    )


def _agreed(folder: Path) -> Checkpoint | None:
    """The newest that is whole on all hosts."""
    below: int | None = None
    while True:
        mine = _newest_whole(folder, below) if processes.first_of_host() else None
        offers = [offer for offer in processes.gathered((processes.first_of_host(), mine)) if offer[0]]
        found = [each for _, each in offers]
        if None in found:
            return None
        if len({(each.step, each.run) for each in found}) == 1:
            return Checkpoint(folder / found[0].folder.name, *_rest(found[0]))
        below = min(each.step for each in found) + (len({each.step for each in found}) > 1)


def _rest(found: Checkpoint) -> tuple[int, str, int, Mapping[str, Any]]:
    return found.step, found.run, found.processes, found.made_with


def _newest_whole(folder: Path, below: int | None) -> Checkpoint | None:
    for each in checkpoints.found(folder):
        if below is not None and checkpoints.step_of(each) >= below:
            continue
        try:
            return checkpoints.verified(each)
        except DamagedError as problem:
            print(f"{each.name} is not whole and not gone on from: {problem}.", flush=True)
    return None


def _contents(folder: Path) -> str:
    """Of data all bytes count; of a base model's large files the sizes do, as they are hundreds of gigabytes."""
    whole = folder.name != "model"
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        if whole or size <= SMALL:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
