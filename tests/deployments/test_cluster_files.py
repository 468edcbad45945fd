"""What starts Trainmaster on one machine, in Kubernetes and in ECS: nothing misspelt, nothing secret, nothing that is not there."""

from __future__ import annotations

import re
import shlex
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import (
    MANIFESTS,
    ComposeFile,
    ComposeService,
    ConfigMap,
    Deployment,
    PodDisruptionBudget,
    prefect_variables,
    texts,
)
from prefect_aws._cli.ecs_worker import ecs_worker_app
from typer.main import get_command

from trainmaster.setup.infrastructure import read_infrastructure
from trainmaster.setup.wanted import POOL

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
COMPOSE = ComposeFile.model_validate(yaml.safe_load((DEPLOYMENTS / "compose" / "compose.yaml").read_text()))
SERVICES = COMPOSE.services
PROXY = (DEPLOYMENTS / "compose" / "nginx.conf").read_text()
SHARED = dict(
    line.split("=", 1)
    for line in (DEPLOYMENTS / "compose" / "prefect-server.env").read_text().splitlines()
    if line and not line.startswith("#")
)
KUBERNETES = DEPLOYMENTS / "kubernetes"
MANIFESTS_OF_OURS = MANIFESTS.validate_python(list(yaml.safe_load_all((KUBERNETES / "trainmaster.yaml").read_text())))
SERVER: dict[str, Any] = yaml.safe_load((KUBERNETES / "prefect-server-values.yaml").read_text())
WORKER: dict[str, Any] = yaml.safe_load((KUBERNETES / "prefect-worker-values.yaml").read_text())["worker"]
POOL_FILE = read_infrastructure(DEPLOYMENTS / "work-pool.yaml")
DOCS = (DEPLOYMENTS.parent / "docs" / "production.md").read_text()
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|_KEY$|AUTH|DATABASE_URL|REDIS_.*URL|DOCKET_URL|RATE_STORAGE")


class TestCompose:
    def test_every_image_is_ours_or_pinned_by_digest(self) -> None:
        foreign = [one.image for one in SERVICES.values() if one.image != "${TRAINMASTER_IMAGE:-trainmaster}"]
        assert len(foreign) == 3
        assert [image for image in foreign if not re.search(r":\d[^@]*@sha256:[0-9a-f]{64}$", image)] == []

    def test_all_that_depends_on_something_finds_it_and_in_an_order(self) -> None:
        needs = {name: set(one.depends_on) for name, one in SERVICES.items()}
        assert set().union(*needs.values()) <= SERVICES.keys()
        order = list(TopologicalSorter(needs).static_order())
        assert (
            order.index("migrate")
            < order.index("prefect-1")
            < order.index("proxy")
            < order.index("set-up")
            < order.index("worker")
        )
        for one in SERVICES.values():
            for name, needed in one.depends_on.items():
                check = SERVICES[name].healthcheck
                assert (check is not None and not check.disable) == (needed.condition == "service_healthy")

    @pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
    def test_nothing_secret_stands_in_it_and_a_secret_that_is_not_given_is_asked_for(
        self, service: ComposeService
    ) -> None:
        for name, value in service.environment.items():
            if SECRET.search(name):
                assert re.search(r"\$\{[A-Z_]+:\?Set it in \.env", value), name

    @pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
    def test_nothing_has_more_rights_than_it_needs_or_is_open_to_the_world(self, service: ComposeService) -> None:
        assert service.cap_drop == ["ALL"]
        assert service.security_opt == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.ports)
        named = {volume.split(":")[0] for volume in service.volumes if not volume.startswith("./")}
        assert named <= COMPOSE.volumes.keys()

    def test_prefect_knows_every_variable(self) -> None:
        given = {name for one in SERVICES.values() for name in one.environment if name.startswith("PREFECT_")}
        assert given | SHARED.keys() <= prefect_variables()

    def test_the_proxy_knows_both_servers_and_carries_websockets(self) -> None:
        replicas = {name for name, one in SERVICES.items() if one.command and "--no-services" in one.command}
        assert (
            set(re.findall(r"^ +server ([\w-]+):4200", PROXY, re.MULTILINE)) == replicas == {"prefect-1", "prefect-2"}
        )
        assert all(SERVICES["proxy"].depends_on[name].restart for name in replicas)  # an address is looked up once
        assert "proxy_set_header Upgrade $http_upgrade;" in PROXY
        assert "non_idempotent" not in PROXY.replace("# ", "")

    def test_workers_and_setup_are_of_the_pool_of_ours(self) -> None:
        assert SERVICES["worker"].command[:5] == ["prefect", "worker", "start", "--pool", POOL]  # type: ignore[index]
        assert SERVICES["set-up"].command == ["trainmaster", "setup", "--yes", "--database"]


class TestKubernetes:
    def test_a_server_has_what_those_of_compose_have(self) -> None:
        env = {one["name"]: one["value"] for one in SERVER["global"]["prefect"]["env"]}
        of_chart = {
            "PREFECT_MESSAGING_BROKER": SERVER["backgroundServices"]["messaging"]["broker"],
            "PREFECT_MESSAGING_CACHE": SERVER["backgroundServices"]["messaging"]["cache"],
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",  # which the chart sets for that broker
        }
        assert env | of_chart == SHARED
        assert SERVER["server"]["replicaCount"] == 2
        assert SERVER["backgroundServices"]["runAsSeparateDeployment"]
        compose = {name: SERVICES[name].command for name in ("prefect-1", "services")}
        assert [*SERVER["server"]["command"], *SERVER["server"]["args"]] == compose["prefect-1"]
        assert [*SERVER["backgroundServices"]["command"], *SERVER["backgroundServices"]["args"]] == compose["services"]

    def test_nothing_that_is_for_trying_out_is_on(self) -> None:
        assert [SERVER[name]["enabled"] for name in ("postgresql", "sqlite", "redis")] == [False, False, False]
        assert SERVER["secret"] == {"create": False, "name": "prefect-database"}

    def test_secrets_are_named_and_the_docs_say_how_each_is_made(self) -> None:
        [api] = (one for one in MANIFESTS_OF_OURS if isinstance(one, Deployment))
        [container] = api.spec.template.spec.containers
        named = {ref.secretRef.name for ref in container.envFrom if ref.secretRef}
        named |= {one.valueFrom.secretKeyRef.name for one in container.env if one.valueFrom}
        named |= {
            SERVER["secret"]["name"],
            SERVER["server"]["extraEnvVarsSecret"],
            SERVER["backgroundServices"]["extraEnvVarsSecret"],
        }
        named |= {SERVER["server"]["basicAuth"]["existingSecret"], WORKER["basicAuth"]["existingSecret"]}
        assert POOL_FILE.kubernetes
        named.add(str(POOL_FILE.kubernetes.secret))
        assert {name for name in named if f"create secret generic {name} " not in DOCS} == set()
        assert [text for text in texts([SERVER, WORKER]) if "://" in text and "@" in text] == []
        assert [one.name for one in container.env if SECRET.search(one.name) and one.value is not None] == []
        [settings] = (one for one in MANIFESTS_OF_OURS if isinstance(one, ConfigMap))
        assert [name for name in settings.data if SECRET.search(name)] == []

    def test_of_everything_that_is_there_more_than_once_one_may_be_away(self) -> None:
        budgets = {one.metadata.name: one.spec for one in MANIFESTS_OF_OURS if isinstance(one, PodDisruptionBudget)}
        [api] = (one for one in MANIFESTS_OF_OURS if isinstance(one, Deployment))
        assert budgets["trainmaster-api"].selector == api.spec.selector
        for name, component in (("prefect-server", "server"), ("prefect-worker", "worker")):
            labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component}
            assert budgets[name].selector.matchLabels == labels
            assert budgets[name].maxUnavailable == 1
        assert (api.spec.replicas, WORKER["replicaCount"]) == (2, 2)

    def test_the_api_is_found_by_its_service_and_asked_whether_it_is_well(self) -> None:
        [api] = (one for one in MANIFESTS_OF_OURS if isinstance(one, Deployment))
        assert api.spec.selector.matchLabels == api.spec.template.metadata.labels == api.metadata.labels
        [container] = api.spec.template.spec.containers
        assert (container.livenessProbe.httpGet.path, container.readinessProbe.httpGet.path) == ("/healthz", "/readyz")
        assert SERVER["server"]["livenessProbe"]["enabled"]
        assert SERVER["server"]["readinessProbe"]["enabled"]

    def test_all_run_one_image_in_one_namespace_on_the_pool_of_ours(self) -> None:
        image = SERVER["global"]["prefect"]["image"]
        [api] = (one for one in MANIFESTS_OF_OURS if isinstance(one, Deployment))
        assert (
            f"{image['repository']}:{image['prefectTag']}"
            == POOL_FILE.image
            == api.spec.template.spec.containers[0].image
        )
        assert WORKER["config"]["workPool"] == POOL
        assert WORKER["image"]["prefectTag"] == f"{version('prefect')}-python3.11-kubernetes"
        assert POOL_FILE.kubernetes
        assert WORKER["serverApiConfig"]["apiUrl"].split(".")[1] == POOL_FILE.kubernetes.namespace


def ecs_commands() -> list[list[str]]:
    """Those of the docs."""
    joined = DOCS.replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^\$ prefect-aws (ecs-worker .+)$", joined, re.MULTILINE)]


@pytest.mark.parametrize("command", ecs_commands(), ids=lambda command: str(command[1]))
def test_prefect_aws_takes_every_command_of_the_docs(command: list[str]) -> None:
    group: Any = get_command(ecs_worker_app)
    name, *options = command[1:]
    context = group.commands[name].make_context(name, list(options))
    if name == "deploy-service":
        assert context.params["work_pool_name"] == POOL
        assert context.params["docker_image"].endswith(POOL_FILE.image.rsplit("/", 1)[1])
        assert context.params["prefect_auth_string"] in (None, "")
        assert POOL_FILE.ecs
        assert context.params["existing_cluster_identifier"] == POOL_FILE.ecs.cluster


def test_the_docs_have_the_commands_that_ecs_needs() -> None:
    assert [command[1] for command in ecs_commands()][:1] == ["deploy-service"]
