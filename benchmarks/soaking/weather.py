"""What goes wrong on AWS's side, and what users do meanwhile: faults of calls, interruptions of spot jobs, stops."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from benchmarks.soaking.errands import Errand
from trainmaster.catalog.tables import cloud_deployments
from trainmaster.training.desk import Desk

LOOKS_EVERY = 0.3
RULES: list[dict[str, Any]] = [
    {"operation": "LaunchingMLInstances", "error": "CapacityError", "rate": 0.1},
    {"operation": "CreateTrainingJob", "error": "ResourceLimitExceeded", "rate": 0.04},
    {"operation": "CreateTrainingJob", "lost": True, "rate": 0.05},
    {"operation": "*", "error": "ThrottlingException", "rate": 0.05},
    {"operation": "*", "error": "InternalFailure", "rate": 0.05},
    {"operation": "*", "error": "ExpiredTokenException", "rate": 0.005},
    {"operation": "*", "reset": True, "rate": 0.01},
    {"operation": "*", "lost": True, "rate": 0.01},
    {"operation": "*", "latency": 2.0, "rate": 0.01},
    {"operation": "*", "latency": 0.5, "rate": 0.03},
]


class Control:
    """The embedded AWS's calls that no AWS has."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = f"{environment['AWS_ENDPOINT_URL']}/_trainmaster"

    def post(self, path: str, body: Mapping[str, Any]) -> bool:
        """False when it was refused."""
        request = urllib.request.Request(  # noqa: S310 - our own, on loopback
            f"{self._address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return False
        return True

    def clear_faults(self) -> None:
        request = urllib.request.Request(f"{self._address}/faults", method="DELETE")  # noqa: S310
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310

    def tally(self) -> dict[str, dict[str, int]]:
        with urllib.request.urlopen(f"{self._address}/tally", timeout=30) as answer:  # noqa: S310
            counted: dict[str, dict[str, int]] = json.load(answer)
            return counted


class Weather:
    """`step` lets happen what is due to the errands' jobs, by name."""

    def __init__(self, control: Control, desk: Desk, errands: Mapping[str, Errand]) -> None:
        self._control, self._desk, self._errands = control, desk, errands
        self._trains_since: dict[str, float] = {}
        self._interrupted = Counter[str]()
        self._looked = 0.0
        self.stopped: set[str] = set()
        """Names of errands that somebody asked to stop."""

    @property
    def interruptions(self) -> int:
        return self._interrupted.total()

    def begin(self) -> None:
        for rule in RULES:
            if not self._control.post("faults", rule):
                raise ValueError(f"the embedded AWS refuses {rule}")

    def step(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOKS_EVERY:
            return
        self._looked = now
        row = cloud_deployments.c
        with self._desk.catalogue.database.reading() as connection:
            query = select(row.id, row.deployment_id).where(row.status == "training", row.completed_at.is_(None))
            training = connection.execute(query).all()
        for id_, job in training:
            self._trains_since.setdefault(job, now)
            self._befall(id_, job, self._errands[Errand.named_in(job)], now - self._trains_since[job])

    def _befall(self, deployment: UUID, job: str, errand: Errand, seconds: float) -> None:
        done = self._interrupted[job]
        if done < len(errand.interrupted_after) and seconds >= errand.interrupted_after[done]:
            self._interrupted[job] += self._control.post("interrupt", {"training_job": job})
        if (
            errand.ending.startswith("is stopped")
            and seconds >= errand.stopped_after
            and errand.name not in self.stopped
        ):
            self.stopped.add(errand.name)
            self._stop(deployment, errand)

    def _stop(self, deployment: UUID, errand: Errand) -> None:
        if errand.ending == "is stopped by its user":
            self._desk.deployments.ask_stop(deployment, str(errand.user), "enough was learnt")
            return
        row = cloud_deployments
        with self._desk.catalogue.database.writing() as connection:
            connection.execute(
                update(row).where(row.c.id == deployment, row.c.completed_at.is_(None)).values(status="cancelled")
            )
