"""Keys of requests over HTTP, on both databases."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from catalogues import Place, at_once
from sqlalchemy import update

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.idempotency import KEPT, IdempotencyKeys, KeptAnswer, KnownKey
from trainmaster.catalog.tables import idempotency_keys

FIRST, SECOND = KeptAnswer(201, '{"b": 1,  "a": 2}'), KeptAnswer(200, "{}")
HOUR = timedelta(hours=1)


@pytest.fixture
def keys(catalogue: Catalogue) -> IdempotencyKeys:
    return catalogue.idempotency_keys


@pytest.fixture
def user() -> UUID:
    return uuid4()


def age(catalogue: Catalogue, user: UUID, by: timedelta) -> None:
    with catalogue.database.writing() as connection:
        then = catalogue.database.now(connection) - by
        connection.execute(update(idempotency_keys).where(idempotency_keys.c.user_id == user).values(at=then))


def test_a_key_is_of_the_request_it_came_with_first_and_answers_it_to_the_byte(
    keys: IdempotencyKeys, user: UUID
) -> None:
    assert keys.begin(user, "k", "one") == KnownKey("one", None)
    assert keys.begin(user, "k", "two") == KnownKey("one", None)
    assert keys.keep(user, "k", "one", FIRST) == FIRST
    assert keys.begin(user, "k", "one") == KnownKey("one", FIRST)
    assert keys.begin(uuid4(), "k", "two") == KnownKey("two", None)
    assert keys.begin(user, "K", "two") == KnownKey("two", None)


def test_the_first_answer_that_is_kept_is_everybodys(keys: IdempotencyKeys, catalogue_place: Place, user: UUID) -> None:
    keys.begin(user, "k", "one")

    def keep(number: int) -> KeptAnswer:
        opened = catalogue_place.open()
        answer = opened.idempotency_keys.keep(user, "k", "one", KeptAnswer(200 + number, str(number)))
        opened.close()
        return answer

    assert len(set(at_once(6, keep))) == 1


def test_a_refused_request_frees_its_key_and_an_answered_one_does_not(keys: IdempotencyKeys, user: UUID) -> None:
    keys.begin(user, "k", "one")
    keys.forget(user, "k", "two")
    assert keys.begin(user, "k", "two") == KnownKey("one", None)
    keys.forget(user, "k", "one")
    assert keys.begin(user, "k", "two") == KnownKey("two", None)
    keys.keep(user, "k", "two", SECOND)
    keys.forget(user, "k", "two")
    assert keys.begin(user, "k", "two") == KnownKey("two", SECOND)


def test_an_answer_to_a_key_that_was_freed_meanwhile_is_still_the_answer(keys: IdempotencyKeys, user: UUID) -> None:
    assert keys.keep(user, "k", "one", FIRST) == FIRST


def test_a_key_is_kept_for_a_day(keys: IdempotencyKeys, catalogue: Catalogue, user: UUID) -> None:
    keys.begin(user, "k", "one")
    keys.keep(user, "k", "one", FIRST)
    age(catalogue, user, KEPT - HOUR)
    assert keys.begin(user, "k", "two") == KnownKey("one", FIRST)
    age(catalogue, user, KEPT + HOUR)
    assert keys.begin(user, "k", "two") == KnownKey("two", None)
