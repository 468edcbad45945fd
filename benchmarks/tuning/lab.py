"""A lab on the embedded AWS: datasets, a base model and training jobs, each by the functions that flows and commands use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.soaking.weather import Control
from benchmarks.tuning.lessons import Lesson, datasets
from trainmaster.budget.budgets import Budget, Payer, Standing
from trainmaster.commands.endpoints.deploying import carry_out, planned
from trainmaster.datasets.request import UploadDatasetRequest
from trainmaster.embedded.sagemaker.python import PYTORCH
from trainmaster.endpoints.deployment import patience_of
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.removing import belongings, remove
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.storage import intake
from trainmaster.storage.library import Library
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import upload
from trainmaster.training.desk import Desk
from trainmaster.training.following import Cadence, follow_training
from trainmaster.training.launching import launch_training
from trainmaster.training.logs import LogReader
from trainmaster.training.preparing import prepare_training
from trainmaster.training.progress import reading
from trainmaster.training.request import TrainingRequest
from trainmaster.training.tending import tend, why_ended

BUDGET = Decimal("1.00")
"""Of the lab for the month; a job reserves a few cents of it at worst."""
ENDPOINT = "colours"
_ROOT = Path(__file__).parents[2]
_JOB = {
    "budget_limit": "0.25", "max_runtime_seconds": 900, "use_spot_instances": False,
    "environment": {"OMP_NUM_THREADS": "1"},
}  # fmt: skip
"""Jobs share two cores: threads of PyTorch would only wait for each other."""
_CADENCE = Cadence(poll_seconds=0.2, outage_seconds=60)


@dataclass
class Trained:
    """What came of a lesson. `losses` are those of its log in their order, by step: twice for what was done twice."""

    lesson: Lesson
    job: str
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    interruptions: int = 0
    bill: Decimal | None = None
    model_uri: str = ""
    failure: str = ""

    @property
    def first(self) -> float | None:
        return self.losses[0][1] if self.losses else None

    @property
    def last(self) -> float | None:
        return self.losses[-1][1] if self.losses else None

    @property
    def steps(self) -> int:
        return self.losses[-1][0] if self.losses else 0

    @property
    def steps_lost(self) -> int:
        """Those that were done again after an interruption."""
        following = zip(self.losses, self.losses[1:], strict=False)
        return sum(before - after + 1 for (before, _), (after, _) in following if after <= before)


class Lab:
    """One user's, with a month's budget. Safe to be used by several threads."""

    def __init__(self, desk: Desk, environment: Mapping[str, str], folder: Path) -> None:
        self._desk, self._folder, self._control = desk, folder, Control(environment)
        self._examples = datasets()
        self.user = UUID(desk.settings.required("user_id"))
        self.budget = Budget("user", str(self.user))
        desk.ledger.set_limit(self.budget, BUDGET, set_by="the demo")

    def furnish(self) -> None:
        """Upload the datasets, and a base model that has not learned anything."""
        texts = "".join(f"{json.dumps(example)}\n" for examples in self._examples.values() for example in examples)
        base = self._folder / "base"
        subprocess.run(
            [PYTORCH / "bin/python", "-m", "benchmarks.tiny_model", base],
            cwd=_ROOT, input=texts, text=True, check=True, timeout=200, stdout=sys.stderr,
        )  # fmt: skip
        for file in sorted(base.iterdir()):
            self._desk.client("s3").upload_file(str(file), self._bucket, f"models/tiny-llama/{file.name}")
        _ = self._datasets

    def train(self, lesson: Lesson) -> Trained:
        """Plan, reserve, launch, follow, bill."""
        began, desk = time.monotonic(), self._desk
        config = {**lesson.config, "model_name": f"s3://{self._bucket}/models/tiny-llama/"}
        kept, _ = desk.catalogue.configs.add(self.user, lesson.name, config, [self._datasets[lesson.dataset]])
        asked = {"training_config_id": str(kept.id), **_JOB, **lesson.machines}
        plan = prepare_training(desk, TrainingRequest.model_validate(asked))
        launch_training(desk, plan)
        trained, interrupted = Trained(lesson, plan.job_name), False
        reader = LogReader(desk.client, plan.job_name, plan.request.instance_count)
        for update in follow_training(desk.client, reader, plan.approval.rate, _CADENCE):
            trained.losses += losses_in(line.text for line in update.lines)
            if lesson.interrupted_after and not interrupted and trained.steps > lesson.interrupted_after:
                interrupted = self._control.post("interrupt", {"training_job": plan.job_name})
            tend(desk, plan.job_name, update.description)
        description = update.description
        booked = desk.ledger.find(plan.job_name)
        trained.bill, trained.interruptions = booked.bill if booked else None, update.step.interruptions
        trained.failure = why_ended(description, None) or ""
        trained.model_uri = description.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
        trained.seconds = time.monotonic() - began
        return trained

    def deploy(self, model_uri: str) -> None:
        """As `trainmaster endpoints deploy` does. Raises DeploymentFailedError when it does not answer."""
        request = EndpointRequest(endpoint_name=ENDPOINT, model_uri=model_uri)
        carry_out(self._desk, planned(self._desk, request), Payer(self.user, ""))

    def ask(self, messages: list[dict[str, str]]) -> str:
        """What the endpoint answers."""
        body = json.dumps({"messages": messages, "parameters": {"max_new_tokens": 24}})
        runtime = self._desk.client("sagemaker-runtime")
        response = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
        return str(json.loads(response["Body"].read())["generated_text"])

    def close(self) -> None:
        """Remove the endpoint, and have its hours billed."""
        remove(self._desk.client, belongings(self._desk.client, ENDPOINT), patience_of(self._desk.settings))
        meter_endpoint(self._desk, ENDPOINT)

    def books(self) -> Standing:
        """What was billed to the lab this month, and what is still reserved."""
        return self._desk.ledger.standing(self.budget)

    @property
    def _bucket(self) -> str:
        return self._desk.settings.required("bucket")

    @cached_property
    def _datasets(self) -> dict[str, UUID]:
        return {name: self._uploaded(name, examples) for name, examples in self._examples.items()}

    def _uploaded(self, name: str, examples: Iterable[Any]) -> UUID:
        work, desk = self._folder / name, self._desk
        work.mkdir()
        file = work / f"{name}.jsonl"
        file.write_text("".join(f"{json.dumps(example)}\n" for example in examples))
        request = UploadDatasetRequest(name=name, file=str(file), storage="s3")
        source = intake.fetch_source(request, work, desk.settings, lambda: desk.client("s3"))
        new = intake.accepted(request, source, intake.check_source(request, source, work), work, desk.settings)
        library = Library(desk.catalogue, Stores(desk.settings, lambda: desk.client("s3")))
        return UUID(upload(library, new, intake.providers_of(request)).dataset_id)


def losses_in(lines: Iterable[str]) -> list[tuple[int, float]]:
    """By step, of lines that tell a loss."""
    told = (reading(line).values for line in lines)
    return [(int(one["step"]), one["loss"]) for one in told if "step" in one and "loss" in one]
