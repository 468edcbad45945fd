"""What a version of a model group is registered with: where it comes from, how good it is, and its card in SageMaker's own form. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmaster.endpoints.models.package import ModelPackage

SHA256, DATASET_SHA256, JOB = "sha256", "dataset-sha256", "training-job"
"""Of a version's CustomerMetadataProperties."""
LARGEST_CARD = 100_000
"""Characters of ModelCardContent, by SageMaker's service model."""
MOST_DATASETS = 15
_UNWRITABLE = re.compile(r"[^\w .:/=+\-@]")


@dataclass(frozen=True)
class Training:
    """The job that made a model: its ARN, the container it ran in, and its metrics without the phase they were measured in."""

    job_arn: str
    image_uri: str
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    hyperparameters: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def job_name(self) -> str:
        return self.job_arn.rpartition("/")[2]


def dataset_checksum(card: Mapping[str, Any]) -> str:
    """SHA-256 of what the model was trained on: the file's own, or one over those of all files; "" where the card has none."""
    found = sorted(str(one["sha256"]) for one in _sources(card))
    if len(found) < 2:
        return found[0] if found else ""
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def description_of(package: ModelPackage, training: Training) -> str:
    """One line for lists; by the SHA-256 in it a version is found again without asking for each."""
    measured = ", ".join(f"{name} {value:.4g}" for name, value in sorted(training.metrics.items()))
    return (
        f"{package.card.get('model_version', 'Model')} by {training.job_name}: {measured or 'no metrics'}."
        f" SHA-256 {package.sha256}"
    )


def properties_of(package: ModelPackage, training: Training) -> dict[str, str]:
    """What can be asked of a version by name: strings of at most 256 characters."""
    properties = {
        SHA256: package.sha256,
        JOB: training.job_name,
        DATASET_SHA256: dataset_checksum(package.card),
        "model-version": str(package.card.get("model_version", "")),
        "rows": str(package.card.get("rows", {}).get("total", "")),
        **{f"metric:{name}": f"{value:.6g}" for name, value in training.metrics.items()},
    }
    return {
        _UNWRITABLE.sub("-", key)[:128]: _UNWRITABLE.sub("-", value)[:256] for key, value in properties.items() if value
    }


def quality_of(package: ModelPackage, training: Training) -> bytes:
    """The metrics as SageMaker's model quality reports have them; JSON, the same bytes for the same metrics."""
    return json.dumps(package.kind.quality(training.metrics), indent=2).encode()


def card_of(package: ModelPackage, training: Training) -> str:
    """ModelCardContent, by the schema SageMaker has for the cards of model packages."""
    card = package.card
    datasets = [f"{one.get('file', 'data')}, SHA-256 {one['sha256']}" for one in _sources(card)][:MOST_DATASETS]
    metrics = [{"name": name, "value": value} for name, value in sorted(training.metrics.items())]
    content: dict[str, Any] = {
        "model_overview": {"model_creator": "Trainmaster", "model_artifact": [package.uri]},
        "intended_uses": {"intended_uses": package.kind.uses(card)[:2048]},
        "training_details": {
            "training_observations": str(card.get("algorithm", ""))[:1024],
            "training_job_details": {
                "training_arn": training.job_arn,
                "training_datasets": datasets,
                "training_environment": {"container_image": [training.image_uri]},
                "training_metrics": metrics,
                "hyper_parameters": [
                    {"name": name, "value": value[:255]} for name, value in sorted(training.hyperparameters.items())
                ],
            },
        },
        "evaluation_details": [
            {
                "name": "held-out rows",
                "evaluation_observation": f"{card.get('rows', {}).get('validation', 'Some')} rows were held out.",
                "metric_groups": [{"name": "held out", "metric_data": [one | {"type": "number"} for one in metrics]}],
            }
        ]
        if metrics
        else [],
        "additional_information": {"custom_details": {"artifact SHA-256": package.sha256}},
    }
    written = json.dumps(content, sort_keys=True)
    return written if len(written) <= LARGEST_CARD else json.dumps({"model_overview": content["model_overview"]})


def _sources(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = card.get("data")
    return [one for one in sources if isinstance(one, dict) and one.get("sha256")] if isinstance(sources, list) else []
