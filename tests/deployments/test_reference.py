"""The pages of docs/reference are what the code says, every link in every page leads somewhere, and no setting is left out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # docs/ is not installed
from docs.generate.__main__ import FOLDER, PAGES  # noqa: E402

MARKDOWN = [
    file
    for pattern in ("*.md", "docs/**/*.md", "deployments/**/*.md")
    for file in sorted(ROOT.glob(pattern))
    if ".venv" not in file.parts
]
CODE = [
    file
    for folder in ("trainmaster", "tasks", "flows", "deployments")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if (ROOT / "trainmaster" / "embedded") not in file.parents
]
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"""["']((?:TRAINMASTER|SUPABASE)_[A-Z0-9_]+|DATABASE_URL)["']""")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), (
        f"docs/reference/{name} is not what the code says: `make reference` writes it anew."
    )


def test_every_page_of_the_reference_is_made() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(PAGES)


def test_every_variable_that_is_read_is_told_of() -> None:
    told = (FOLDER / "settings.md").read_text(encoding="utf-8")
    read = {name for file in CODE for name in _VARIABLE.findall(file.read_text(encoding="utf-8"))}
    assert {name for name in read if f"`{name}`" not in told} == set()


@pytest.mark.parametrize("page", MARKDOWN, ids=[str(page.relative_to(ROOT)) for page in MARKDOWN])
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert [target for target in links(page) if not leads_somewhere(page, target)] == []


def links(page: Path) -> Iterator[str]:
    """Those to other places of this repository."""
    text = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    return (target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target))


def leads_somewhere(page: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not heading or heading in headings(file))


def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    text = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found
