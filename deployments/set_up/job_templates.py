"""The job template of a work pool of each type, made of one description: the worker's own template, with our values as its defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import prefect.server.api
from prefect.workers.process import ProcessWorker
from prefect_aws.workers import ECSWorker

from trainmaster.errors import NotConfiguredError
from trainmaster.setup.infrastructure import Infrastructure
from trainmaster.setup.wanted import PoolType

_PUBLISHED = Path(prefect.server.api.__file__).parent / "collections_data" / "views" / "aggregate-worker-metadata.json"
"""What Prefect ships of the workers of packages that need not be installed."""

Template = dict[str, Any]


def job_template(pool_type: PoolType, infrastructure: Infrastructure) -> Template:
    """Raises NotConfiguredError where the description says nothing of that type."""
    made = {"process": _process, "ecs": _ecs, "kubernetes": _kubernetes}[pool_type](infrastructure)
    return _with_defaults(made, {"env": infrastructure.environment, "labels": infrastructure.labels})


def default_template(pool_type: PoolType) -> Template:
    """As whoever wrote the worker has it."""
    match pool_type:
        case "process":
            return copy.deepcopy(ProcessWorker.get_default_base_job_template())
        case "ecs":
            return copy.deepcopy(ECSWorker.get_default_base_job_template())
        case "kubernetes":
            published = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
            template: Template = published["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
            return template


def _process(_: Infrastructure) -> Template:
    return default_template("process")


def _ecs(infrastructure: Infrastructure) -> Template:
    ecs = infrastructure.ecs
    if ecs is None:
        raise _lacking("ecs")
    template = default_template("ecs")
    [container] = template["job_configuration"]["task_definition"]["containerDefinitions"]
    if ecs.secrets:
        container["secrets"] = [{"name": name, "valueFrom": arn} for name, arn in sorted(ecs.secrets.items())]
    return _with_defaults(
        template,
        {
            "image": infrastructure.image,
            "cpu": infrastructure.cpu,
            "memory": infrastructure.memory_mb,
            "family": "trainmaster",
            "container_name": "trainmaster",
            "cluster": ecs.cluster,
            "vpc_id": ecs.vpc_id,
            "execution_role_arn": ecs.execution_role_arn,
            "task_role_arn": ecs.task_role_arn,
            "configure_cloudwatch_logs": True,
            "cloudwatch_logs_prefix": "trainmaster",
            "match_latest_revision_in_family": True,
        },
    )


def _kubernetes(infrastructure: Infrastructure) -> Template:
    kubernetes = infrastructure.kubernetes
    if kubernetes is None:
        raise _lacking("kubernetes")
    template = default_template("kubernetes")
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    pod["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    [container] = pod["containers"]
    container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if kubernetes.secret:
        container["envFrom"] = [{"secretRef": {"name": kubernetes.secret}}]
    cpu, memory = f"{infrastructure.cpu * 1000 // 1024}m", f"{infrastructure.memory_mb}Mi"
    return _with_defaults(
        template,
        {
            "image": infrastructure.image,
            "cpu_request": cpu,
            "cpu_limit": cpu,
            "memory_request": memory,
            "memory_limit": memory,
            "namespace": kubernetes.namespace,
            "service_account_name": kubernetes.service_account,
            "finished_job_ttl": kubernetes.finished_seconds,
            "pod_watch_timeout_seconds": 600,  # a node may have to be added, and the image pulled
        },
    )


def _with_defaults(template: Template, defaults: Mapping[str, Any]) -> Template:
    """Raises KeyError for what the worker knows nothing of."""
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = copy.deepcopy(value)
    return template


def _lacking(part: str) -> NotConfiguredError:
    return NotConfiguredError(
        f"The pool file says nothing of {part}, which a pool of that type needs; deployments/work-pool.yaml shows it."
    )
