"""`POST /predict`, retired Lambda and budgets over HTTP, on the embedded AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from hosting import Hosting, archive
from http_offices import asking, office_at
from predict_apis import MODEL

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer
from trainmaster.budget.charge import Charge
from trainmaster.budget.equivalents import equivalents
from trainmaster.http_api.office import Office

LAMBDA = "/api/training/deploy/lambda"
CARD = {"features": {"sqft": {"mean": 1800, "accepted": [100, 20_000]}}}


@pytest.fixture(scope="module")
def endpoint(embedded: Any) -> Iterator[str]:
    """In service, with a model that says what it accepts."""
    hosting, name = Hosting(embedded), f"http-predict-{uuid4().hex[:8]}"
    uri = hosting.upload(archive({"code/inference.py": MODEL, "model_card.json": json.dumps(CARD)}))
    config = hosting.config(hosting.variant(hosting.model(artifact=uri)))
    hosting.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    hosting.endpoints.append(name)
    hosting.settled(name)
    yield name
    hosting.remove()


@pytest.fixture
def environment(embedded: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)
    return dict(embedded.environment)


@pytest.fixture
def office(environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Office]:
    offered = request.getfixturevalue("endpoint") if "endpoint" in request.fixturenames else "nothing-here"
    with office_at(environment, tmp_path, http_predict_endpoints=f"{offered},not-in-service") as opened:
        yield opened


@pytest.fixture
def client(office: Office) -> Iterator[TestClient]:
    with asking(office, uuid4()) as opened:
        yield opened


class TestPredict:
    def test_a_house_is_answered_with_a_price_and_the_version(self, endpoint: str, client: TestClient) -> None:
        for where in ("/predict", f"/predict?endpoint={endpoint}"):
            said = client.post(where, json={"sqft": 1800})
            assert (said.status_code, said.json()["predicted_price"]) == (200, 180_000)
            assert said.json()["model_version"] == "v1"

    @pytest.mark.parametrize(
        ("body", "kind", "answer"),
        [
            (b'{"sqft": 99}', "application/json", (400, "Invalid")),
            (b'{"sqft": true, "rooms": 1}', "application/json", (400, "Invalid")),
            (b"[1]", "application/json", (400, "Invalid")),
            (b"{", "application/json", (400, "NotJson")),
            (b"\xff", "application/json", (400, "NotUtf8")),
            (b'{"sqft": 1800}', "text/plain", (415, "UnsupportedType")),
            (b" " * 17_000, "application/json", (413, "TooLarge")),
            (b'{"sqft": 333}', "application/json", (400, "RefusedByModel")),
            (b'{"sqft": 222}', "application/json", (502, "NoPrice")),
            (b'{"sqft": 111}', "application/json", (502, "ModelFailed")),
        ],
        ids=["range", "type", "list", "json", "utf8", "kind", "large", "model", "price", "failed"],
    )
    def test_what_is_no_price_is_told_as_every_error_with_each_field(
        self, endpoint: str, client: TestClient, body: bytes, kind: str, answer: tuple[int, str]
    ) -> None:
        assert endpoint
        said = client.post("/predict", content=body, headers={"Content-Type": kind})
        assert (said.status_code, said.json()["error"]) == answer
        assert said.json()["request_id"]

    def test_a_field_is_named_with_what_is_accepted(self, endpoint: str, client: TestClient) -> None:
        assert endpoint
        [problem] = client.post("/predict", json={"sqft": 99}).json()["problems"]
        assert (problem["field"], problem["accepted"]) == ("sqft", [100, 20_000])
        assert "is 99; a number from 100 to 20000 is wanted" in problem["message"]

    def test_only_what_is_offered_and_in_service_is_asked_and_only_for_who_has_a_session(
        self, endpoint: str, client: TestClient, office: Office
    ) -> None:
        assert endpoint
        for other in ("not-in-service", "somebody-elses"):
            assert client.post(f"/predict?endpoint={other}", json={"sqft": 1800}).status_code == 404
        with asking(office) as nobody:
            assert nobody.post("/predict", json={"sqft": 1800}).status_code == 401

    def test_a_model_that_does_not_say_what_it_accepts_is_asked_nothing(
        self, environment: dict[str, str], embedded: Any, tmp_path: Path
    ) -> None:
        silent = {"features": {"sqft": {"mean": 1800}}}
        hosting, name = Hosting(embedded), f"http-mute-{uuid4().hex[:8]}"
        uri = hosting.upload(archive({"code/inference.py": MODEL, "model_card.json": json.dumps(silent)}))
        config = hosting.config(hosting.variant(hosting.model(artifact=uri)))
        hosting.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        hosting.endpoints.append(name)
        try:
            with (
                office_at(environment, tmp_path, http_predict_endpoints=name) as office,
                asking(office, uuid4()) as client,
            ):
                said = client.post("/predict", json={"sqft": 1800})
            assert (said.status_code, said.json()["error"]) == (502, "ModelFailed")
        finally:
            hosting.settled(name)
            hosting.remove()

    def test_a_busy_endpoint_is_told_as_later(self, endpoint: str, client: TestClient, embedded: Any) -> None:
        assert endpoint
        embedded.control("POST", "faults", {"operation": "InvokeEndpoint", "error": "ThrottlingException"})
        try:
            said = client.post("/predict", json={"sqft": 1800})
        finally:
            embedded.control("DELETE", "faults")
        assert (said.status_code, said.headers["Retry-After"]) == (429, "1")


class TestLambda:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_every_method_is_gone_with_a_guide_whoever_asks(self, office: Office, method: str) -> None:
        with asking(office) as nobody:
            said = nobody.request(method, LAMBDA)
            assert nobody.request(method, f"{LAMBDA}/123/logs").status_code == 410
        assert (said.status_code, said.json()["error"]) == (410, "Gone")
        guide = said.json()["migration_guide"]
        assert guide["endpoint"] == "POST /api/training/deploy/sagemaker"
        assert [one["lambda_instance_type"] for one in guide["all"]] == list(equivalents())
        assert all(Decimal(one["sagemaker_usd_per_hour"]) > 0 for one in guide["all"])
        assert guide["equivalent"] is None

    @pytest.mark.parametrize(
        "asked",
        [
            {"json": {"instance_type": "gpu_1x_a10"}},
            {"params": {"instance_type": "GPU_1x_A10"}},
            {"data": {"instance_type_name": "gpu_1x_a10"}},
        ],
        ids=["json", "query", "form"],
    )
    def test_the_equivalent_of_what_was_asked_for_is_named_with_both_prices(
        self, client: TestClient, asked: dict[str, Any]
    ) -> None:
        said = client.post(LAMBDA, **asked).json()
        known = equivalents()["gpu_1x_a10"]
        equivalent = said["migration_guide"]["equivalent"]
        assert equivalent["sagemaker_instance_type"] == known.sagemaker_type
        assert Decimal(equivalent["lambda_usd_per_hour"]) == known.usd
        assert known.sagemaker_type in said["message"]
        assert known.sagemaker_type in said["migration_guide"]["steps"][0]

    @pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 60_000, b'{"instance_type": ["x"]}', b"x" * 100_000])
    def test_a_body_nobody_understands_is_gone_as_well(self, client: TestClient, body: bytes) -> None:
        assert client.post(LAMBDA, content=body, headers={"Content-Type": "application/json"}).status_code == 410


class TestBudget:
    def test_a_caller_sees_their_own_books_and_of_the_account_only_what_is_left(self, office: Office) -> None:
        user, other, ledger = uuid4(), uuid4(), office.desk.ledger
        for budget, limit in ((Budget("user", str(user)), "50"), (Budget("team", "vision"), "100"), (ACCOUNT, "500")):
            ledger.set_limit(budget, Decimal(limit), set_by="a test")
        for key, amount, payer in (("one", "11", Payer(user, "vision")), ("two", "5", Payer(other))):
            ledger.reserve(Charge(key, Decimal(amount), Decimal(1), f"arn:aws:x:us-east-1:1:job/{key}", payer))
        with asking(office, user, team="vision") as client:
            account, team, own = client.get("/api/budget").json()
            assert (account["scope"], Decimal(account["limit"]), Decimal(account["left"])) == ("account", 500, 484)
            assert {account[name] for name in ("settled", "reserved", "percent")} == {None}
            assert (team["budget"], Decimal(team["left"]), team["percent"]) == ("team:vision", 89, 11)
            assert (own["budget"], Decimal(own["reserved"]), own["percent"]) == (f"user:{user}", 11, 22)
            history = client.get("/api/budget/history").json()["entries"]
            assert {one["subject"] for one in history if one["what"] == "reserved"} == {"one"}
            assert client.get("/api/budget", params={"month": "2026-13"}).status_code == 400
        with asking(office) as nobody:
            assert nobody.get("/api/budget").status_code == 401
