"""The model under AWS's own toolkits: trained by `sagemaker-training`, served by `sagemaker-inference` and by Flask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask
import pytest
from sagemaker_inference.transformer import Transformer

from model import inference, train
from trainmaster.training.trainers import HOUSE_PRICES

MODEL = Path(train.__file__).parent
HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1995}


@dataclass
class Job:
    """A training job's folder, laid out as SageMaker does before it starts the container."""

    base: Path
    log: str = ""
    exit_code: int | None = None

    def run(self, data: bytes, **hyperparameters: str) -> Job:
        source = self.base / "sourcedir.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            for name in HOUSE_PRICES.source:
                tar.add(MODEL / name, name)
        config = {
            "hyperparameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": str(source),
                **hyperparameters,
            },
            "inputdataconfig": {"training": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}},
            "resourceconfig": {
                "current_host": "algo-1",
                "hosts": ["algo-1"],
                "current_instance_type": "ml.m5.large",
                "current_group_name": "homogeneousCluster",
                "instance_groups": [],
                "network_interface_name": "eth0",
            },
        }
        for folder in ("input/config", "input/data/training", "model", "output/data"):
            (self.base / folder).mkdir(parents=True)
        for name, content in config.items():
            (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
        (self.base / "input" / "data" / "training" / "data.csv").write_bytes(data)
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(self.base), "SM_STUDIO_LOCAL_MODE": "true"}
        ended = subprocess.run(
            [Path(sys.executable).with_name("train")],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.log, self.exit_code = ended.stdout + ended.stderr, ended.returncode
        return self


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    data = (MODEL / "data" / "house_data.csv").read_bytes()
    hyperparameters = {"validation-fraction": "0.25", "seed": "3", "model-version": '"v2"'}
    return Job(tmp_path_factory.mktemp("job")).run(data, **hyperparameters)


def test_the_training_toolkit_runs_train_py_to_a_servable_model(job: Job) -> None:
    assert job.exit_code == 0, job.log
    card = json.loads((job.base / "model" / "model_card.json").read_text())
    assert (card["model_version"], card["rows"]["validation"]) == ("v2", 50)
    assert card["metrics"]["r2"] > 0.8
    assert (job.base / "model" / "code" / "inference.py").exists()
    assert (job.base / "output" / "data" / "predictions.csv").exists()


@pytest.mark.parametrize("name", HOUSE_PRICES.metrics)
def test_each_metric_definition_finds_its_figure_once_in_the_log(job: Job, name: str) -> None:
    assert len(re.findall(HOUSE_PRICES.metrics[name], job.log)) == 1


def test_bad_data_ends_the_job_with_our_words_as_its_failure(tmp_path: Path) -> None:
    job = Job(tmp_path).run(b"bedrooms,bathrooms,sqft,year_built,price\n3,2,many,1990,1\n")

    assert job.exit_code == 1
    assert "data.csv line 2, column sqft: 'many' is not a number" in (tmp_path / "output" / "failure").read_text()


@dataclass
class Context:
    """What a model server tells the inference toolkit about a request, and hears back."""

    headers: dict[str, str]
    model_dir: Path
    status: int = 200
    content_type: str = ""
    system_properties: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.system_properties = {"model_dir": str(self.model_dir)}

    @property
    def request_processor(self) -> list[Context]:
        return [self]

    def get_request_properties(self) -> dict[str, str]:
        return self.headers

    def set_response_status(self, code: int, **_: Any) -> None:
        self.status = code

    def set_response_content_type(self, _: int, value: str) -> None:
        self.content_type = value


@pytest.fixture
def transformer(job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transformer]:
    """AWS's toolkit driving the inference.py of the artifact, found as in a container: by name, on the path."""
    monkeypatch.syspath_prepend(str(job.base / "model" / "code"))
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
    yield Transformer()
    assert Path(sys.modules.pop("inference").__file__ or "").is_relative_to(job.base)


def test_the_inference_toolkit_answers_through_inference_py(transformer: Transformer, job: Job) -> None:
    context = Context({"Content-Type": "application/json", "Accept": "*/*"}, job.base / "model")
    [answer] = transformer.transform([{"body": json.dumps(HOUSE).encode()}], context)

    assert (context.status, context.content_type) == (200, "application/json")
    assert json.loads(answer)["model_version"] == "v2"

    context = Context({"Content-Type": "text/csv", "Accept": "text/csv"}, job.base / "model")
    [lines] = transformer.transform([{"body": b"3,2,1800,1995\n2,1,900,1960\n"}], context)

    assert context.content_type == "text/csv"
    assert len(lines.splitlines()) == 2


def test_the_inference_toolkit_hands_a_refusal_through_as_a_400(transformer: Transformer, job: Job) -> None:
    context = Context({"Content-Type": "application/json"}, job.base / "model")
    [response] = transformer.transform([{"body": json.dumps({**HOUSE, "sqft": -1}).encode()}], context)

    assert response.status_code == 400
    assert "sqft is -1; accepted is a number from 100 to 20000" in response.get_json()["error"]


def test_flask_answers_a_refusal_with_its_status_as_the_single_model_container_does(job: Job) -> None:
    """That container's view returns what output_fn returned, a tuple as body and type: only a Response keeps a status."""
    model = inference.model_fn(str(job.base / "model"))
    app = flask.Flask("container")

    @app.post("/invocations")
    def invocations() -> Any:
        houses = inference.input_fn(flask.request.get_data(), flask.request.content_type)
        result = inference.output_fn(inference.predict_fn(houses, model), flask.request.headers.get("Accept"))
        return flask.Response(result[0], mimetype=result[1]) if isinstance(result, tuple) else result

    client = app.test_client()
    assert client.post("/invocations", json=HOUSE).get_json()["predicted_price"] > 0
    refused = client.post("/invocations", json={**HOUSE, "sqft": -1})
    assert (refused.status_code, refused.mimetype) == (400, "application/json")
    assert client.post("/invocations", data=b"x", content_type="application/x-npy").status_code == 415
