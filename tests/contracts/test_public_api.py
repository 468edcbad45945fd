"""What a client of a published API is answered, over HTTP, by the handler's own code behind API Gateway's rules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from predict_apis import PredictApi

from trainmaster.endpoints.api.stack import public_url


@pytest.fixture(scope="module")
def api(embedded: Any) -> Iterator[PredictApi]:
    api = PredictApi(embedded)
    api.serve()
    api.publish(api.desired(requests_per_second=1000, burst=1000))  # tests ask more than people do
    yield api
    api.remove()


@pytest.fixture
def faults(embedded: Any) -> Iterator[Any]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


def test_a_house_is_answered_with_a_price_the_version_and_the_time(api: PredictApi) -> None:
    said = api.ask({"sqft": 1500})
    assert said.status == 200
    assert said.json == {"predicted_price": 150_000, "model_version": "v1", "timestamp": "2026-01-01T00:00:00.000Z"}
    assert said.headers["access-control-allow-origin"] == "*"
    assert said.headers["x-request-id"] == said.headers["x-amzn-requestid"]


def test_its_address_can_be_asked_of_the_stack_again(api: PredictApi, embedded: Any) -> None:
    template = embedded.environment["TRAINMASTER_API_URL"]
    assert public_url(api.cloudformation, api.endpoint, template, "us-east-1") == api.url
    assert public_url(api.cloudformation, f"{api.endpoint}-not", template, "us-east-1") == ""


def test_curl_is_answered_as_well(api: PredictApi) -> None:
    words = ["-H", f"x-api-key: {api.key}", "-H", "Content-Type: application/json", "-d", '{"sqft": 2000}', api.url]
    done = subprocess.run(["curl", "--silent", "--fail", "--max-time", "30", *words], capture_output=True, check=True)
    assert json.loads(done.stdout)["predicted_price"] == 200_000


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        pytest.param({"sqft": 20}, {}, 400, "sqft is 20; a number from 100 to 20000 is wanted.", id="out of range"),
        pytest.param({}, {}, 400, "sqft is missing; a number from 100 to 20000 is wanted.", id="missing"),
        pytest.param({"sqft": "big"}, {}, 400, 'sqft is "big"; a number from', id="text"),
        pytest.param({"sqft": True}, {}, 400, "sqft is true; a number from", id="boolean"),
        pytest.param({"sqft": 500, "color": 1}, {}, 400, "color is not a feature of this model", id="unknown"),
        pytest.param([{"sqft": 500}], {}, 400, "One JSON object with sqft is wanted.", id="list"),
        pytest.param(b"{", {}, 400, "The body is not JSON.", id="half"),
        pytest.param(b'{"sqft": NaN}', {}, 400, "NaN is not JSON.", id="nan"),
        pytest.param(b'{"sqft": 500, "sqft": 600}', {}, 400, "The body says one name twice.", id="twice"),
        pytest.param(b"[" * 9000, {}, 400, "The body is not JSON.", id="deep"),
        pytest.param(b'{"sqft": \xff}', {}, 400, "The body is not UTF-8.", id="no utf-8"),
        pytest.param(b"", {}, 400, "The body is empty", id="empty"),
        pytest.param({"sqft": 333}, {}, 400, "too unlike", id="refused by the model"),
        pytest.param({"sqft": 500}, {"content_type": "text/csv"}, 415, "Send application/json", id="csv"),
        pytest.param({"sqft": 500}, {"content_type": ""}, 415, "Send application/json", id="untyped"),
        pytest.param(b"1" * 17_000, {}, 413, "The body has 17,000 bytes", id="large for the handler"),
        pytest.param(b"1" * (11 << 20), {}, 413, "Request Entity Too Large", id="large for the gateway"),
        pytest.param({"sqft": 500}, {"x_api_key": ""}, 403, "in the header x-api-key", id="no key"),
        pytest.param({"sqft": 500}, {"x_api_key": "guessed"}, 403, "A valid API key is wanted", id="a wrong key"),
        pytest.param({"sqft": 111}, {}, 502, "The model failed to answer.", id="the model fails"),
        pytest.param({"sqft": 222}, {}, 502, "The model's answer is not a price.", id="no price"),
    ],
)
def test_every_failure_has_its_status_a_sentence_its_id_and_headers_for_browsers(
    api: PredictApi, body: Any, headers: dict[str, str], status: int, said: str
) -> None:
    answer = api.ask(body, **headers)
    assert answer.status == status, answer.body
    assert said in answer.json["error"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json["request_id"] == answer.headers["x-request-id"] == answer.headers["x-amzn-requestid"]
    assert isinstance(answer.json["fields"], list)


def test_fields_name_what_is_wrong_with_each(api: PredictApi) -> None:
    [field] = api.ask({"sqft": 20}).json["fields"]
    assert field["field"] == "sqft"
    assert field["accepted"] == [100.0, 20_000.0]
    assert api.ask({"sqft": 333}).json["fields"] == [{"field": "sqft", "problem": "odd"}]


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        ("ThrottlingException", 429, "1"),
        ("ServiceUnavailable", 503, "5"),
        ("ModelNotReadyException", 503, "5"),
        ("ValidationError", 404, None),
        ("AccessDeniedException", 502, None),
    ],
)
def test_what_sagemaker_refuses_is_told_by_its_own_status(
    api: PredictApi, faults: Any, error: str, status: int, retry: str | None
) -> None:
    faults(operation="InvokeEndpoint", error=error, count=1)
    answer = api.ask({"sqft": 500})
    assert (answer.status, answer.headers.get("retry-after")) == (status, retry), answer.body


def test_a_connection_that_is_cut_is_a_bad_gateway_and_not_tried_again(api: PredictApi, faults: Any) -> None:
    faults(operation="InvokeEndpoint", reset=True, count=1)
    assert api.ask({"sqft": 500}).status == 502
    assert api.ask({"sqft": 500}).status == 200


def test_there_is_no_other_path_and_no_other_method(api: PredictApi) -> None:
    for answer in (api.ask({"sqft": 500}, path="ions"), api.ask(None, method="GET")):
        assert (answer.status, answer.json["error"]) == (404, "There is only POST /predict.")
        assert answer.headers["access-control-allow-origin"] == "*"


def test_a_browser_may_ask_beforehand_without_a_key(api: PredictApi) -> None:
    answer = api.ask(None, method="OPTIONS", x_api_key="", origin="https://houses.example")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "POST,OPTIONS"
    assert "X-Api-Key" in answer.headers["access-control-allow-headers"]


def test_each_request_leaves_one_line_that_says_nothing_of_what_was_asked(api: PredictApi) -> None:
    good, bad = api.ask({"sqft": 7654}), api.ask({"sqft": 4321.125, "secret-street": 99_887_766})
    wanted = {good.headers["x-request-id"], bad.headers["x-request-id"]}

    def lines() -> list[dict[str, Any]]:
        said = [json.loads(line) for line in api.lines() if line.startswith("{")]
        return [line for line in said if line["request_id"] in wanted]

    api.hosting.wait_until(lambda: len(lines()) == 2)
    assert [(line["status"], line["outcome"]) for line in lines()] == [(200, "predicted"), (400, "invalid")]
    log = "\n".join(api.lines())
    assert not any(word in log for word in ("7654", "4321.125", "765400", "secret-street", "99887766", api.key))


def test_every_invocation_is_reported_and_the_process_stays_warm(api: PredictApi) -> None:
    api.ask({"sqft": 500})
    before = len(api.lines())
    for _ in range(3):
        assert api.ask({"sqft": 500}).status == 200
    api.hosting.wait_until(lambda: len([line for line in api.lines()[before:] if line.startswith("REPORT")]) >= 3)
    later = api.lines()[before:]
    assert all("Memory Size: 256 MB" in line for line in later if line.startswith("REPORT"))
    assert not any("Init Duration" in line for line in later)


def test_many_may_ask_at_once(api: PredictApi) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda sqft: api.ask({"sqft": sqft}), range(1000, 1024)))
    assert [answer.json.get("predicted_price", answer.body) for answer in answers] == [
        sqft * 100 for sqft in range(1000, 1024)
    ]
