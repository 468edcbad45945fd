"""One set of versions: what a fine-tuning job asks for, what the embedded AWS runs it with, and what AWS's container has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainmaster.training.image import HUGGING_FACE, hugging_face_image_uri

ROOT = Path(__file__).parents[2]


def pinned(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE))


ASKED = pinned((ROOT / "model/finetune/requirements.txt").read_text())
LOCKED = pinned((ROOT / "requirements-finetune.lock").read_text())


def test_a_job_asks_for_what_is_in_its_container() -> None:
    assert ASKED["transformers"] == HUGGING_FACE["version"]
    assert {"accelerate", "datasets", "peft", "transformers", "trl"} <= ASKED.keys()


@pytest.mark.parametrize("package", sorted(ASKED))
def test_a_laptop_runs_what_a_job_asks_for(package: str) -> None:
    assert LOCKED[package] == ASKED[package]


def test_the_images_name_says_the_same_versions() -> None:
    tag = hugging_face_image_uri("us-east-1").rpartition(":")[2]
    pytorch = HUGGING_FACE["base_framework_version"].removeprefix("pytorch")
    assert tag.startswith(f"{pytorch}-transformers{HUGGING_FACE['version']}-gpu-{HUGGING_FACE['py_version']}-")


def test_what_is_said_of_the_container_in_words_is_true() -> None:
    said = (ROOT / "model/finetune/requirements.txt").read_text()
    pytorch = HUGGING_FACE["base_framework_version"].removeprefix("pytorch")
    assert f"{pytorch}-transformers{HUGGING_FACE['version']}" in said
