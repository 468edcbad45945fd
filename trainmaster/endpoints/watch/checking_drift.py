"""Whether what an endpoint is asked for still is what its model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from trainmaster.endpoints.models.kinds.choosing import HOUSE_PRICES
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.seen import see_endpoint, seen_endpoints
from trainmaster.endpoints.watch.captured import captured_requests
from trainmaster.endpoints.watch.drift import Arrivals, CheckDriftRequest, DriftReport, drift_of, trained_features
from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk

MOST_ROWS = 500_000
"""Read of one endpoint: more would say no more. The newest days are read first."""


def captured_endpoints(desk: Desk, request: CheckDriftRequest) -> Iterator[str]:
    """The endpoint that is asked for, or all of Trainmaster's that capture what they are asked, by name."""
    if request.endpoint_name:
        yield request.endpoint_name
        return
    yield from (one.name for one in seen_endpoints(desk) if one.capture_uri and one.variants)


def check_drift(desk: Desk, name: str, request: CheckDriftRequest, *, now: datetime | None = None) -> DriftReport:
    """Read what the endpoint captured and hold it against the card of the model that answers most of it.

    Raises UnknownChoiceError when there is no such endpoint, RefusedError when it captures nothing, ModelRefusedError.
    """
    seen = see_endpoint(desk, name)
    if not seen.capture_uri or not seen.variants:
        raise RefusedError(
            f"Endpoint {name} captures nothing, so nothing can be held against its model. Deploy it with capture_percent."
        )
    main, until = seen.variants[0], now or datetime.now(UTC)
    if not main.model_uri:
        raise RefusedError(
            f"Model {main.model} of endpoint {name} was deleted, so its card is not known. Deploy it again."
        )
    since = until - timedelta(days=request.days)
    s3 = desk.client("s3")
    package = inspect_model(s3, main.model_uri)
    arrived = {one.name: Arrivals(one) for one in trained_features(package.card)}
    if not arrived and package.kind is not HOUSE_PRICES:
        raise RefusedError(
            f"Endpoint {name} serves a {package.kind.name}, which has no features to be held against its training. What it was"
            f" asked lies below {seen.capture_uri}."
        )
    requests = unreadable = rows = 0
    cut_short = False
    prefix = f"{seen.capture_uri.rstrip('/')}/{name}/{main.variant}"
    for one in captured_requests(s3, prefix, list(arrived), since, until):
        if rows >= MOST_ROWS:
            cut_short = True
            break
        requests += 1
        unreadable += one.rows is None
        for row in one.rows or ():
            rows += 1
            for feature, arrivals in arrived.items():
                arrivals.add(row.get(feature))
    features = drift_of(arrived.values(), request)
    return DriftReport(name, main.model_uri, since, until, requests, unreadable, rows, cut_short, features)
