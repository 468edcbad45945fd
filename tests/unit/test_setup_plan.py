"""What a set-up does: by what there should be, what there is, and what was left the last time."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.errors import NotConfiguredError
from trainmaster.setup.notifying import sender_of
from trainmaster.setup.plan import Found, Step, record, steps

OLD, NEW = {"cron": "0 6 * * *", "tags": ["a"]}, {"cron": "0 7 * * *", "tags": ["a", "b"]}
BY_HAND = {"cron": "0 9 * * *", "tags": ["a"]}


def left_as(facts: dict[str, Any]) -> dict[str, str]:
    """The record of a set-up that made a thing with these facts."""
    [made] = steps("schedule", {"one": facts}, {}, {})
    return {"one": record(made, "")}


def step(wanted: dict[str, Any], found: dict[str, Any], left: dict[str, str], **options: Any) -> Step:
    [only] = steps("schedule", {"one": wanted}, {"one": Found(found)}, left, **options)
    return only


def test_what_is_not_there_is_created_and_what_is_as_it_should_be_stays() -> None:
    assert [one.action for one in steps("schedule", {"one": NEW}, {}, {})] == ["create"]
    assert step(NEW, NEW, {}).action == "unchanged"


def test_what_an_older_version_left_is_brought_up_to_date_fact_by_fact() -> None:
    found = step(NEW, OLD, left_as(OLD))
    assert (found.action, found.changed, found.kept) == ("update", ("cron", "tags"), ())


def test_what_was_there_before_any_setup_is_brought_up_to_date_as_well() -> None:
    assert step(NEW, BY_HAND, {}).changed == ("cron", "tags")


def test_a_fact_changed_by_hand_is_kept_and_the_others_are_set() -> None:
    found = step(NEW, BY_HAND, left_as(OLD))
    assert (found.action, found.changed, found.kept) == ("update", ("tags",), ("cron",))


def test_what_was_kept_once_is_kept_the_next_time_too_and_put_back_by_a_reset() -> None:
    kept = step(NEW, BY_HAND, left_as(OLD))
    again = {"one": record(kept, left_as(OLD)["one"])}
    now = {**BY_HAND, "tags": NEW["tags"]}
    assert step(NEW, now, again).kept == ("cron",)
    assert step(NEW, now, again, reset=True).changed == ("cron",)


def test_what_is_enforced_is_set_whoever_changed_it() -> None:
    found = step(OLD, BY_HAND, left_as(OLD), enforced=frozenset({"cron"}))
    assert (found.action, found.changed) == ("update", ("cron",))


def test_a_record_of_other_facts_says_nothing() -> None:
    assert step(NEW, BY_HAND, left_as({"cron": "0 6 * * *"})).changed == ("cron", "tags")


def test_only_what_is_ours_or_a_setup_left_is_removed() -> None:
    found = {"ours": Found({}, ours=True), "theirs": Found({}), "one": Found(OLD)}
    planned = steps("schedule", {}, found, left_as(OLD))
    assert [(one.action, one.name) for one in planned] == [("remove", "ours"), ("remove", "one")]


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("https://hooks.slack.com/services/T0/B0/s3cret", "slack-webhook", "Slack"),
        ("https://x.westus.logic.azure.com/workflows/s3cret", "ms-teams-webhook", "Microsoft Teams"),
        ("https://me:s3cret@example.com/hook?token=s3cret", "custom-webhook", "a webhook of example.com"),
        ("mailtos://me:s3cret@smtp.example.com?to=you@example.com", "slack-webhook", "mailtos by way of smtp.example.com"),
    ],
)  # fmt: skip
def test_an_address_becomes_the_block_that_sends_there_and_is_never_said(address: str, kind: str, says: str) -> None:
    sender = sender_of(address)
    assert (sender.block_type, sender.says) == (kind, says)
    assert address in str(sender.data)
    assert "s3cret" not in repr(sender)


@pytest.mark.parametrize("address", ["people@example.com?key=s3cret", "ftp://s3cret", "https://[s3cret", "mailto:"])
def test_what_is_no_address_is_refused_without_being_quoted(address: str) -> None:
    with pytest.raises(NotConfiguredError, match="TRAINMASTER_NOTIFY_URL") as refused:
        sender_of(address)
    assert "s3cret" not in str(refused.value)
