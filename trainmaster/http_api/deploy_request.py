"""What the web application sends to have a model trained: a TrainingRequest, without who asks, which the token says alone."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from trainmaster.budget.budgets import Payer
from trainmaster.form import Words
from trainmaster.training.request import TrainingRequest

_NOT_ASKED = {"user_id", "team", "dry_run", "wait", "of_job"}
"""Who asks and pays, and how a flow run goes about it."""
_EXAMPLES: list[dict[str, Any]] = [
    {
        "training_config_id": "3f2c9a0e-5b1d-4c8e-9f60-2a7d1e4b8c55",
        "instance_type": "ml.g5.xlarge",
        "instance_types": ["ml.g5.2xlarge"],
        "use_spot_instances": True,
        "max_runtime_seconds": 14400,
        "budget_limit": "12.00",
        "hyperparameters": {"epochs": 3},
    },
    {"data_uri": "s3://my-bucket/houses/", "model_name": "house-prices", "budget_limit": "1.00"},
]


def _model() -> Any:
    known = TrainingRequest.model_fields
    in_order = dict.fromkeys((*TrainingRequest.model_json_schema()["properties"], *known))
    asked = {name: known[name] for name in in_order if name not in _NOT_ASKED}
    fields: dict[str, Any] = {name: (field.annotation, _plain(name, field)) for name, field in asked.items()}
    config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), json_schema_extra={"examples": list(_EXAMPLES)}
    )
    doc = "One training run on SageMaker: of a training config on its datasets, or of house prices on a table in S3."
    return create_model("DeployRequest", __config__=config, __doc__=doc, **fields)


def _plain(name: str, field: FieldInfo) -> FieldInfo:
    """Without what only a form needs, such as drop-downs whose labels say prices, and words where there is a mapping; amounts as
    clients are made for them."""
    bare = copy(field)
    bare.json_schema_extra = _as_dollars if name == "budget_limit" else None
    bare.metadata = [one for one in field.metadata if not isinstance(one, Words)]
    return bare


def _as_dollars(schema: dict[str, Any]) -> None:
    for word in ("gt", "le", "decimal_places"):
        schema.pop(word, None)
    schema["anyOf"] = [
        {"type": "string", "pattern": r"^\d{1,6}(\.\d{1,2})?$"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000},
    ]
    schema["examples"] = ["12.00"]


if TYPE_CHECKING:
    DeployRequest = BaseModel
else:
    DeployRequest = _model()


def request_of(asked: DeployRequest, payer: Payer) -> TrainingRequest:
    """What was asked for, by the one who asked."""
    return TrainingRequest.model_validate(asked.model_dump()).paid_by(payer)
