"""The application: every route, what holds for all of them, and what they are answered with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from trainmaster.http_api import budget, datasets, predict, probes, retired_lambda, runs, training, workspaces
from trainmaster.http_api.answers import Failures, answer_errors
from trainmaster.http_api.bodies import Bodies
from trainmaster.http_api.description import describe
from trainmaster.http_api.limiting import Rates
from trainmaster.http_api.office import Office
from trainmaster.http_api.once import REPLAYED_HEADER
from trainmaster.http_api.probes import Checks
from trainmaster.http_api.reading import reference_page
from trainmaster.http_api.reception import REQUEST_ID_HEADER, AddressRates, Reception
from trainmaster.http_api.request_metrics import RequestMetrics
from trainmaster.http_api.tokens import Tokens

ROUTERS = (
    budget.router,
    training.router,
    datasets.router,
    workspaces.router,
    runs.router,
    predict.router,
    retired_lambda.router,
    probes.router,
)
UPLOADS = ("/api/training/dataset",)
"""Measured as they arrive on disk."""
_TOLD_TO_PAGES = (
    REQUEST_ID_HEADER, REPLAYED_HEADER, "Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
)  # fmt: skip
_TAKEN_FROM_PAGES = ("Authorization", "Content-Type", "Idempotency-Key", REQUEST_ID_HEADER)


def _nothing() -> None:
    pass


def application(office: Office, close: Callable[[], None] = _nothing) -> FastAPI:
    """Ready to be served; `close` is called when it has been. Raises NotConfiguredError."""
    app = FastAPI(
        title="Trainmaster",
        version=version("trainmaster"),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: "_".join([*map(str, route.tags), route.name]),
    )
    app.state.office, app.state.tokens = office, Tokens.of(office.settings)
    app.state.rates, app.state.metrics = Rates(office.settings), RequestMetrics(office.desk)
    app.state.checks, app.state.close = Checks(office), close
    app.state.predictions = predict.predictions_of(office)
    answer_errors(app)
    _receive(app, office)
    for router in ROUTERS:
        app.include_router(router)
    describe(app)
    app.add_route("/docs", reference_page, include_in_schema=False)
    return app


def _receive(app: FastAPI, office: Office) -> None:
    """What each request passes; the last that is added is passed first."""
    app.add_middleware(Failures)
    app.add_middleware(Bodies, settings=office.settings, unbounded=UPLOADS)
    app.add_middleware(AddressRates, rates=app.state.rates)
    if origins := office.settings.http_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins.split(","),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=_TAKEN_FROM_PAGES,
            expose_headers=_TOLD_TO_PAGES,
            max_age=600,
        )
    app.add_middleware(Reception, metrics=app.state.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.close()
