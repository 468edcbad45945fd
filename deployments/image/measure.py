"""`python -m deployments.image.measure`: the image without a builder.

Copies what the Dockerfile copies, runs the install steps it runs, in a clean environment, and sums what comes of them. Prints one JSON
object last; ends with an error where it is larger than it may be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
LARGEST_MB, BASE_MB = 600, 130
"""Of the image as it lies on a disk, and of python:3.11-slim-bookworm in it, as its publisher tells."""
WITHIN = 900
MB = 1_000_000


def copied(dockerfile: str) -> Sequence[str]:
    """What is copied from the checkout, in order."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def installed(dockerfile: str, folder: Path) -> tuple[Path, Path]:
    """The code and the environment that the Dockerfile's own install step makes of this checkout, below a folder."""
    [step] = re.findall(r"^RUN (deployments/image/install\.sh) /srv/trainmaster /opt/venv$", dockerfile, re.MULTILINE)
    code, venv = folder / "code", folder / "venv"
    code.mkdir()
    for name in copied(dockerfile):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, code / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, code / name)
    subprocess.run([code / step, code, venv], check=True, timeout=WITHIN, stdout=sys.stderr)
    return code, venv


def size(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def main() -> None:
    """Measure, look, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbom", type=Path, help="where to leave the bill of materials")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        code, venv = installed(DOCKERFILE.read_text(encoding="utf-8"), Path(folder))
        clean = {"PATH": os.environ["PATH"], "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        said = subprocess.run(
            [venv / "bin" / "trainmaster", "--version"], cwd=code, env=clean, check=True, capture_output=True, text=True, timeout=120
        )  # fmt: skip
        bill = venv / "sbom.cdx.json"
        parts = len(json.loads(bill.read_text(encoding="utf-8"))["components"])
        if args.sbom:
            shutil.copy2(bill, args.sbom)
        megabytes = {"environment": size(venv) / MB, "code": size(code) / MB, "base": float(BASE_MB)}
    whole = sum(megabytes.values())
    for name, each in megabytes.items():
        print(f"{name:<12} {each:7.1f} MB{' (as published; not measured here)' if name == 'base' else ''}")
    facts = {"version": said.stdout.strip(), "components": parts, "megabytes": round(whole, 1), "largest": LARGEST_MB}
    print(json.dumps({**facts, "parts": {name: round(each, 1) for name, each in megabytes.items()}}))
    if whole > LARGEST_MB:
        sys.exit(f"The image has {whole:.0f} MB, {whole - LARGEST_MB:.0f} MB too many.")


if __name__ == "__main__":
    main()
