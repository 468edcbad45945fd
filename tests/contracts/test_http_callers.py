"""Who asks the HTTP API: never anything but what a token says that the project signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from http_offices import asking, office_at

from trainmaster.http_api.office import Office


@pytest.fixture(scope="module")
def office(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at(embedded.environment, tmp_path_factory.mktemp("office")) as office:
        yield office


def test_a_user_is_told_of_their_own_budget(office: Office) -> None:
    user = uuid4()
    answer = asking(office, user, "vision").get("/api/budget")
    assert answer.status_code == 200
    assert f"user:{user}" in answer.text
    assert "team:vision" in answer.text


def test_nobody_is_told_anything(office: Office) -> None:
    answer = asking(office).get("/api/budget")
    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthenticated"
