"""inference.py: what may be asked, what is answered, and how a refusal reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.wrappers import Response

from model import inference, train
from model.inference import Model

HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1995}
JSON, CSV = "application/json", "text/csv"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    base = tmp_path_factory.mktemp("model")
    data = Path(train.__file__).parent / "data"
    options = ["--training", str(data), "--model-dir", str(base), "--output-data-dir", str(base / "output")]
    assert train.main(options) == 0
    return inference.model_fn(str(base))


@pytest.fixture(scope="module")
def cheap_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model whose line drops below zero for small houses."""
    base = tmp_path_factory.mktemp("cheap")
    rows = "".join(f"3,2,{sqft},1990,{400 * sqft - 700_000}\n" for sqft in range(2000, 4000, 40))
    (base / "houses.csv").write_text("bedrooms,bathrooms,sqft,year_built,price\n" + rows)
    options = ["--training", str(base), "--model-dir", str(base), "--output-data-dir", str(base / "output")]
    assert train.main(options) == 0
    return inference.model_fn(str(base))


def asked(model: Model, body: str | bytes, content_type: str | None = JSON, accept: str | None = JSON) -> Any:
    """The three functions in the order every container calls them."""
    houses = inference.input_fn(body, content_type)
    return inference.output_fn(inference.predict_fn(houses, model), accept)


def answered(model: Model, body: str | bytes, content_type: str | None = JSON) -> Any:
    text, kind = asked(model, body, content_type)
    assert kind == JSON
    return json.loads(text)


def refused(model: Model, body: str | bytes, content_type: str | None = JSON, status: int = 400) -> Any:
    response = asked(model, body, content_type)
    assert isinstance(response, Response)
    assert (response.status_code, response.mimetype) == (status, JSON)

    def strict(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return json.loads(response.get_data(), parse_constant=strict)


def test_a_json_object_is_answered_with_price_version_and_time(model: Model) -> None:
    answer = answered(model, json.dumps(HOUSE))

    assert list(answer) == ["predicted_price", "model_version", "timestamp"]
    assert isinstance(answer["predicted_price"], int)
    assert 200_000 < answer["predicted_price"] < 700_000
    assert answer["model_version"] == "v1"
    assert answer["timestamp"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(answer["timestamp"])).total_seconds()) < 60


def test_the_price_is_the_models_own_to_the_dollar(model: Model) -> None:
    [price] = model.regression.predict([[HOUSE[name] for name in inference.FEATURES]])
    assert answered(model, json.dumps(HOUSE))["predicted_price"] == round(price)


def test_a_json_list_is_answered_with_a_list_in_its_order(model: Model) -> None:
    bigger = {**HOUSE, "sqft": 3000}
    answers = answered(model, json.dumps([bigger, HOUSE]))

    assert [answer["predicted_price"] for answer in answers] == [
        answered(model, json.dumps(house))["predicted_price"] for house in (bigger, HOUSE)
    ]
    assert isinstance(answered(model, json.dumps([HOUSE])), list)


@pytest.mark.parametrize(
    "body",
    [
        "3,2,1800,1995",
        "3, 2.0, 1.8e3, 1995\r\n",
        "bedrooms,bathrooms,sqft,year_built\n3,2,1800,1995\n",
        "year_built,sqft,bathrooms,bedrooms\n\n1995,1800,2,3\n\n",
        '"bedrooms","bathrooms","sqft","year_built"\n"3","2","1800","1995"',
    ],
)
def test_csv_is_answered_with_or_without_a_header(model: Model, body: str) -> None:
    assert answered(model, body, CSV)["predicted_price"] == answered(model, json.dumps(HOUSE))["predicted_price"]


def test_several_csv_lines_are_answered_with_a_list(model: Model) -> None:
    assert len(answered(model, "3,2,1800,1995\n3,2,3000,1995\n", CSV)) == 2


@pytest.mark.parametrize("content_type", [JSON, None, "", "Application/JSON; charset=utf-8"])
@pytest.mark.parametrize("prefix", ["", "\ufeff"])
def test_bodies_are_read_as_text_or_utf8_bytes(model: Model, content_type: str | None, prefix: str) -> None:
    body = prefix + json.dumps(HOUSE)
    assert answered(model, body, content_type)["model_version"] == "v1"
    assert answered(model, body.encode(), content_type)["model_version"] == "v1"


def test_csv_is_answered_to_who_accepts_it(model: Model) -> None:
    text, kind = asked(model, json.dumps([HOUSE, HOUSE]), accept=CSV)

    assert kind == CSV
    lines = [line.split(",") for line in text.splitlines()]
    price = str(answered(model, json.dumps(HOUSE))["predicted_price"])
    assert [line[:2] for line in lines] == [[price, "v1"], [price, "v1"]]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/json, text/csv", JSON),
        ("text/csv;q=1", CSV),
        ("image/png, */*", JSON),
    ],
)
def test_the_accept_header_decides_the_answers_type(model: Model, accept: str | None, kind: str) -> None:
    assert asked(model, json.dumps(HOUSE), accept=accept or None)[1] == kind


def test_what_cannot_be_accepted_is_a_406(model: Model) -> None:
    response = asked(model, json.dumps(HOUSE), accept="image/png")
    assert response.status_code == 406
    assert "accept application/json or text/csv" in response.get_data(as_text=True)


SQFT = "accepted is a number from 100 to 20000"
WRONG_VALUES = {
    "-5": "sqft is -5",
    "0": "sqft is 0",
    "20001": "sqft is 20001",
    "1e300": "sqft is 1e+300",
    "9" * 400: f"sqft is {'9' * 39}…",
    "NaN": "sqft is NaN",
    "Infinity": "sqft is Infinity",
    "-Infinity": "sqft is -Infinity",
    '"1800"': 'sqft is "1800"',
    "true": "sqft is true",
    "null": "sqft is null",
    "[1800]": "sqft is a list",
    "{}": "sqft is an object",
}


@pytest.mark.parametrize(("value", "said"), WRONG_VALUES.items())
def test_a_wrong_value_is_refused_with_field_value_and_accepted_range(model: Model, value: str, said: str) -> None:
    body = json.dumps({**HOUSE, "sqft": 0}).replace('"sqft": 0', f'"sqft": {value}')
    refusal = refused(model, body)

    assert refusal["error"] == f"{said}; {SQFT}."
    [problem] = refusal["problems"]
    assert problem["field"] == "sqft"
    assert problem["accepted"] == [100, 20000]


def test_the_refused_value_is_given_back_as_json_can_carry_it(model: Model) -> None:
    asked_for = [-5, 2.5e9, "1800", True, float("nan"), int("9" * 400), [1800]]
    refusal = refused(model, json.dumps([{**HOUSE, "sqft": value} for value in asked_for]))
    assert [problem["value"] for problem in refusal["problems"]] == [
        -5, 2.5e9, "1800", True, "NaN", "9" * 39 + "…", "a list",
    ]  # fmt: skip


@pytest.mark.parametrize("field", inference.FEATURES)
def test_every_feature_is_needed_and_bounded(model: Model, field: str) -> None:
    low, high = model.accepted[field]
    assert (
        f"{field} is missing; accepted is a number from {low:.0f} to {high:.0f}"
        in refused(model, json.dumps({name: value for name, value in HOUSE.items() if name != field}))["error"]
    )
    for edge in (low, high):
        assert inference.is_within(edge, model.accepted[field])
    for beyond in (low - 1, high + 1):
        assert f"{field} is " in refused(model, json.dumps({**HOUSE, field: beyond}))["error"]


def test_an_unknown_feature_is_refused_by_name(model: Model) -> None:
    error = refused(model, json.dumps({**HOUSE, "garage": 1}))["error"]
    assert error == '"garage" is not a feature of this model; it knows bedrooms, bathrooms, sqft, year_built.'


def test_all_problems_of_all_houses_are_told_at_once(model: Model) -> None:
    refusal = refused(model, json.dumps([HOUSE, {"bedrooms": -1, "bathrooms": 2, "sqft": 1800, "garage": 1}, 7]))

    assert [(problem["row"], problem.get("field")) for problem in refusal["problems"]] == [
        (2, "bedrooms"), (2, "year_built"), (2, "garage"), (3, None),
    ]  # fmt: skip
    assert "house 2: bedrooms is -1" in refusal["error"]
    assert "house 3: a JSON object with bedrooms, bathrooms, sqft, year_built is wanted, not 7" in refusal["error"]


def test_a_thousand_problems_are_counted_and_a_hundred_told(model: Model) -> None:
    refusal = refused(model, json.dumps([{**HOUSE, "sqft": -1}] * 1000))
    assert refusal["problem_count"] == 1000
    assert len(refusal["problems"]) == 100
    assert refusal["error"].endswith("And 900 more problems.")


CSV_MISTAKES = {
    "3,2,abc,1995": 'sqft is "abc"',
    "3,2,,1995": 'sqft is ""',
    "3,2,nan,1995": "sqft is NaN",
    "3,2,-inf,1995": "sqft is -Infinity",
    "3,2,1_800,1995": 'sqft is "1_800"',
    "3,2,1800": "house 1 has 3 values; 4 are wanted",
    "3,2,1800,1995\n3,2,-1,1995": "house 2: sqft is -1",
    "bedrooms,bathrooms,area,year_built\n3,2,1800,1995": '"area" is not a feature',
    "bedrooms,bathrooms,sqft,sqft\n3,2,1800,1995": "names a feature twice",
    "bedrooms,bathrooms,sqft,year_built": "a header and no house",
    '3,2,"1800,1995': "the body is not CSV",
}


@pytest.mark.parametrize(("body", "said"), CSV_MISTAKES.items())
def test_csv_mistakes_are_refused_by_name(model: Model, body: str, said: str) -> None:
    assert said in refused(model, body, CSV)["error"]


NOT_HOUSES = {
    "": "the body is empty",
    " \n": "the body is empty",
    "{": "the body is not JSON",
    "3,2,1800,1995": "the body is not JSON",
    "[" * 100_000: "the body is not JSON",
    "1" * 5_000: "the body is not JSON",
    "[]": "the list is empty",
    "5": "is wanted, not 5",
    "[[3, 2, 1800, 1995]]": "is wanted, not a list",
}


@pytest.mark.parametrize(("body", "said"), NOT_HOUSES.items(), ids=lambda text: text[:12])
def test_a_body_without_houses_is_refused(model: Model, body: str, said: str) -> None:
    assert said in refused(model, body)["error"]


def test_bytes_that_are_not_utf8_are_refused(model: Model) -> None:
    assert "not UTF-8: byte 1 is 0xe9" in refused(model, b"\x22\xe9\x22")["error"]


@pytest.mark.parametrize("content_type", ["application/x-npy", "text/plain", "image/png"])
def test_another_content_type_is_a_415(model: Model, content_type: str) -> None:
    error = refused(model, b"\x93NUMPY", content_type, status=415)["error"]
    assert f'content type "{content_type}" is not supported; send application/json or text/csv' in error


def test_a_house_the_line_prices_below_zero_is_refused_and_never_answered(cheap_model: Model) -> None:
    refusal = refused(cheap_model, json.dumps([{**HOUSE, "sqft": 3000}, {**HOUSE, "sqft": 500}]))
    assert refusal["error"].startswith("house 2: the model prices this house at -500,000 USD")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*inference.FEATURES, "x"]), inner),
    max_leaves=12,
)


@given(ANYTHING)
def test_any_json_gets_a_positive_price_or_a_refusal_with_a_reason(model: Model, content: Any) -> None:
    answer = asked(model, json.dumps(content))
    if isinstance(answer, Response):
        assert answer.status_code == 400
        assert json.loads(answer.get_data())["error"]
    else:
        prices = json.loads(answer[0])
        assert all(price["predicted_price"] > 0 for price in (prices if isinstance(prices, list) else [prices]))


@given(st.text(alphabet=st.sampled_from('0123456789.,-+eEnaif_"\n\r bdrtomsq'), max_size=60) | st.text(max_size=40))
def test_any_csv_gets_a_positive_price_or_a_refusal_with_a_reason(model: Model, body: str) -> None:
    answer = asked(model, body, CSV)
    assert not isinstance(answer, Response) or json.loads(answer.get_data())["error"]
