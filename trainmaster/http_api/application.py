"""The application: every route, what holds for all of them, and what they are answered with."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from trainmaster.http_api import budget, probes
from trainmaster.http_api.answers import answer_errors
from trainmaster.http_api.office import Office

ROUTERS = (budget.router, probes.router)


def application(office: Office) -> FastAPI:
    """Ready to be served."""
    app = FastAPI(title="Trainmaster", version=version("trainmaster"))
    app.state.office = office
    answer_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
