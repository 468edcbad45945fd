"""What is known to keep a model's code from starting is said before anything is deployed; what is not known is not guessed at."""

from __future__ import annotations

import sys
from importlib.resources import files

import pytest

from trainmaster.endpoints.models.code import CONTAINER_PYTHON, problems_of

LOADS = "def model_fn(folder): return 0\n"


def problems(inference: str, requirements: str | None = None, **others: str) -> list[str]:
    """Of an artifact with this inference.py; `others` are further files of code/, `__` in their names a slash, `_py` their end."""
    texts = {"code/inference.py": inference}
    texts |= {f"code/{name.replace('__', '/').removesuffix('_py')}.py": text for name, text in others.items()}
    if requirements is not None:
        texts["code/requirements.txt"] = requirements
    return problems_of(set(texts), {name: text.encode() for name, text in texts.items()})


def test_the_code_that_training_packs_has_none() -> None:
    code = {f"code/{name}": files("model").joinpath(name).read_bytes() for name in ("inference.py", "requirements.txt")}
    assert problems_of(set(code), code) == []


FINE = {
    "what the container has": "import numpy as np, sklearn.linear_model, joblib\nfrom werkzeug.wrappers import Response\n",
    "Python's own": "from __future__ import annotations\nimport json, os.path, tomllib\n",
    "imported where it may never run": "def predict_fn(data, model):\n    import torch\n",
    "imported by one that catches it": "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
    "imported under a condition": "import sys\nif sys.platform == 'win32':\n    import torch\n",
}


@pytest.mark.parametrize("inference", FINE.values(), ids=FINE)
def test_imports_that_may_well_work_are_not_refused(inference: str) -> None:
    assert problems(inference + LOADS) == []


MISSING = {
    "a package": ("import lightgbm\n", "code/inference.py imports lightgbm"),
    "a part of one": ("from lightgbm.sklearn import LGBMRegressor\n", "code/inference.py imports lightgbm"),
}


@pytest.mark.parametrize(("inference", "said"), MISSING.values(), ids=MISSING)
def test_a_package_that_nothing_installs_is_refused_with_what_to_do(inference: str, said: str) -> None:
    (problem,) = problems(inference + LOADS, "numpy\nscikit-learn==1.9.0\n")
    assert said in problem
    assert problem.endswith("Add it there, with its version.")


@pytest.mark.parametrize(
    "requirements",
    ["lightgbm==4.6.0", "LightGBM>=4 # fast", "some-distribution-of-it==1.0", "./wheels/anything.whl\n-r more.txt"],
)
def test_what_requirements_may_bring_is_not_missing(requirements: str) -> None:
    names = {"code/inference.py", "code/requirements.txt", "code/more.txt", "code/wheels/anything.whl"}
    texts = {"code/inference.py": b"import lightgbm\n" + LOADS.encode(), "code/requirements.txt": requirements.encode()}
    assert problems_of(names, texts) == []


def test_modules_of_the_artifact_are_followed_to_what_they_import() -> None:
    inference = "from shapes import House\nimport parts.roof\n" + LOADS
    found = problems(
        inference,
        shapes="import torch\n",
        parts____init__="",
        parts__roof="from . import beam\n",
        parts__beam="import jax\n",
    )
    assert [problem.split(",")[0] for problem in found] == [
        "code/shapes.py imports torch",
        "code/parts/beam.py imports jax",
    ]


def test_modules_of_the_artifact_that_nothing_imports_are_not_looked_at() -> None:
    assert problems(LOADS, training="import torch\n") == []


def test_modules_that_import_each_other_end() -> None:
    assert problems("import one\n" + LOADS, one="import two\n", two="import one\n") == []


@pytest.mark.parametrize(
    "inference",
    [
        "from shared import *\n",
        "from shared import model_fn\n",
        "if True:\n    def model_fn(f): ...\n",
        "model_fn = len\n",
    ],
)
def test_a_model_fn_from_anywhere_will_do(inference: str) -> None:
    assert problems(inference, shared=LOADS) == []


def test_code_without_a_model_fn_cannot_load_a_model() -> None:
    assert problems("def predict_fn(data, model): return 1\n") == [
        "code/inference.py defines no model_fn, by which the container loads a model. Add it."
    ]


def test_code_that_is_not_python_is_refused_by_a_python_as_new_as_the_containers() -> None:
    found = problems("def model_fn(folder: return 0\n")
    known = sys.version_info >= CONTAINER_PYTHON
    assert (["code/inference.py is not Python" in problem for problem in found] == [True]) is known


UNREADABLE = {
    "a line that is none": ("numpy = = 1.0", "a line pip cannot read, 'numpy = = 1.0'"),
    "a file that is not there": ("-r more.txt", "names more.txt, which is not in the artifact"),
    "a wheel that is not there": ("./wheels/mine.whl", "names ./wheels/mine.whl, which is not in the artifact"),
    "two versions of one": ("numpy==1.0\nNumPy==2.0", "pins NumPy to 1.0 and to 2.0"),
}


@pytest.mark.parametrize(("requirements", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_requirements_that_pip_will_not_take_are_refused(requirements: str, said: str) -> None:
    (problem,) = problems(LOADS, requirements)
    assert said in problem


@pytest.mark.parametrize(
    "requirements",
    [
        "# none\n\n",
        "--no-index\nnumpy",
        "numpy==2.1 \\\n  --hash=sha256:00",
        "numpy==1.0; python_version < '3'\nnumpy==2.0; python_version > '3'",
        "tool @ https://example.com/tool.whl",
    ],
    ids=["comments", "options", "hashes", "markers", "addresses"],
)
def test_requirements_that_pip_reads_are_left_to_it(requirements: str) -> None:
    assert problems(LOADS, requirements) == []
