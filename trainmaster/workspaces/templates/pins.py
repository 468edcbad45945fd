"""Which packages name exactly one version, so that the same image comes of them tomorrow. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_CONDA = re.compile(
    r"(?:[a-z0-9_./-]+::)?(?P<name>[a-z0-9_][a-z0-9_.-]*)==?(?P<version>[0-9][a-z0-9_.!+-]*)(=[a-z0-9_.]+)?",
    re.IGNORECASE,
)
_APT = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(:[a-z0-9]+)?=(?P<version>[0-9][A-Za-z0-9.+:~-]*)")
_BASE = re.compile(
    r"(?P<name>[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+(?=/))?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MOVING = {"latest", "latest-cpu", "latest-gpu", "main", "master", "nightly", "edge", "dev", "stable"}

Pinned = Callable[[str], str | None]


def pip_name(package: str) -> str | None:
    """What a package of pip that names one version is called; None when it does not."""
    try:
        requirement = Requirement(package)
    except InvalidRequirement:
        return None
    pins = list(requirement.specifier)
    exact = len(pins) == 1 and pins[0].operator == "==" and "*" not in pins[0].version
    if not exact or requirement.url or requirement.marker:
        return None
    return canonicalize_name(requirement.name)


def conda_name(package: str) -> str | None:
    """The same of conda's."""
    found = _CONDA.fullmatch(package)
    return found["name"].lower() if found else None


def apt_name(package: str) -> str | None:
    """The same of apt's."""
    found = _APT.fullmatch(package)
    return found["name"] if found else None


PINNED: Mapping[str, tuple[Pinned, str]] = {
    "conda": (conda_name, "numpy=2.3.0"),
    "pip": (pip_name, "numpy==2.3.0"),
    "apt": (apt_name, "htop=3.0.5-7build2"),
}
"""By installer: what tells a package that is pinned, and how one is written."""


def package_faults(installer: str, packages: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Position and reason of every package that names no one version, or that is there twice."""
    name_of, example = PINNED[installer]
    seen: dict[str, str] = {}
    for at, package in enumerate(packages):
        name = name_of(package)
        if name is None:
            yield at, f"{package!r} names no one version; write it such as {example}"
        elif name in seen:
            yield at, f"{package!r} is there already as {seen[name]!r}"
        else:
            seen[name] = package


def base_fault(base: str) -> str | None:
    """Why an image cannot be built on."""
    found = _BASE.fullmatch(base)
    if not found:
        return f"{base!r} is no address of an image, such as public.ecr.aws/sagemaker/sagemaker-distribution:3.2.0-cpu"
    if found["digest"]:
        return None
    if not found["tag"] or found["tag"].lower() in _MOVING:
        return f"{base!r} is another image tomorrow; name a tag of one release, or a digest (@sha256:…)"
    return None
