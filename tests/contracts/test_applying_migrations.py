"""The migrations a database lacks are told by what they make, and applied in order, wholly or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from postgres import Postgres
from pydantic import SecretStr

from trainmaster.catalog.schema import apply, lacking, migrations
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError


@pytest.fixture
def url(postgres: Postgres) -> Iterator[SecretStr]:
    """As the application's tables were before."""
    made = postgres.before()
    yield SecretStr(made)
    postgres.drop(made)


def lacks(url: SecretStr) -> list[str]:
    return [one.name for one in lacking(url)]


def ask(url: SecretStr, statement: str) -> None:
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        connection.execute(statement.encode())


def test_what_makes_nothing_is_what_the_verification_speaks_of() -> None:
    assert [one.name for one in migrations() if not one.makes] == ["20261121090400_checks_validated"]


def test_a_database_before_lacks_them_all_and_none_once_they_are_applied(url: SecretStr) -> None:
    wanted = lacking(url)
    assert wanted == migrations()
    assert list(apply(url, wanted)) == list(wanted)
    assert lacks(url) == []


def test_one_that_was_undone_is_lacked_again_and_so_is_a_deployment_left_on_lambda(url: SecretStr) -> None:
    list(apply(url, lacking(url)))
    ask(url, "drop table workspaces")
    ask(url, "alter table pending_objects drop column part_size")
    assert lacks(url) == ["20261121150000_dataset_migration", "20261122090000_workspaces"]
    list(apply(url, lacking(url)))
    ask(url, "alter table cloud_deployments drop constraint cloud_deployments_platform_check")
    assert lacks(url) == ["20261121090300_retire_lambda", "20261121090400_checks_validated"]


def test_two_that_apply_them_at_once_end_with_all_of_them(url: SecretStr) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            list(apply(url, migrations()))
        except Exception as error:  # noqa: BLE001 - raised by the test
            failed.append(error)

    at_once = [threading.Thread(target=run) for _ in range(2)]
    for each in at_once:
        each.start()
    for each in at_once:
        each.join()
    assert failed == []
    assert lacks(url) == []


def test_a_database_that_is_away_or_none_is_said_without_its_password(url: SecretStr) -> None:
    for address, kind in (
        ("postgresql://me:s3cret@127.0.0.1:9/x", CatalogueUnavailableError),
        ("mysql://me:s3cret@127.0.0.1/x", NotConfiguredError),
    ):
        with pytest.raises(kind) as refused:
            lacking(SecretStr(address))
        assert "s3cret" not in str(refused.value)
