"""`trainmaster endpoints`, as a user types it, on the embedded AWS, without a Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws
from house_models import put_house_model
from train_shell import Said

from trainmaster import cli

HOUSE = '{"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1990}'


@pytest.fixture(scope="module")
def first_model(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put_house_model(embedded, tmp_path_factory.mktemp("first"), "v1")


@pytest.fixture(scope="module")
def second_model(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put_house_model(embedded, tmp_path_factory.mktemp("second"), "v2")


@pytest.fixture
def endpoints(
    client_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """In this process, since loading everything takes seconds; the books are the test's own."""
    for name, value in {**client_environment, "TRAINMASTER_STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Said:
        try:
            code = cli.main(["endpoints", *arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def name(endpoints: Callable[..., Said]) -> Iterator[str]:
    """Of an endpoint that is gone after the test."""
    name = f"typed-{uuid4().hex[:8]}"
    yield name
    assert endpoints("remove", name, "--yes").code == 0


def test_a_model_is_planned_deployed_shown_asked_and_removed(
    endpoints: Callable[..., Said], first_model: str, name: str
) -> None:
    wanted = ["--endpoint-name", name, "--model-uri", first_model]
    planned = endpoints("plan", *wanted, "--json")
    assert planned.code == 0, planned
    assert [step.split()[0] for step in planned.json["steps"]].count("create") == 3, planned.json
    assert (planned.json["hourly_cost_now"], planned.json["hourly_cost"]) == ("0", "0.115")
    assert name not in endpoints("list").out

    deployed = endpoints("deploy", *wanted)
    assert (deployed.code, f"Endpoint {name} serves" in deployed.out) == (0, True), deployed
    again = endpoints("deploy", *wanted, "--json")
    assert again.json["steps"] == []
    assert "nothing to do" in endpoints("plan", *wanted).out

    listed = endpoints("list", "--json").json["endpoints"]
    [one] = [one for one in listed if one["name"] == name]
    assert (one["status"], one["hourly"]) == ("InService", "0.115")
    assert name in endpoints("list").out
    shown = endpoints("show", name)
    assert (shown.code, first_model in shown.out, "$0.12" in shown.out or "$0.115" in shown.out) == (0, True, True)

    answered = endpoints("invoke", name, "--data", HOUSE, "--json").json["answer"]
    assert (answered["model_version"], answered["predicted_price"] > 0) == ("v1", True)
    assert "predicted_price" in endpoints("invoke", name, "--example").out

    asked = endpoints("remove", name)
    assert (asked.code, f"Do it: trainmaster endpoints remove {name} --yes" in asked.err) == (0, True), asked
    assert endpoints("show", name).code == 0
    assert endpoints("remove", name, "--yes", "--json").json["removed"] is True
    gone = endpoints("show", name)
    assert (gone.code, f"There is no endpoint {name}" in gone.err) == (1, True), gone
    assert "nothing" in endpoints("remove", name, "--yes").out
