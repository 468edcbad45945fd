"""The forms of Prefect's UI: what their schemas have to be so that people are asked well, and nothing wrong is let through."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from pydantic import BaseModel, ValidationError

from trainmaster.budget.choices import instance_label, known_types
from trainmaster.budget.prices import shipped_prices
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.form import filled_in, words_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.training.regions import REGIONS
from trainmaster.training.request import TrainingChoices, TrainingRequest, decides
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

ROOT = Path(__file__).parents[2]
LISTED = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
CONTROLS = {"string", "integer", "number", "boolean"}
NEEDED: dict[str, Any] = {
    "open-workspace": {"template": "python-ml", "name": "mine"},
    "compile-image": {"template": "custom-pytorch"},
    "close-workspace": {"name": "mine"},
    "upload-dataset": {"file": "s3://b/k", "name": "chats"},
    "stop-training": {"job": "cats-1", "reason": "enough"},
    "approve-model": {"model_group": "cats", "model_version": 1},
    "deploy-endpoint": {"model_group": "cats"},
    "remove-endpoint": {"endpoint_name": "cats"},
    "rollback-endpoint": {"endpoint_name": "cats"},
}
"""What a form has no default for, by deployment."""

each_form = pytest.mark.parametrize("name", [deployment["name"] for deployment in LISTED])


def flow_of(name: str) -> Any:
    [entrypoint] = [one["entrypoint"] for one in LISTED if one["name"] == name]
    path, _, function = entrypoint.partition(":")
    return load_flow_from_entrypoint(f"{ROOT / path}:{function}")


def schema_of(name: str) -> dict[str, Any]:
    """As Prefect's server has it of a deployment."""
    return parameter_schema(flow_of(name)).model_dump_for_openapi()


def resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {}), **field}


def parts_of(schema: dict[str, Any], path: str = "request") -> Iterator[tuple[str, dict[str, Any]]]:
    """The form, and each group of fields in it, with how it is reached."""
    todo = [(path, resolved(schema["properties"][path], schema))]
    while todo:
        where, part = todo.pop()
        yield where, part
        for name, field in part["properties"].items():
            if "properties" in resolved(field, schema):
                todo.append((f"{where}.{name}", resolved(field, schema)))


def begun(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a form has in it before anybody types."""
    values = {}
    for name, raw in part["properties"].items():
        field = resolved(raw, schema)
        if "properties" in field:
            if inner := begun(field, schema):
                values[name] = inner
        elif "default" in field:
            values[name] = field["default"]
    return values


def problems_of(name: str, request: dict[str, Any]) -> list[str]:
    """What Prefect's server says of a run with the request, before there is one."""
    found = validate({"request": request}, schema_of(name), preprocess=True, allow_none_with_default=True)
    return [error.message for error in found]


@each_form
def test_every_field_is_one_control_and_none_is_an_editor_for_json(name: str) -> None:
    schema = schema_of(name)
    for where, part in parts_of(schema):
        for field_name, raw in part["properties"].items():
            field, what = resolved(raw, schema), f"{where}.{field_name}"
            assert not {"anyOf", "oneOf", "allOf"} & field.keys(), what
            kind = field.get("type")
            assert (
                kind in CONTROLS or field.get("properties") or (kind, field["items"]["type"]) == ("array", "string")
            ), what


@each_form
def test_the_order_of_fields_does_not_rest_on_how_a_database_keeps_json(name: str) -> None:
    for where, part in parts_of(schema_of(name)):
        assert [field["position"] for field in part["properties"].values()] == list(range(len(part["properties"]))), (
            where
        )


@each_form
def test_every_field_says_what_it_is_in_words_of_people(name: str) -> None:
    schema = schema_of(name)
    for where, part in parts_of(schema):
        for field_name, raw in part["properties"].items():
            field, what = resolved(raw, schema), f"{where}.{field_name}"
            assert field["title"][:1] == field["title"][:1].upper() != "", what
            assert field["description"].endswith((".", "?")), what
            assert "`" not in field["description"], what
            assert "TRAINMASTER_" not in field["description"], what


@each_form
def test_a_form_as_it_opens_is_let_through_and_is_the_request_with_its_defaults(name: str) -> None:
    schema, flow = schema_of(name), flow_of(name)
    [(_, form), *_] = parts_of(schema)
    values = {**begun(form, schema), **NEEDED.get(name, {})}
    assert problems_of(name, values) == []
    kind = type(flow.validate_parameters({"request": values})["request"])
    assert kind.model_validate(values) == kind.model_validate(NEEDED.get(name, {}))


@each_form
def test_what_is_in_no_form_is_refused_before_there_is_a_run(name: str) -> None:
    assert any("nonsense" in said for said in problems_of(name, {**NEEDED.get(name, {}), "nonsense": 1}))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("train-model", {"budget_limit": 0}),
        ("train-model", {"budget_limit": 1_000_001}),
        ("train-model", {"max_runtime_seconds": 59}),
        ("train-model", {"instance_count": 21}),
        ("train-model", {"instance_type": "ml.nope"}),
        ("train-model", {"instance_types": ["ml.nope"]}),
        ("train-model", {"region": "us-nowhere-1"}),
        ("train-model", {"tags": ["team"]}),
        ("deploy-endpoint", {"max_hourly_cost": -1}),
        ("deploy-endpoint", {"model_uri": "http://elsewhere"}),
        ("deploy-endpoint", {"scaling": {"max_instances": 21}}),
        ("deploy-endpoint", {"challenger": {"traffic_percent": 5}}),
        ("deploy-endpoint", {"rollout": {"step_percent": 51}}),
        ("deploy-endpoint", {"lifetime": {"idle_minutes": 4}}),
        ("open-workspace", {"template": "nope", "name": "mine"}),
        ("open-workspace", {"template": "python-ml", "name": "mine", "max_hourly_cost": 0}),
        ("close-workspace", {"name": "mine", "dry_run": "maybe"}),
        ("upload-dataset", {"file": "a", "name": "b", "format": "xml"}),
        ("train-and-serve", {"training": {"budget_limit": -1}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_out_of_bounds_is_refused_before_there_is_a_run(name: str, wrong: dict[str, Any]) -> None:
    assert problems_of(name, wrong)


class TestInstanceTypes:
    def test_a_choice_says_its_price_and_its_gpus(self) -> None:
        choices = schema_of("train-model")["definitions"]["TrainingRequest"]["properties"]["instance_type"]["enum"]
        assert "ml.g5.xlarge · $1.408/h · 1 × A10G 24 GB" in choices
        assert "ml.m5.xlarge · $0.23/h · 4 vCPU, 16 GiB" in choices

    def test_the_priced_come_first_and_the_cheapest_of_them_at_the_top(self) -> None:
        choices = schema_of("deploy-endpoint")["definitions"]["EndpointRequest"]["properties"]["instance_type"]["enum"]
        count = len(known_types("hosting"))
        assert all(" · $" in choice for choice in choices[:count])
        prices = [Decimal(choice.split(" · $")[1].split("/h")[0]) for choice in choices[:count]]
        assert prices == sorted(prices)
        assert choices[count:] == known_types("hosting")

    @pytest.mark.parametrize("instance_type", known_types("training"))
    def test_a_job_is_the_same_however_its_machine_was_spelled(self, instance_type: str) -> None:
        plain = TrainingRequest(instance_type=instance_type, instance_types=[instance_type])
        label = instance_label(instance_type, "training", shipped_prices())
        spelled = TrainingRequest(instance_type=label, instance_types=[label])
        assert (spelled, decides(spelled)) == (plain, decides(plain))
        assert spelled.instance_type == instance_type

    def test_workspaces_are_offered_the_machines_their_templates_allow(self) -> None:
        choices = schema_of("open-workspace")["definitions"]["OpenWorkspaceRequest"]["properties"]["instance_type"][
            "enum"
        ]
        assert any(choice.startswith("ml.g5.xlarge · $") and "A10G" in choice for choice in choices)
        assert any(choice.startswith("t3.xlarge · $") for choice in choices)
        assert not any(choice.startswith(("p5.", "ml.p5.")) for choice in choices)
        request = OpenWorkspaceRequest(template="python-ml", name="mine", instance_type=choices[0])
        assert request.instance_type == choices[0].split(" ")[0]


def test_templates_are_those_of_the_folder_and_images_only_of_those_that_have_one() -> None:
    names = schema_of("open-workspace")["definitions"]["OpenWorkspaceRequest"]["properties"]["template"]["enum"]
    assert names == sorted(path.stem for path in (ROOT / "deployments" / "workspaces").glob("*.yaml"))
    images = schema_of("compile-image")["definitions"]["CompileImageRequest"]["properties"]["template"]["enum"]
    assert images == ["custom-pytorch"]


def test_a_form_made_where_the_templates_are_not_takes_any_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(tmp_path / "elsewhere"))
    fields = OpenWorkspaceRequest.model_json_schema()["properties"]
    assert "enum" not in fields["template"]
    assert "enum" not in fields["instance_type"]
    assert fields["template"]["pattern"]


def test_regions_are_all_that_botocore_knows_sagemaker_in() -> None:
    session = boto3.session.Session()
    known = [session.get_available_regions("sagemaker", partition) for partition in ("aws", "aws-us-gov", "aws-cn")]
    assert sorted(REGIONS) == sorted(region for regions in known for region in regions)


def test_what_has_a_default_that_nobody_changes_is_taken_but_not_asked_for() -> None:
    schema = schema_of("train-model")["definitions"]["TrainingRequest"]
    assert "platform" not in schema["properties"]
    assert problems_of("train-model", {"platform": "sagemaker"}) == []
    assert problems_of("train-model", {"platform": "lambda"})


_LIKE_JSON = st.sampled_from(["1.10", "5", "true", "null", '"x"', " 5", "x ", "[1", "NaN", "{}"])
_JSON: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | _LIKE_JSON
    | st.lists(st.integers() | _LIKE_JSON, max_size=3)
)


class TestWords:
    def test_a_mapping_is_given_as_words_or_as_what_it_is(self) -> None:
        words = TrainingRequest.model_validate(
            {"tags": ["team=vision", "url=a=b"], "hyperparameters": ["epochs=3", "rate=1e-4", "name=cats"]}
        )
        assert words.tags == {"team": "vision", "url": "a=b"}
        assert words.hyperparameters == {"epochs": 3, "rate": 1e-4, "name": "cats"}
        same = TrainingRequest(tags=words.tags, hyperparameters=words.hyperparameters)
        assert decides(words) == decides(same)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["team"], "'team' is not name=value"),
            (["=x"], "'=x' is not name=value"),
            (["a=1", "a=2"], "a is given twice"),
        ],
        ids=["no value", "no name", "twice"],
    )
    def test_a_word_that_is_none_is_refused_by_what_is_wrong_with_it(self, words: list[str], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            TrainingRequest.model_validate({"tags": words})

    @given(st.dictionaries(st.text(max_size=20), _JSON, max_size=5))
    def test_words_say_all_a_mapping_said_and_nothing_else(self, named: dict[str, Any]) -> None:
        request = TrainingRequest.model_validate({"hyperparameters": words_of(named)})
        assert request.hyperparameters == named
        assert repr(request.hyperparameters) == repr(named)

    @given(st.dictionaries(st.text(max_size=20), st.text(max_size=20) | _LIKE_JSON, max_size=5))
    def test_words_of_texts_are_texts(self, named: dict[str, str]) -> None:
        assert TrainingRequest.model_validate({"environment": words_of(named)}).environment == named

    @pytest.mark.parametrize("text", ["1.10", "true", "null", '"quoted"', " 5", "[" * 20_000], ids=range(6))
    def test_a_run_started_for_a_job_is_of_that_job_whatever_its_hyperparameters_look_like(self, text: str) -> None:
        asked = TrainingRequest(hyperparameters={"revision": text, "a=b": 5}, environment={"PREFIX": text})
        started = TrainingRequest.model_validate(filled_in(asked.model_dump(mode="json"), schema_of("train-model")))
        assert problems_of("train-model", filled_in(asked.model_dump(mode="json"), schema_of("train-model"))) == []
        assert decides(started) == decides(asked)


REQUESTS: list[tuple[str, type[BaseModel], dict[str, Any]]] = [
    (
        "train-model",
        TrainingRequest,
        {"budget_limit": "1.50", "tags": {"a": "b"}, "hyperparameters": {"epochs": 3, "lr": [1, 2], "name": "cats"}},
    ),
    (
        "deploy-endpoint",
        EndpointRequest,
        {"model_group": "cats", "scaling": {"max_instances": 3}, "lifetime": {"hours": 2}, "max_hourly_cost": "2.00"},
    ),
    (
        "deploy-endpoint",
        EndpointRequest,
        {"model_uri": "s3://bucket/model.tar.gz", "serverless": {}, "tags": {"a": "b"}},
    ),
    ("open-workspace", OpenWorkspaceRequest, {"template": "python-ml", "name": "mine", "tags": {"a": "b"}}),
    ("open-workspace", OpenWorkspaceRequest, {"template": "python-ml", "name": "mine", "max_hourly_cost": "1.00"}),
    ("close-workspace", CloseWorkspaceRequest, {"name": "mine", "action": "delete", "dry_run": False}),
    ("close-workspace", CloseWorkspaceRequest, {"name": "mine"}),
    ("migrate-datasets", MigrateDatasetsRequest, {"phase": "prune", "dry_run": False, "asked_by": "me"}),
]


@pytest.mark.parametrize(
    ("name", "kind", "asked"), REQUESTS, ids=[f"{number}-{one[0]}" for number, one in enumerate(REQUESTS)]
)
def test_a_request_in_the_words_of_its_form_is_let_through_and_means_the_same(
    name: str, kind: type[BaseModel], asked: dict[str, Any]
) -> None:
    request = kind.model_validate(asked)
    spelled = filled_in(request.model_dump(mode="json"), schema_of(name))
    assert problems_of(name, spelled) == []
    assert kind.model_validate(spelled) == request


def test_a_choice_within_a_choice_is_spelled_as_its_form_does() -> None:
    training = TrainingChoices(budget_limit=Decimal("1.50"), tags={"a": "b"}).model_dump(mode="json")
    spelled = filled_in({"training": training}, schema_of("train-and-serve"))
    assert problems_of("train-and-serve", spelled) == []
    assert spelled["training"]["tags"] == ["a=b"]
    assert spelled["training"]["budget_limit"] == 1.5
