"""`trainmaster configs add|list|show`, as a user types them, on a catalogue of a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from catalogues import new_dataset

from trainmaster import cli
from trainmaster.catalog.catalogue import open_catalogue

USER = uuid4()
OWN: dict[str, Any] = {
    "trainer": {
        "image_uri": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3",
        "source_uri": "s3://bucket/programs/words/sourcedir.tar.gz",
        "entry_point": "train.py",
    },
    "epochs": 5,
}


@pytest.fixture
def configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TRAINMASTER_USER_ID", str(USER))
    monkeypatch.setenv("DATABASE_URL", "")

    def run(*arguments: str, config: object = None) -> tuple[int, str, str]:
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = cli.main(["configs", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """The id of one of the user's, in S3."""
    catalogue = open_catalogue(None, tmp_path)
    one = catalogue.datasets.insert(new_dataset(USER, ["s3"]))
    catalogue.close()
    return str(one.id)


def test_a_config_is_added_once_listed_and_shown_by_name_and_id(
    configs: Callable[..., tuple[int, str, str]], dataset: str
) -> None:
    code, said, hint = configs("add", "my words", "-", "--dataset", dataset, config=OWN)
    id_ = said.split()[-1]
    assert (code, said) == (0, f"Training config my words is added: {id_}\n")
    assert hint.endswith(f"trainmaster train plan --training-config-id {id_}\n")
    assert configs("add", "my words", "-", "--dataset", dataset, config=OWN)[1].endswith(
        f"was there already, the same: {id_}\n"
    )
    assert configs("list")[1].splitlines()[1:] == [f"{id_}         1  my words"]
    assert json.loads(configs("list", "--json")[1]) == {
        "configs": [{"id": id_, "name": "my words", "datasets": 1}],
        "has_more": False,
    }
    for wanted in (id_, "my words"):
        shown = json.loads(configs("show", wanted, "--json")[1])
        assert (shown["id"], shown["config"], shown["datasets"]) == (id_, OWN, [dataset])
    assert f"training    {dataset}  cats\n" in configs("show", id_)[1]
    assert configs("show", id_, "--user", str(uuid4()))[0] == 1
    assert "There are none" in configs("list", "--user", str(uuid4()))[2]


def test_everything_wrong_with_a_config_is_said_at_once_and_it_is_not_added(
    configs: Callable[..., tuple[int, str, str]],
) -> None:
    stranger = str(uuid4())
    wrong = {
        "trainer": {**OWN["trainer"], "entry_point": "../train.py"},
        "hub_token": "hf_" + "a" * 20,
        "x": "y" * 2501,
    }
    code, said, told = configs("add", "c", "-", "--dataset", stranger, "--json", config=wrong)
    assert code == 1
    assert {problem["kind"] for problem in json.loads(said)["problems"]} == {
        "config", "secret", "hyperparameters", "datasets",
    }  # fmt: skip
    assert "`trainer.entry_point`" in told
    assert f"has no dataset {stranger}" in told
    assert "hf_" not in said + told
    assert json.loads(configs("list", "--json")[1])["configs"] == []


def test_a_fine_tuning_that_its_trainer_would_refuse_is_not_added(
    configs: Callable[..., tuple[int, str, str]], dataset: str
) -> None:
    config = {"training_method": "dpo", "model_name": "me/mine", "epochs": "three", "batch_size": 0}
    code, _, said = configs("add", "wrong", "-", "--dataset", dataset, config=config)
    assert code == 1
    for wrong in ("num_epochs", "batch_size", f"Dataset {dataset}", "training_method dpo learns from: dpo"):
        assert wrong in said
    assert configs("list", "--json")[1] == '{"configs": [], "has_more": false}\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "no JSON object"),
        ("{", "no JSON"),
        ('{"a": NaN}', "it has NaN"),
        ('{"a": 1, "b": {"a": 2, "a": 3}}', "'a' twice"),
    ],
)
def test_what_is_no_json_object_is_refused_with_why(
    configs: Callable[..., tuple[int, str, str]], text: str, why: str
) -> None:
    code, _, told = configs("add", "c", "-", config=text)
    assert code == 2
    assert why in told


def test_a_name_of_several_configs_is_not_guessed(configs: Callable[..., tuple[int, str, str]], dataset: str) -> None:
    ids = [configs("add", "c", "-", "--dataset", dataset, config=OWN | {"epochs": n})[1].split()[-1] for n in range(2)]
    code, _, told = configs("show", "c")
    assert code == 1
    assert all(id_ in told for id_ in ids)
    assert "no training config 'd'" in configs("show", "d")[2]
