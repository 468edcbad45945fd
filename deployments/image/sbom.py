"""`sbom.py LOCK VENV`: a software bill of materials (CycloneDX 1.6) of an environment, as JSON; the same environment gives the same bytes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill(lock: str, installed: Sequence[Distribution]) -> dict[str, Any]:
    """Of all that is installed, by name. Of what the lock names, the digests of the files it may have come from."""
    hashes = _hashes(lock)
    components = sorted((_component(one, hashes) for one in installed), key=lambda one: str(one["bom-ref"]))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def _component(one: Distribution, hashes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    name = _normal(one.metadata["Name"])
    purl = f"pkg:pypi/{name}@{one.version}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": one.version, "purl": purl}
    licence = one.metadata.json.get("license_expression")
    named = [line.rsplit(" :: ", 1)[-1] for line in one.metadata.get_all("Classifier") or [] if line.startswith("License ::")]  # fmt: skip
    if licence:
        component["licenses"] = [{"expression": licence}]
    elif named:
        component["licenses"] = [{"license": {"name": each}} for each in sorted(set(named))]
    if known := hashes.get(purl):
        component["properties"] = [{"name": "trainmaster:locked-sha256", "value": each} for each in known]
    return component


def _hashes(lock: str) -> Mapping[str, Sequence[str]]:
    """By package URL, in order."""
    pins = list(_PINNED.finditer(lock))
    ends = [pin.start() for pin in pins[1:]] + [len(lock)]
    return {
        f"pkg:pypi/{_normal(pin[1])}@{pin[2]}": sorted(_SHA256.findall(lock, pin.start(), end))
        for pin, end in zip(pins, ends, strict=False)
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(lock: str, venv: str) -> None:
    """Print it."""
    [site] = Path(venv).glob("lib/python3*/site-packages")
    document = bill(Path(lock).read_text(encoding="utf-8"), list(distributions(path=[str(site)])))
    print(json.dumps(document, indent=1, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
