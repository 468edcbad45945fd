"""The Python of a container: a virtual environment of its own, laid over ours.

It sees all packages ours has, so that a requirements.txt whose pins are met installs without a network, and whatever pip does add,
newer versions included, goes to the container's folder. pip never removes from ours: to it those packages lie outside the
environment. Our own code is none of its packages.

A container of PyTorch sees those of `make finetune` before ours: they have the versions that AWS's has, and torch for a CPU.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


PYTORCH = Path(sys.prefix) / "finetune"
"""The environment of `make finetune`."""


class NoPyTorchError(Exception):
    """Raised when a container of PyTorch is wanted and `make finetune` was not run."""


def lay_over_ours(folder: Path, image: str) -> None:
    """Make the environment of a container of this image in the new folder. Raises NoPyTorchError."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    binaries = folder / "bin"
    binaries.mkdir()
    original = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python", "python3", f"python{version}"):
        (binaries / name).symlink_to(original)
    (folder / "pyvenv.cfg").write_text(f"home = {original.parent}\ninclude-system-site-packages = false\n")
    ours = dict.fromkeys((*_of_pytorch(image, version), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (packages / "ours.pth").write_text("".join(f"{path}\n" for path in ours))
    modules = {"train": "sagemaker_training.cli.train"} | dict.fromkeys(("pip", "pip3", f"pip{version}"), "pip")
    for name, module in modules.items():
        (binaries / name).write_text(f'#!/bin/sh\nexec "{binaries / "python"}" -m {module} "$@"\n')
        (binaries / name).chmod(0o755)


def _of_pytorch(image: str, version: str) -> list[str]:
    if "pytorch" not in image.rpartition("/")[2]:
        return []
    packages = PYTORCH / "lib" / f"python{version}" / "site-packages"
    if not (packages / "torch").is_dir():
        raise NoPyTorchError(
            f"The embedded AWS has no PyTorch to run {image} with. Run `make finetune`, which installs it."
        )
    return [str(packages)]


def search_path(folder: Path) -> str:
    """PATH: the environment's commands, then those of packages only ours has, then the system's."""
    return f"{folder / 'bin'}:{Path(sys.executable).parent}:{SYSTEM_PATH}"
