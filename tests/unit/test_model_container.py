"""The model runs in AWS's scikit-learn container as it is: only what is there is imported, in the version that is there."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from model import inference, train
from trainmaster.datasets import houses

ROOT = Path(train.__file__).parent.parent
REQUIREMENTS = (ROOT / "model" / "requirements.txt").read_text()
IMPORTED_AS = {"scikit-learn": "sklearn"}


def required() -> list[str]:
    return [line for line in REQUIREMENTS.splitlines() if line and not line.startswith("#")]


def imports(script: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{script.name} imports a neighbour"
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names)


def test_the_scripts_import_nothing_but_what_their_requirements_name() -> None:
    names = {re.split("[=<>]", line)[0] for line in required()}
    scripts = [Path(train.__file__), Path(inference.__file__)]
    assert set().union(*map(imports, scripts)) == {IMPORTED_AS.get(name, name) for name in names}


@pytest.mark.parametrize("scope", ["training", "inference"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_the_container_of_the_pinned_scikit_learn_exists(scope: str, region: str) -> None:
    from sagemaker.core import image_uris

    from trainmaster.training.image import SKLEARN_IMAGE, sklearn_image_uri

    [pin] = [line for line in required() if line.startswith("scikit-learn==")]
    release = pin.removeprefix("scikit-learn==")
    asked = {"version": SKLEARN_IMAGE, "py_version": "py3", "instance_type": "ml.m5.large"}
    uri = image_uris.retrieve("sklearn", region, **asked, image_scope=scope)

    assert uri == sklearn_image_uri(region)
    assert re.fullmatch(
        rf"\d{{12}}\.dkr\.ecr\.{region}\.amazonaws\.com/sagemaker-scikit-learn:{SKLEARN_IMAGE}-cpu-py3", uri
    )
    # The tag is the release's first two numbers and AWS's own count of images made of it.
    assert release.rpartition(".")[0] == SKLEARN_IMAGE.partition("-")[0]


def test_the_pin_is_the_projects_pin_and_what_is_installed() -> None:
    [pin] = [line for line in required() if line.startswith("scikit-learn==")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert pin in project["optional-dependencies"]["embedded"]
    assert pin == f"scikit-learn=={version('scikit-learn')}"


def test_a_split_is_refused_before_launch_by_the_limits_of_train_py() -> None:
    assert (houses.FEWEST_TRAINED_ON, houses.FEWEST_HELD_OUT) == (
        train.MINIMUM_TRAINING_ROWS,
        train.MINIMUM_VALIDATION_ROWS,
    )
