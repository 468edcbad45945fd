"""The application's own tables keep the same on SQLite as on PostgreSQL."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from catalogues import insert_as_the_application, new_dataset
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import cloud_deployments, training_configs


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


class TestTheApplicationsTables:
    def deployment(self, user: uuid.UUID, **changed: Any) -> dict[str, Any]:
        values = {
            "id": uuid.uuid4(),
            "user_id": user,
            "platform": "sagemaker",
            "status": "running",
            "created_at": datetime.now(UTC),
        }
        return values | changed

    def test_money_moments_lists_and_json_come_back_exactly(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        given = self.deployment(
            user,
            estimated_cost=Decimal("0.10"),
            actual_cost=Decimal("12345678901234567890.123456789012345678"),
            budget_limit=Decimal(0),
            checkpoint_urls=["s3://b/1", 'a "quoted", {one}', ""],
            config=["a", 1.5, None],
            metrics={"loss": 0.1},
            started_at=datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        )
        with catalogue.database.writing() as connection:
            connection.execute(insert(cloud_deployments).values(given))
            query = select(cloud_deployments).where(cloud_deployments.c.user_id == user)
            found = dict(connection.execute(query).one()._mapping)
        assert {name: found[name] for name in given} == given
        assert all(found[name] is None for name in found if name not in given)
        assert found["estimated_cost"].as_tuple() == Decimal("0.10").as_tuple()

    @pytest.mark.parametrize("changed", [{"platform": "lambda"}, {"platform": "lambda-labs"}, {"status": "asleep"}])
    def test_platforms_and_statuses_there_are_not_are_refused(
        self, catalogue: Catalogue, user: uuid.UUID, changed: dict[str, str]
    ) -> None:
        with pytest.raises(IntegrityError), catalogue.database.writing() as connection:
            connection.execute(insert(cloud_deployments).values(self.deployment(user, **changed)))

    def test_a_storage_provider_there_is_not_is_refused(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        with pytest.raises(IntegrityError):
            insert_as_the_application(catalogue, replace(new_dataset(user), storage_provider="gcs"))

    def test_a_moment_without_a_zone_or_an_inexact_amount_is_a_mistake(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        naive = datetime(2026, 1, 1)  # noqa: DTZ001
        for changed in ({"created_at": naive}, {"actual_cost": 0.1}, {"actual_cost": Decimal("NaN")}):
            with (
                pytest.raises(Exception, match=r"no time zone|not an exact amount"),
                catalogue.database.writing() as connection,
            ):
                connection.execute(insert(cloud_deployments).values(self.deployment(user, **changed)))

    def test_a_config_keeps_what_json_can_say(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        config = {"deep": [[{"ü": "\\ \" '"}], -0.5, True, None]}
        with catalogue.database.writing() as connection:
            connection.execute(
                insert(training_configs).values(id=uuid.uuid4(), user_id=user, name="c", config_json=config)
            )
            query = select(training_configs.c.config_json).where(training_configs.c.user_id == user)
            assert connection.execute(query).scalar_one() == config
