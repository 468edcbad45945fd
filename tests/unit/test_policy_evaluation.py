"""Policies are evaluated as IAM does, and what is not understood is refused rather than guessed."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.embedded.permissions.evaluation import Asked, NotUnderstoodError, decide, statements_of

BUCKET = "arn:aws:s3:::mine"


def decided(*statements: dict[str, Any], action: str = "s3:GetObject", on: str = f"{BUCKET}/a", **context: Any) -> str:
    """What is decided by statements that are about everything where they do not say otherwise."""
    full = [
        {"Sid": f"S{n}", "Effect": "Allow", "Action": "*", "Resource": "*", **one} for n, one in enumerate(statements)
    ]
    keys = {key.replace("_", ":"): (value,) if isinstance(value, str) else value for key, value in context.items()}
    return decide(statements_of({"Statement": full}), Asked(action, on, keys)).word


def met(operator: str, wanted: Any, value: Any = None) -> bool:
    """Whether a condition on one key is met by the key's value, or without it."""
    context = {} if value is None else {"aws_resourcetag/a": value}
    return decided({"Condition": {operator: {"aws:ResourceTag/A": wanted}}}, **context) == "allowed"


def test_what_nothing_speaks_of_is_denied_and_a_deny_wins_wherever_it_stands() -> None:
    deny = {"Effect": "Deny", "Action": "s3:Get*"}
    assert decided() == "implicitDeny"
    assert decided({"Action": "s3:PutObject"}) == "implicitDeny"
    assert decided({}, deny) == decided(deny, {}) == "explicitDeny"
    assert decided({}, deny, action="s3:PutObject") == "allowed"


def test_actions_are_patterns_whatever_their_case_and_resources_are_not() -> None:
    assert decided({"Action": ["S3:get?bject"]}) == "allowed"
    assert decided({"Resource": f"{BUCKET}/*"}) == "allowed"
    assert decided({"Resource": f"{BUCKET}/A"}) == "implicitDeny"
    assert decided({"Resource": BUCKET}) == "implicitDeny"
    assert decided({"Resource": "arn:aws:s3:::mine/[a]"}) == "implicitDeny"


def test_not_action_and_not_resource_are_all_others() -> None:
    for said, word in (("s3:Put*", "allowed"), ("s3:Get*", "implicitDeny")):
        statement = {"Sid": "S", "Effect": "Allow", "NotAction": said, "NotResource": "arn:aws:s3:::yours/*"}
        assert decide(statements_of({"Statement": statement}), Asked("s3:GetObject", f"{BUCKET}/a")).word == word


def test_a_decision_names_every_statement_that_makes_it() -> None:
    both = [{"Sid": sid, "Effect": "Allow", "Action": "s3:*", "Resource": "*"} for sid in ("A", "B")]
    assert decide(statements_of({"Statement": both}), Asked("s3:GetObject", BUCKET)).by == ("A", "B")


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("StringEquals", ["x", "y"], "y", True),
        ("StringEquals", "Y", "y", False),
        ("StringEquals", "y", None, False),
        ("StringEqualsIfExists", "y", None, True),
        ("StringEqualsIfExists", "y", "x", False),
        ("StringEqualsIgnoreCase", "Y", "y", True),
        ("StringNotEquals", ["x", "y"], "z", True),
        ("StringNotEquals", ["x", "y"], "y", False),
        ("StringNotEquals", "y", None, True),
        ("StringLike", "tr?in*", "trainmaster", True),
        ("StringNotLike", "tr*", "trainmaster", False),
        ("ArnLike", "arn:aws:iam::*:role/t-*", "arn:aws:iam::1:role/t-a", True),
        ("ArnLike", "arn:aws:iam:*:role/t", "arn:aws:iam::1:role/t", False),
        ("ArnEquals", "arn:aws:iam::1:role/t", "arn:aws:iam::1:role/t", True),
        ("ArnNotEquals", "arn:aws:iam::1:role/t", "arn:aws:iam::1:role/t", False),
        ("Bool", True, "true", True),
        ("Bool", "false", "true", False),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", False, "x", True),
        ("ForAnyValue:StringEquals", "x", ("x", "z"), True),
        ("ForAnyValue:StringEquals", "x", None, False),
        ("ForAllValues:StringEquals", ["x", "y"], ("x", "z"), False),
        ("ForAllValues:StringEquals", "x", None, True),
        ("ForAllValues:StringNotEquals", "x", ("y", "z"), True),
        ("ForAllValues:StringNotEquals", "x", ("x", "z"), False),
    ],
)  # fmt: skip
def test_a_condition_is_met_or_not(operator: str, wanted: Any, value: Any, expected: bool) -> None:
    assert met(operator, wanted, value) is expected


def test_all_conditions_of_a_statement_are_to_be_met() -> None:
    both = {"StringEquals": {"a:x": "1", "a:y": "2"}, "Null": {"a:z": "true"}}
    assert decided({"Condition": both}, a_x="1", a_y="2") == "allowed"
    assert decided({"Condition": both}, a_x="1", a_y="3") == "implicitDeny"
    assert decided({"Condition": both}, a_x="1", a_y="2", a_z="") == "implicitDeny"


@pytest.mark.parametrize(
    "said",
    [
        {"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}},
        {"Condition": {"StringSounds": {"a": "b"}}},
        {"Condition": {"StringEquals": {"aws:username": "${aws:username}"}}},
        {"Resource": "arn:aws:s3:::home/${aws:username}/*"},
        {"NotPrincipal": "*"},
        {"Effect": "Maybe"},
    ],
    ids=["an operator not evaluated", "no operator", "a variable in a condition", "a variable in a resource", "a principal", "an effect"],
)  # fmt: skip
def test_what_is_not_understood_is_refused_and_not_guessed(said: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstoodError):
        decided({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::another", **said})


def test_what_is_not_understood_matters_to_its_own_actions_alone() -> None:
    statement = {"Effect": "Deny", "Action": "s3:PutObject", "Condition": {"StringSounds": {"a": "b"}}}
    assert decided({}, statement) == "allowed"
