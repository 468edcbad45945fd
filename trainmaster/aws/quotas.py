"""Service Quotas: what the account may run of SageMaker's instances, found by the names AWS gives its quotas."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from trainmaster.errors import WaitTimedOutError

SERVICE = "sagemaker"
LONGEST_RUNTIME = "Longest run time for a training job"
"""In seconds."""
MOST_PAGES = 200
"""Of 100 quotas each, several times what SageMaker has: an answer without end must end."""


@dataclass(frozen=True)
class Quota:
    """One quota as it is applied to the account in a region: how many instances, or how many seconds."""

    name: str
    code: str
    value: int

    def increase(self, wanted: int, region: str) -> str:
        """The command that asks AWS for more."""
        return (
            f"aws service-quotas request-service-quota-increase --region {region} --service-code {SERVICE}"
            f" --quota-code {self.code} --desired-value {wanted}"
        )


def of_type(instance_type: str, *, spot: bool) -> str:
    """Of instances of one type in training jobs; spot instances have a quota of their own."""
    return f"{instance_type} for {'spot ' if spot else ''}training job usage"


def of_all_types(*, spot: bool) -> str:
    """Of instances in all training jobs together."""
    return f"Number of instances across all {'spot ' if spot else ''}training jobs"


def of_one_job(*, spot: bool) -> str:
    """Of instances in any one training job."""
    return f"Maximum number of instances per {'spot ' if spot else ''}training job"


def of_warm_pools(instance_type: str) -> str:
    """Of instances of one type that jobs use or keep for the next one."""
    return f"{instance_type} for training warm pool usage"


def quotas_named(client: Any, names: Collection[str]) -> dict[str, Quota]:
    """The quotas of these names that there are: what is applied to the account, else AWS's default. `client` is of boto3's
    `service-quotas`.

    Raises botocore's errors, AccessDeniedException among them.
    """
    found: dict[str, Quota] = {}
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for quota in _listed(client, operation):
            if quota["QuotaName"] in names:
                found.setdefault(quota["QuotaName"], _read(quota))
            if len(found) == len(set(names)):
                return found
    return found


def _listed(client: Any, operation: str) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(ServiceCode=SERVICE, PaginationConfig={"PageSize": 100})
    for number, page in enumerate(pages):
        if number == MOST_PAGES:
            raise WaitTimedOutError(f"The quotas of {SERVICE} had not ended after {MOST_PAGES} pages.")
        yield from page["Quotas"]


def _read(quota: dict[str, Any]) -> Quota:
    # Quotas are doubles on the wire; all of these are counted in whole instances and seconds.
    return Quota(quota["QuotaName"], quota["QuotaCode"], int(quota["Value"]))
