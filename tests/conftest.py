"""One real embedded AWS for the whole session, and a way to start others that a test may kill."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from catalogues import Place
from embedded_aws import EmbeddedAws
from hypothesis import HealthCheck, settings
from postgres import Postgres
from supabase_project import SupabaseProject

from trainmaster.catalog.catalogue import Catalogue

# How long one example takes says more about what else the machine does than about the code.
settings.register_profile("trainmaster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trainmaster")


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would every child that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """Shared by all tests: name what you make uniquely, and clear the faults you command."""
    aws = EmbeddedAws(tmp_path_factory.mktemp("embedded") / "state", stop_grace=3)
    yield aws
    aws.stop()


@pytest.fixture(scope="session")
def supabase_project(request: pytest.FixtureRequest) -> SupabaseProject:
    """A Supabase project, shared: name what you make uniquely. The embedded one, or with TEST_SUPABASE set a real one."""
    real = SupabaseProject.of_environment()
    if real is not None:
        return real
    aws: EmbeddedAws = request.getfixturevalue("embedded")
    return SupabaseProject.embedded(aws.state, aws.environment)


@pytest.fixture
def user_id() -> UUID:
    """A user nobody else is."""
    return uuid4()


@pytest.fixture
def start_embedded(tmp_path: Path) -> Iterator[Callable[..., EmbeddedAws]]:
    """Starts one that the test may stop, kill and start again on the same `state`; ended with the test."""
    started: list[EmbeddedAws] = []

    def start(state: Path = tmp_path / "state", **settings: str | float) -> EmbeddedAws:
        (state / "serving.json").unlink(missing_ok=True)  # left by one that was killed
        started.append(EmbeddedAws(state, **settings))
        return started[-1]

    yield start
    for aws in started:
        aws.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL shared by all tests: make a database of your own on it."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def catalogue_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One database for the module: what a test makes is a new user's."""
    folder = tmp_path_factory.mktemp("catalogue")
    if request.param == "sqlite":
        yield Place(None, folder)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.migrated()
    yield Place(url, folder)
    postgres.drop(url)


@pytest.fixture(scope="module")
def catalogue(catalogue_place: Place) -> Iterator[Catalogue]:
    opened = catalogue_place.open()
    yield opened
    opened.close()
