"""One description of where runs are carried out becomes the job template of each type of pool, which that type's own worker takes."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration
from prefect_aws.workers.ecs_worker import ECSJobConfiguration
from pydantic import ValidationError

from deployments.set_up.job_templates import default_template, job_template
from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.setup.infrastructure import Infrastructure, read_infrastructure
from trainmaster.setup.wanted import POOL_TYPES, PoolType

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deployments" / "work-pool.yaml"
DESCRIBED = read_infrastructure(SHIPPED)


def configured(kind: type[BaseJobConfiguration], pool_type: PoolType) -> Any:
    """What a worker would carry a run out with; it asks its client for blocks alone, of which there are none."""
    template = job_template(pool_type, DESCRIBED)
    return asyncio.run(kind.from_template_and_values(template, {}, client=cast("Any", object())))


def described(**changed: Any) -> Infrastructure:
    return Infrastructure.model_validate({**DESCRIBED.model_dump(), **changed})


@pytest.mark.parametrize("pool_type", POOL_TYPES)
class TestEveryTemplate:
    def test_differs_from_the_workers_own_in_what_is_ours_alone(self, pool_type: PoolType) -> None:
        own, ours = default_template(pool_type), job_template(pool_type, DESCRIBED)
        assert ours["variables"]["properties"].keys() == own["variables"]["properties"].keys()
        for name, variable in own["variables"]["properties"].items():
            assert {**ours["variables"]["properties"][name], "default": None} == {**variable, "default": None}
        assert ours["job_configuration"].keys() == own["job_configuration"].keys()

    def test_holds_defaults_that_its_own_schema_takes(self, pool_type: PoolType) -> None:
        variables = job_template(pool_type, DESCRIBED)["variables"]
        defaults = {
            name: one["default"] for name, one in variables["properties"].items() if one.get("default") is not None
        }
        jsonschema.validate(defaults, variables)

    def test_asks_for_no_variable_that_is_not_there(self, pool_type: PoolType) -> None:
        template = job_template(pool_type, DESCRIBED)
        asked = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
        assert asked <= template["variables"]["properties"].keys()

    def test_has_the_environment_and_the_labels(self, pool_type: PoolType) -> None:
        variables = job_template(pool_type, DESCRIBED)["variables"]["properties"]
        assert variables["env"]["default"] == DESCRIBED.environment
        assert variables["labels"]["default"] == DESCRIBED.labels

    def test_is_the_same_each_time_and_leaves_the_workers_own_as_it_was(self, pool_type: PoolType) -> None:
        before = default_template(pool_type)
        assert job_template(pool_type, DESCRIBED) == job_template(pool_type, DESCRIBED)
        assert default_template(pool_type) == before


def test_a_process_has_the_environment() -> None:
    assert configured(ProcessJobConfiguration, "process").env == DESCRIBED.environment


def test_a_task_of_ecs_has_image_machine_roles_logs_and_its_secrets_by_reference() -> None:
    ecs = DESCRIBED.ecs
    assert ecs
    task = configured(ECSJobConfiguration, "ecs")
    definition, request = task.task_definition, task.task_run_request
    [container] = definition["containerDefinitions"]
    assert container["image"] == DESCRIBED.image
    assert {one["name"]: one["valueFrom"] for one in container["secrets"]} == ecs.secrets
    assert (definition["cpu"], definition["memory"]) == (1024, 2048)
    assert definition["executionRoleArn"] == ecs.execution_role_arn
    assert request["overrides"]["taskRoleArn"] == ecs.task_role_arn
    assert (request["cluster"], task.vpc_id, task.configure_cloudwatch_logs) == (ecs.cluster, ecs.vpc_id, True)


def test_a_job_of_kubernetes_has_image_machine_account_and_its_secrets_by_reference() -> None:
    template = job_template("kubernetes", DESCRIBED)
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "trainmaster-secrets"}}]
    assert pod["securityContext"]["runAsNonRoot"]
    defaults = {name: one.get("default") for name, one in template["variables"]["properties"].items()}
    assert (defaults["image"], defaults["cpu_limit"], defaults["memory_limit"]) == (DESCRIBED.image, "1000m", "2048Mi")
    assert (defaults["namespace"], defaults["service_account_name"]) == ("trainmaster", "trainmaster-run")


def secret_variables() -> list[str]:
    """Of every setting whose value is secret."""
    fields = Settings.model_fields.items()
    secret = [(name, one) for name, one in fields if "SecretStr" in str(one.annotation)]
    return [
        str(one.validation_alias) if one.validation_alias else f"TRAINMASTER_{name.upper()}" for name, one in secret
    ]


@pytest.mark.parametrize(
    "variable", [*secret_variables(), "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY"]
)
def test_what_is_secret_is_refused_where_everybody_sees_it(variable: str) -> None:
    with pytest.raises(ValidationError, match=f"{variable} is secret: name where it is kept"):
        described(environment={variable: "value"})


def test_a_password_in_an_address_is_secret_whatever_it_is_called_and_is_not_quoted() -> None:
    with pytest.raises(ValidationError, match="CACHE is secret"):
        described(environment={"CACHE": "redis://me:s3cret@cache:6379"})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"image": "trainmaster:latest"}, "another image tomorrow"),
        ({"cpu": 1000}, "cpu 1000 is none of Fargate's"),
        ({"memory_mb": 16384}, "2048 to 8192 MB"),
        ({"cpu": 8192, "memory_mb": 17408}, "16384 to 61440 MB in steps of 4096"),
        ({"labels": {"of whom": "me"}}, "pattern"),
        ({"machine": "big"}, "Extra inputs"),
    ],
    ids=["latest", "cpu", "memory", "step of memory", "label", "unknown"],
)
def test_what_no_pool_could_have_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        described(**changed)


def test_a_type_that_the_file_says_nothing_of_is_refused() -> None:
    for pool_type in ("ecs", "kubernetes"):
        with pytest.raises(NotConfiguredError, match=f"says nothing of {pool_type}"):
            job_template(pool_type, described(**{pool_type: None}))


def test_all_that_is_wrong_with_a_file_is_said_by_line_without_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text("image: trainmaster:latest\ncpu: 8\nenvironment:\n  DATABASE_URL: postgresql://me:s3cret@db/x\n")
    with pytest.raises(NotConfiguredError) as refused:
        read_infrastructure(file)
    said = str(refused.value)
    assert "line 1" in said
    assert "line 2" in said
    assert "DATABASE_URL is secret" in said
    assert "s3cret" not in said
    with pytest.raises(NotConfiguredError, match="cannot be read"):
        read_infrastructure(tmp_path / "none.yaml")
