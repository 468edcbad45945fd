"""How a job at AWS differs from the one that was asked for, and whether that may cost more than was approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainmaster.budget.approval import ENDING_SECONDS, Rate, training_rate
from trainmaster.budget.charge import Reservation
from trainmaster.budget.money import CENT, shown
from trainmaster.budget.prices import PriceList
from trainmaster.catalog.deployments import Deployment
from trainmaster.errors import UnknownPriceError
from trainmaster.training.plan import FINGERPRINT_TAG

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Drift:
    """One difference, for people. A costly one may make the job cost more than was approved for it."""

    what: str
    is_costly: bool = False


def drift(
    description: Mapping[str, Any], deployment: Deployment | None, reservation: Reservation | None, prices: PriceList
) -> list[Drift]:
    """Pure: what the description says against what the row asks for; the costly differences first."""
    if deployment is None or not deployment.job.request:
        return []
    asked = deployment.job.request
    machines = _of_machines(description, asked)
    found = [*machines, *_of_ways(description, asked)]
    if reservation and (more := _dearer(description, reservation, prices if machines else None)):
        found.append(Drift(more, is_costly=True))
    return sorted(found, key=lambda one: not one.is_costly)


def _of_machines(description: Mapping[str, Any], asked: Mapping[str, Any]) -> list[Drift]:
    has = description["ResourceConfig"]
    pairs = [
        ("instance_type", has.get("InstanceType")),
        ("instance_count", has.get("InstanceCount")),
        ("volume_size_gb", has.get("VolumeSizeInGB")),
        ("warm_pool_seconds", has.get("KeepAlivePeriodInSeconds", 0)),
    ]
    return [
        Drift(f"{name} is {there}, {asked[name]} was asked for", is_costly=name == "instance_count" and _more(there, asked[name]))
        for name, there in pairs
        if name in asked and there != asked[name]
    ]  # fmt: skip


def _of_ways(description: Mapping[str, Any], asked: Mapping[str, Any]) -> list[Drift]:
    found = []
    longest, runtime = asked.get("max_runtime_seconds"), description["StoppingCondition"]["MaxRuntimeInSeconds"]
    if longest and runtime > longest:
        found.append(Drift(f"it may run for {runtime} s, {longest} s were asked for", is_costly=True))
    is_spot = bool(description.get("EnableManagedSpotTraining"))
    if asked.get("use_spot_instances") and not is_spot:
        found.append(Drift("it runs on demand, spot instances were asked for", is_costly=True))
    kept = description.get("CheckpointConfig", {}).get("S3Uri", "")
    wanted = asked.get("checkpoint_s3_uri") or ""
    if (is_spot and not kept) or (wanted and kept.rstrip("/") != wanted.rstrip("/")):
        found.append(Drift(f"it keeps checkpoints at {kept or 'no place'}, not at {wanted or 'one of its own'}"))
    return found


def _more(there: Any, asked: Any) -> bool:
    return isinstance(there, int) and isinstance(asked, int) and there > asked


def _dearer(description: Mapping[str, Any], reservation: Reservation, prices: PriceList | None) -> str:
    """In what way its worst case is above its reservation.

    `prices` price another machine than was asked for; the one that was is priced as it was reserved, whatever it costs today.
    """
    has, runtime = description["ResourceConfig"], description["StoppingCondition"]["MaxRuntimeInSeconds"]
    try:
        rate = (
            _rate(has, reservation.charge.resource.split(":")[3], prices) if prices else Rate(reservation.charge.hourly)
        )
    except UnknownPriceError as error:
        return str(error)
    worst = rate.cost(runtime + ENDING_SECONDS + has.get("KeepAlivePeriodInSeconds", 0))
    if worst < reservation.charge.amount + CENT:
        return ""
    return f"at worst it costs {shown(worst)}, {shown(reservation.charge.amount)} is reserved"


def _rate(machines: Mapping[str, Any], region: str, prices: PriceList) -> Rate:
    kind, count, volume = machines["InstanceType"], machines["InstanceCount"], machines["VolumeSizeInGB"]
    return training_rate(prices, kind, count, volume, region)


def tag_drift(sagemaker: SageMakerClient, description: Mapping[str, Any]) -> list[str]:
    """Whether the job bears another fingerprint than the one its name was made of: then it is not the one we asked for."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=description["TrainingJobArn"])
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    _, named, _attempt = f"--{description['TrainingJobName']}".rsplit("-", 2)
    tagged = tags.get(FINGERPRINT_TAG, "")
    if tagged.startswith(named):
        return []
    return [f"its fingerprint is {tagged[:10] or 'missing'}, its name was made of {named}"]
