"""`trainmaster endpoints publish`, and the very command it prints, typed into a shell with curl in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws
from house_models import put_house_model
from train_shell import Said

WITHIN = 120.0
HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1990}


class Shell:
    """A user's, in an empty folder, with `trainmaster` and curl on its path."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**environment, "PATH": path, "TRAINMASTER_STATE_DIR": str(folder / "state")}
        self._folder = folder

    def __call__(self, line: str) -> Said:
        done = subprocess.run(
            ["bash", "-c", line],
            env=self._environment, cwd=self._folder, capture_output=True, text=True, timeout=WITHIN, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shell(client_environment: dict[str, str], tmp_path: Path) -> Shell:
    return Shell(client_environment, tmp_path)


@pytest.fixture
def name(shell: Shell, embedded: EmbeddedAws, tmp_path: Path) -> Iterator[str]:
    """Of an endpoint with a model of houses, gone after the test."""
    name = f"public-{uuid4().hex[:8]}"
    model = put_house_model(embedded, tmp_path, "v1")
    deployed = shell(f"trainmaster endpoints deploy --endpoint-name {name} --model-uri {model}")
    assert deployed.code == 0, deployed
    yield name
    assert shell(f"trainmaster endpoints withdraw {name} --yes").code == 0
    assert shell(f"trainmaster endpoints remove {name} --yes").code == 0


def test_what_publish_prints_asks_the_api_and_the_key_is_shown_by_its_own_command_alone(
    shell: Shell, name: str
) -> None:
    planned = shell(f"trainmaster endpoints publish {name} --dry-run")
    assert (planned.code, f"create stack predict-{name}" in planned.out) == (0, True), planned
    published = shell(f"trainmaster endpoints publish {name} --requests-per-day 500")
    assert published.code == 0, published
    command = published.out.splitlines()[-1].strip()
    asked = shell(command)
    assert asked.code == 0, (command, asked)
    answer = json.loads(asked.out)
    assert answer["model_version"] == "v1", answer
    assert answer["predicted_price"] > 0
    assert answer["timestamp"].endswith("Z")

    key = shell(f"trainmaster endpoints key {name}").out.strip()
    assert len(key) >= 30
    assert key not in published.out + published.err

    url = command.split()[-1]
    ask = f"curl -s -o said -w '%{{http_code}}' -H 'x-api-key: {key}' -H 'Content-Type: application/json' {url} -d"
    assert shell(f"{ask} '{json.dumps(HOUSE)}'").out == "200"
    assert shell(f"{ask} '{json.dumps({**HOUSE, 'sqft': 5})}'; cat said").out.startswith("400")
    assert "sqft is 5; a number from 100 to" in shell("cat said").out

    again = shell(f"trainmaster endpoints publish {name} --requests-per-day 500 --json")
    assert again.json["steps"] == []
    assert again.json["url"] == url


def test_an_endpoint_that_is_not_there_cannot_be_published_and_has_no_key(shell: Shell) -> None:
    for command in ("publish", "key"):
        refused = shell(f"trainmaster endpoints {command} nobodys")
        assert (refused.code, refused.out) == (1, ""), refused
        assert "nobodys" in refused.err
    assert shell("trainmaster endpoints withdraw nobodys").out == "Endpoint nobodys has no public API.\n"
