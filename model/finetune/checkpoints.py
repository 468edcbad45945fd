"""Checkpoints as files: written whole or not at all, and believed only when every byte of them is there.

SageMaker copies each file below the checkpoint folder to S3 as it appears, in no order, removes there what is removed here, and
brings back on a restart what S3 has. A checkpoint is therefore a folder with a manifest of every host, and whole only if all that
the manifests name is there as they say. Its name has the step and the run that saved it, so that what two runs save never mixes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NAME = re.compile(r"checkpoint-(?P<step>\d+)-(?P<run>[0-9a-f]+)")
LAST_STEP = "last_step.json"


class DamagedError(Exception):
    """Raised when a checkpoint is not whole; the message says what of it is not."""


@dataclass(frozen=True)
class Manifest:
    """What one host has saved of a checkpoint, and how many others have."""

    step: int
    run: str
    host: str
    hosts: int
    processes: int
    made_with: Mapping[str, Any]
    """What a run must have in common with the one that saved it."""
    files: Mapping[str, tuple[int, str]]
    """Size and SHA-256 by relative name."""

    @property
    def agreed(self) -> tuple[Any, ...]:
        """What the manifests of all hosts say alike."""
        return self.step, self.run, self.hosts, self.processes, json.dumps(self.made_with, sort_keys=True)


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole."""

    folder: Path
    step: int
    run: str
    processes: int
    made_with: Mapping[str, Any]


def staging_for(folder: Path) -> Path:
    """A new, empty place from where a rename leads into `folder`: beside it, where nothing is synced, or inside under a name never resumed from."""
    folder.mkdir(parents=True, exist_ok=True)
    beside, inside = folder.with_name(f".{folder.name}-being-saved"), folder / ".being-saved"
    for place in (beside, inside):
        shutil.rmtree(place, ignore_errors=True)
    try:
        probe = beside / "probe"
        probe.mkdir(parents=True)
        probe.rename(folder / ".probe").rmdir()
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        shutil.rmtree(beside, ignore_errors=True)
        inside.mkdir()
        return inside
    return beside


def seal(saved: Path, manifest: Manifest, folder: Path) -> Path:
    """Move what this host saved into `folder`, under a manifest of it, all on disk before it is seen there. Raises OSError."""
    files = {str(path.relative_to(saved)): path for path in _files(saved)}
    with ThreadPoolExecutor() as pool:
        sums = dict(zip(files, pool.map(_synced_sum, files.values()), strict=True))
    written = asdict(manifest) | {"files": sums}
    _write(saved / f"manifest-{manifest.host}.json", json.dumps(written, indent=1))
    for parent in {path.parent for path in files.values()} | {saved}:
        _sync(parent)
    final = folder / f"checkpoint-{manifest.step}-{manifest.run}"
    saved.rename(final)
    _sync(folder)
    return final


def found(folder: Path) -> list[Path]:
    """The folders of checkpoints, whole or not, the newest first."""
    steps = {path: NAME.fullmatch(path.name) for path in folder.iterdir()} if folder.is_dir() else {}
    matched = {path: (int(match["step"]), match["run"]) for path, match in steps.items() if match}
    return sorted(matched, key=matched.__getitem__, reverse=True)


def newest(folder: Path) -> str | None:
    """The newest checkpoint that a run has left whole behind it, once it began by removing those that were not."""
    return next(map(str, found(folder)), None)


def step_of(folder: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(folder.name.split("-")[1])


def verified(folder: Path) -> Checkpoint:
    """The checkpoint in this folder. Raises DamagedError when any byte of any host is missing or different."""
    manifests = [_manifest(path) for path in sorted(folder.glob("manifest-*.json"))]
    if not manifests:
        raise DamagedError("it has no manifest")
    first = manifests[0]
    if len(manifests) != first.hosts:
        raise DamagedError(f"it has the manifests of {len(manifests)} of {first.hosts} hosts")
    if any(each.agreed != first.agreed for each in manifests) or folder.name != f"checkpoint-{first.step}-{first.run}":
        raise DamagedError("its manifests are of different checkpoints")
    expected = {name: stamp for each in manifests for name, stamp in each.files.items()}
    for name, (size, _) in expected.items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != size:
            raise DamagedError(f"{name} has {path.stat().st_size} of {size} bytes")
    with ThreadPoolExecutor() as pool:
        for name, digest in zip(expected, pool.map(lambda name: _sum(folder / name), expected), strict=True):
            if digest != expected[name][1]:
                raise DamagedError(f"{name} is not what was saved")
    return Checkpoint(folder, first.step, first.run, first.processes, first.made_with)


def prune(folder: Path, keep: int) -> None:
    """Leave the newest `keep` checkpoints."""
    for each in found(folder)[keep:]:
        shutil.rmtree(each, ignore_errors=True)


def forget_after(folder: Path, chosen: Checkpoint | None) -> None:
    """Remove those that cannot be gone on from: all that are newer than the one chosen, or all when none is."""
    for each in found(folder):
        if chosen is None or (each != chosen.folder and step_of(each) >= chosen.step):
            shutil.rmtree(each, ignore_errors=True)


def report_step(folder: Path, staging: Path, step: int) -> None:
    """Keep the last step of which anybody was told."""
    new = staging / LAST_STEP
    new.write_text(json.dumps({"step": step}), encoding="utf-8")
    new.replace(folder / LAST_STEP)


def reported_step(folder: Path) -> int:
    """The last step that any earlier run reported; 0 when there was none."""
    try:
        return int(json.loads((folder / LAST_STEP).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _manifest(path: Path) -> Manifest:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in read.pop("files").items()}
        return Manifest(**read, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path.name} cannot be read") from error


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _synced_sum(path: Path) -> tuple[int, str]:
    _sync(path)
    return path.stat().st_size, _sum(path)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
