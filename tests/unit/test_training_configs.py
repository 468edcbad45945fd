"""A training config becomes trainer and hyperparameters completely, and all that is wrong with it is said at once."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.training.configs import CHOOSING, read_recipe
from trainmaster.training.hyperparameters import LONGEST_VALUE, MOST, OURS, encoded
from trainmaster.training.limits import environment_problems, tag_problems
from trainmaster.training.plan import OUR_TAGS
from trainmaster.training.trainers import HOUSE_PRICES

OWN = {
    "image_uri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
    "source_uri": "s3://bucket-1/code/sourcedir.tar.gz",
    "entry_point": "train.py",
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=12), json_values, max_size=8))
def test_every_key_but_those_that_choose_the_trainer_becomes_a_hyperparameter(config: dict[str, Any]) -> None:
    recipe = read_recipe({**config, "trainer": "house-prices"})
    assert recipe.trainer is HOUSE_PRICES
    assert dict(recipe.hyperparameters) == {key: value for key, value in config.items() if key not in CHOOSING}


@given(st.dictionaries(st.text(max_size=12), json_values, max_size=8))
def test_what_is_sent_says_what_was_meant_whatever_the_order_of_keys(values: dict[str, Any]) -> None:
    sent, _ = encoded(values)
    assert {key: json.loads(text) for key, text in sent.items()} == values
    turned = dict(reversed([(key, _turned(value)) for key, value in values.items()]))
    assert encoded(turned)[0] == sent


def _turned(value: Any) -> Any:
    """The same, with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: _turned(one) for key, one in reversed(value.items())}
    return [_turned(one) for one in value] if isinstance(value, list) else value


def test_strings_are_json_as_the_sdk_writes_them() -> None:
    assert encoded({"a": "text", "b": 1, "c": True, "d": None, "e": 2e-5})[0] == {
        "a": '"text"', "b": "1", "c": "true", "d": "null", "e": "2e-05",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rate": float("nan")}, "'rate' is not JSON"),
        ({"deep": {"rate": [float("inf")]}}, "'deep' is not JSON"),
        (
            {"prompt": "x" * LONGEST_VALUE},
            f"'prompt' is {LONGEST_VALUE + 2:,} characters long; at most {LONGEST_VALUE:,}",
        ),
        ({"k" * 257: 1}, "has 257 characters; at most 256"),
        ({OURS[0]: "theirs.py"}, f"'{OURS[0]}' is set by Trainmaster"),
        ({"": 1}, "cannot be the name"),
        ({"two\nlines": 1}, "cannot be the name"),
        ({"x": "a\0b"}, "NUL"),
        ({f"p{number}": number for number in range(97)}, f"There are 97 hyperparameters; SageMaker takes {MOST}"),
    ],
)
def test_what_sagemaker_would_refuse_is_a_problem_that_names_it(values: dict[str, Any], said: str) -> None:
    [problem] = encoded(values)[1]
    assert said in problem.message
    assert problem.kind == "hyperparameters"


def test_every_hyperparameter_that_is_wrong_is_named() -> None:
    found = encoded({"a": "x" * 3000, "b": float("nan"), "c": "y" * 3000, "d": 1})[1]
    assert [problem.message.split("'")[1] for problem in found] == ["a", "b", "c"]


def test_as_many_as_sagemaker_takes_and_as_long_pass() -> None:
    full = {f"p{number}": "x" * (LONGEST_VALUE - 2) for number in range(MOST - len(OURS))}
    sent, problems = encoded(full)
    assert problems == []
    assert len(sent) == MOST - len(OURS)
    assert encoded({"x": "\\u0000 is six characters"})[1] == []


def test_a_program_of_ones_own_is_taken_as_it_is_described() -> None:
    chosen = {
        **OWN,
        "metrics": {"loss": "loss=([0-9.]+)"},
        "content_type": "text/csv",
        "most_instances": 2,
        "checkpoints": True,
    }
    recipe = read_recipe({"trainer": chosen, "epochs": 3, "training_method": "mine"})
    assert recipe.problems == ()
    assert recipe.trainer
    for name, value in chosen.items():
        assert getattr(recipe.trainer, name) == value
    assert dict(recipe.hyperparameters) == {"epochs": 3, "training_method": "mine"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "a JSON list, not an object"),
        (None, "a JSON null, not an object"),
        ("x", "a JSON string, not an object"),
        ({}, "does not say which program trains"),
        ({"trainer": "house-price"}, "no trainer 'house-price'. Did you mean 'house-prices'?"),
        ({"trainer": 7}, "a JSON number"),
        ({"trainer": {**OWN, "entrypoint": "x.py"}}, "unknown key 'entrypoint'. Did you mean 'entry_point'?"),
        ({"trainer": {**OWN, "image_uri": ""}}, "`trainer.image_uri`"),
        ({"trainer": {**OWN, "image_uri": "an image"}}, "`trainer.image_uri`"),
        ({"trainer": {**OWN, "source_uri": "https://x/sourcedir.tar.gz"}}, "`trainer.source_uri`"),
        ({"trainer": {**OWN, "source_uri": "s3://bucket-1/code/"}}, "`trainer.source_uri`"),
        ({"trainer": {**OWN, "entry_point": "../train.py"}}, "`trainer.entry_point`"),
        ({"trainer": {**OWN, "entry_point": "a/../../train.py"}}, "must lie within the sourcedir.tar.gz"),
        ({"trainer": {**OWN, "entry_point": "train.py; rm -rf /"}}, "`trainer.entry_point`"),
        ({"trainer": {**OWN, "metrics": {"loss": "("}}}, "no regular expression for 'loss'"),
        ({"trainer": {**OWN, "metrics": {f"m{n}": "x" for n in range(41)}}}, "has 41 metrics; SageMaker takes 40"),
        ({"trainer": {**OWN, "metrics": {"m": "x" * 501}}}, "expression of 501"),
        ({"trainer": {**OWN, "metrics": ["loss"]}}, "`trainer.metrics`"),
        ({"trainer": {**OWN, "most_instances": 0}}, "`trainer.most_instances`"),
        ({"trainer": {**OWN, "most_instances": "2"}}, "`trainer.most_instances`"),
        ({"trainer": {**OWN, "checkpoints": "yes"}}, "`trainer.checkpoints`"),
        ({"trainer": "house-prices", "dataset_roles": ["train"]}, "`dataset_roles` of the training config is a JSON list"),
        ({"trainer": "house-prices", "dataset_roles": {"x": "train"}}, "'x', which is no dataset's id"),
        ({"trainer": "house-prices", "dataset_roles": {str(uuid4()): "validate"}}, "Did you mean 'validation'?"),
    ],
)  # fmt: skip
def test_a_config_that_is_wrong_is_told_what_and_what_to_do(config: Any, said: str) -> None:
    [problem] = read_recipe(config).problems
    assert said in problem.message
    assert problem.kind == "config"
    assert problem.remedy


def test_everything_that_is_wrong_with_a_program_is_said_at_once() -> None:
    found = read_recipe({"trainer": {"entry_point": "train", "colour": "red", "most_instances": 99}}).problems
    said = " ".join(problem.message for problem in found)
    assert all(name in said for name in ("'colour'", "image_uri", "source_uri", "entry_point", "most_instances"))


def test_a_secret_in_the_wrong_place_is_not_quoted() -> None:
    token = "hf_" + "a1" * 15
    for config in ({"trainer": token}, {"trainer": {**OWN, token: 1}}, {"training_method": token}):
        assert token not in "".join(problem.sentence() for problem in read_recipe(config).problems)


def test_roles_are_read_by_dataset() -> None:
    first, second = uuid4(), uuid4()
    recipe = read_recipe(
        {"trainer": "house-prices", "dataset_roles": {str(first).upper(): "Train", str(second): "validation"}}
    )
    assert dict(recipe.roles) == {UUID(str(first)): "training", second: "validation"}


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["trainer", "dataset_roles", "image_uri", "metrics", "entry_point"]), inner), max_leaves=8))  # fmt: skip
def test_whatever_the_application_let_somebody_write_is_read_without_a_fault(config: Any) -> None:
    recipe = read_recipe(config)
    assert (recipe.trainer is None) <= bool(recipe.problems)


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"1A": "x"}, "cannot be the name"), ({"A-B": "x"}, "cannot be the name"), ({"A": "x" * 513}, "has 513 characters"),
     ({"A": "\0"}, "NUL"), ({f"A{n}": "x" for n in range(100)}, "There are 101")],
)  # fmt: skip
def test_an_environment_sagemaker_would_refuse_is_a_problem(environment: dict[str, str], said: str) -> None:
    [problem] = environment_problems(environment)
    assert said in problem.message


@pytest.mark.parametrize(
    ("tags", "said"),
    [({"aws:x": "1"}, "aws:"), ({"k" * 129: "1"}, "a key of 129"), ({"k": "v" * 257}, "a value of 257"), ({"k": "a;b"}, "characters"),
     ({"": "x"}, "a key of 0"), ({f"t{n}": "x" for n in range(50 - len(OUR_TAGS) + 1)}, "There are 51 tags")],
)  # fmt: skip
def test_tags_aws_would_refuse_are_a_problem(tags: dict[str, str], said: str) -> None:
    [problem] = tag_problems(tags)
    assert said in problem.message


def test_as_many_tags_and_variables_as_aws_takes_pass() -> None:
    assert list(tag_problems({f"Ünïcode {n}/a:b=c+d-e@f._": "é 1" for n in range(50 - len(OUR_TAGS))})) == []
    assert list(environment_problems({f"A{n}": "x" * 512 for n in range(99)})) == []
