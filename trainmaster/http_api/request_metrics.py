"""What Prometheus is told: requests by route and status, how long they took, trainings at work, how much of budgets is committed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from trainmaster.training.desk import Desk

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The folder in which several processes of one server count together."""
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class RequestMetrics:
    """Counted by this process, told for all that serve together."""

    def __init__(self, desk: Desk) -> None:
        self._registry, self._books = CollectorRegistry(), CollectorRegistry()
        self._books.register(_Books(desk))
        self._requests = Counter(
            "trainmaster_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "trainmaster_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def exposition(self) -> bytes:
        """In Prometheus's text format. Raises CatalogueUnavailableError."""
        requests = self._registry
        if os.environ.get(SHARED):
            requests = CollectorRegistry()
            MultiProcessCollector(requests)  # type: ignore[no-untyped-call]
        return generate_latest(requests) + generate_latest(self._books)


class _Books(Collector):
    """Read when asked for, so that it is right whoever launched or paid."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        working = GaugeMetricFamily("trainmaster_trainings_open", "Training jobs that have not ended.")
        working.add_metric([], sum(1 for _ in self._desk.deployments.open_jobs()))
        yield working
        committed = GaugeMetricFamily(
            "trainmaster_budget_committed_ratio", "Billed and reserved, of this month's limit.", labels=["budget"]
        )
        for standing in self._desk.ledger.standings():
            if standing.limit:
                committed.add_metric([standing.budget.code], float(standing.committed / standing.limit))
        yield committed

    def describe(self) -> list[Metric]:
        """Nothing: to be registered takes no database."""
        return []
