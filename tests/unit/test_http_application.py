"""What holds for every request over HTTP, whichever route it is for."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from http_offices import NOWHERE, RecordingRuns, asking, bearer, office_at, token
from openapi_spec_validator import validate
from pydantic import BaseModel, ConfigDict

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.errors import NotConfiguredError
from trainmaster.http_api import probes
from trainmaster.http_api.application import application
from trainmaster.http_api.callers import Asking
from trainmaster.http_api.log_lines import ACCESS, JsonLines
from trainmaster.http_api.office import Office
from trainmaster.http_api.workspace_models import TemplateAnswer
from trainmaster.settings import Settings
from trainmaster.workspaces.templates.loading import read_templates

Opener = Callable[..., Office]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens an office with settings of one's own."""
    with ExitStack() as stack:

        def open_one(runs: RecordingRuns | None = None, **settings: Any) -> Office:
            office: AbstractContextManager[Office] = office_at(NOWHERE, tmp_path, runs, **settings)
            return stack.enter_context(office)

        yield open_one


class Letter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    copies: int = 1


def with_letters(office: Office) -> FastAPI:
    """The application with one more route, which takes letters, and one that nobody foresaw would fail."""
    app = application(office)

    @app.post("/letters")
    def letters(letter: Letter) -> dict[str, int]:
        return {"length": len(letter.text)}

    @app.get("/crash")
    def crash(_caller: Asking) -> None:
        raise ZeroDivisionError("a secret of the database")

    @app.get("/unset")
    def unset() -> None:
        raise NotConfiguredError("DATABASE_URL is refused for somebody@db.internal.")

    return app


class TestAnAnswer:
    def test_has_the_id_of_its_request_which_a_client_may_choose(self, opened: Opener) -> None:
        client = asking(opened())
        assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
        ids = {client.get("/healthz").headers["X-Request-ID"] for _ in range(3)}
        assert len(ids) == 3

    @pytest.mark.parametrize("chosen", ["a b", "x" * 65, '"}{', "é"], ids=["space", "long", "quotes", "accent"])
    def test_has_an_id_of_ours_where_a_client_chose_what_does_not_belong_in_a_log(
        self, opened: Opener, chosen: str
    ) -> None:
        answer = asking(opened()).get("/healthz", headers={"X-Request-ID": chosen.encode()})  # type: ignore[dict-item]
        assert answer.headers["X-Request-ID"] != chosen
        assert len(answer.headers["X-Request-ID"]) == 32

    def test_is_kept_by_no_cache(self, opened: Opener) -> None:
        assert asking(opened(), uuid4()).get("/api/budget").headers["Cache-Control"] == "no-store"


class TestAnError:
    @pytest.mark.parametrize("which", ["/a%00b", "?deployment_id=a%00b"], ids=["path", "query"])
    def test_of_characters_no_database_keeps_is_the_callers(self, opened: Opener, which: str) -> None:
        client = asking(opened(), uuid4())
        asked = [client.request(method, f"/api/training/deploy/sagemaker{which}") for method in ("GET", "DELETE")]
        form = {"template": "python-ml", "name": "box", "instance_type": "t3.\x1c"}
        asked += [client.post("/api/workspaces", json=form)]
        assert [(one.status_code, one.json()["error"]) for one in asked] == [(400, "BadRequest")] * 3

    def test_has_one_shape_whatever_it_is(self, opened: Opener) -> None:
        client = TestClient(with_letters(opened()))
        user = bearer(uuid4())
        answers = [
            client.get("/api/budget"),
            client.get("/nowhere"),
            client.put("/api/budget"),
            client.post("/letters", content=b"{", headers={"Content-Type": "application/json"}),
            client.post("/letters", json={"copies": "many"}),
            client.get("/crash", headers=user),
        ]
        assert [answer.status_code for answer in answers] == [401, 404, 405, 400, 400, 500]
        for answer in answers:
            said = answer.json()
            assert said["request_id"] == answer.headers["X-Request-ID"]
            assert said["error"].isalpha()
            assert all(set(one) >= {"kind", "message", "remedy", "field"} for one in said["problems"])
            assert said["message"].endswith((".", "…", ")"))

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (
                {"content": b'{"template": "box"}'},
                "The body was not sent as JSON. Send it with the header Content-Type:",
            ),
            ({"content": b"{bad", "headers": {"Content-Type": "application/json"}}, "The body is no JSON: Expecting"),
            ({"json": []}, "The body is JSON, but no object. Send an object"),
            ({}, "The body is missing. Send a JSON object."),
            ({"json": {"template": "box", "nmae": "x"}}, "nmae is no field of a request. Did you mean name?"),
            ({"json": {"template": "box"}}, "The request is not understood. name is missing."),
            (
                {"json": {"template": "Box!", "name": "x", "volume_gb": 4, "dry_run": "perhaps"}},
                (
                    "template is not as it must be: lower-case letters, digits and single hyphens."
                    " volume_gb is not as it must be: give 5 to 16384. dry_run is not as it must be: give true or false."
                ),
            ),
        ],
    )
    def test_of_a_request_is_said_as_people_say_it(self, opened: Opener, asked: dict[str, Any], said: str) -> None:
        answer = asking(opened(), uuid4()).post("/api/workspaces", **asked)
        assert answer.status_code == 400
        assert said in answer.json()["message"]
        assert not re.search(r"Input should|\^|\.;|\.\.", answer.text)
        assert all(not one["field"].isdigit() for one in answer.json()["problems"])

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("/api/budget?month=today", "month is not as it must be: give one such as 2026-11."),
            ("/api/training/dataset?limit=0", "limit is not as it must be: give 1 to 200."),
            ("/api/training/dataset?curser=x", "curser is no field of a request. Did you mean cursor?"),
            ("/api/runs/x", "run_id is not as it must be: give an id, a UUID."),
            ("/api/training/dataset?provider=gcs", "provider is not as it must be: give 'supabase' or 's3'."),
        ],
    )
    def test_of_an_address_is_said_as_people_say_it(self, opened: Opener, path: str, said: str) -> None:
        assert said in asking(opened(), uuid4()).get(path).json()["message"]

    def test_of_a_method_says_all_that_the_address_is_for(self, opened: Opener) -> None:
        refused = asking(opened()).put("/api/training/dataset")
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, POST")

    def test_lists_every_problem_and_none_of_what_was_sent(self, opened: Opener) -> None:
        answer = TestClient(with_letters(opened())).post("/letters", json={"copies": "hunter2", "user_id": "hunter2"})
        problems = {one["field"]: one for one in answer.json()["problems"]}
        assert set(problems) == {"text", "copies", "user_id"}
        assert problems["user_id"]["remedy"] == "Who asks is told by the token alone."
        assert "hunter2" not in answer.text

    def test_that_nobody_foresaw_is_written_down_and_not_told(
        self, opened: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = TestClient(with_letters(opened())).get("/crash", headers=bearer(uuid4()))
        assert "secret" not in answer.text
        assert answer.json()["error"] == "Unexpected"
        assert "a secret of the database" in caplog.text

    def test_of_the_servers_settings_is_no_fault_of_whoever_asks_and_told_to_its_operators_alone(
        self, opened: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = TestClient(with_letters(opened())).get("/unset")
        assert (answer.status_code, answer.json()["error"]) == (500, "NotConfigured")
        assert "db.internal" not in answer.text
        assert "db.internal" in caplog.text

    def test_of_a_missing_token_says_which_kind_is_wanted(self, opened: Opener) -> None:
        assert asking(opened()).get("/api/budget").headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "bearer x"])
    def test_is_a_header_that_shows_no_token_of_the_project(self, opened: Opener, header: str) -> None:
        assert asking(opened()).get("/api/budget", headers={"Authorization": header}).status_code == 401

    def test_is_a_team_that_cannot_be_one(self, opened: Opener) -> None:
        shown = {"Authorization": f"Bearer {token(uuid4(), 'a team')}"}
        assert asking(opened()).get("/api/budget", headers=shown).status_code == 401


class TestABody:
    def test_that_is_too_large_is_refused_by_its_length(self, opened: Opener) -> None:
        client = TestClient(with_letters(opened(http_body_bytes=100)))
        assert client.post("/letters", json={"text": "x" * 50}).status_code == 200
        refused = client.post("/letters", json={"text": "x" * 100})
        assert (refused.status_code, refused.json()["error"]) == (413, "BodyTooLarge")
        assert "100 bytes" in refused.json()["message"]

    def test_that_does_not_say_its_length_is_refused_as_soon_as_it_is_too_large(self, opened: Opener) -> None:
        sent: list[bytes] = []

        def pieces() -> Iterator[bytes]:
            for _ in range(1000):
                sent.append(b"x" * 50)
                yield sent[-1]

        refused = TestClient(with_letters(opened(http_body_bytes=100))).post("/letters", content=pieces())
        assert (refused.status_code, refused.json()["error"]) == (413, "BodyTooLarge")

    @pytest.mark.parametrize("length", ["-1", "many", "1e3", ""])
    def test_whose_length_is_no_number_is_a_bad_request(self, opened: Opener, length: str) -> None:
        refused = TestClient(with_letters(opened())).post(
            "/letters", content=b"{}", headers={"Content-Length": length, "Content-Type": "application/json"}
        )
        assert refused.status_code == 400

    def test_that_does_not_come_is_not_waited_for(self, opened: Opener) -> None:
        """Of a client that has said there is more, and says nothing more."""
        app = with_letters(opened(http_slow_seconds=0.05))
        pieces = [{"type": "http.request", "body": b'{"te', "more_body": True}]
        answered: list[Any] = []

        async def receive() -> Any:
            if not pieces:
                await asyncio.Event().wait()
            return pieces.pop()

        async def send(message: Any) -> None:
            answered.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/letters", "raw_path": b"/letters", "query_string": b"",
            "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "scheme": "http",
            "server": ("127.0.0.1", 80), "http_version": "1.1", "asgi": {"version": "3.0"}, "root_path": "",
        }  # fmt: skip
        asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))
        assert answered[0]["status"] == 408
        assert json.loads(answered[1]["body"])["error"] == "BodyTooSlow"


class TestLimits:
    def test_are_each_users_own(self, opened: Opener) -> None:
        client, mine, yours = asking(opened(http_rate_limit="2/hour")), bearer(uuid4()), bearer(uuid4())
        left = [client.get("/api/budget", headers=mine).headers["RateLimit-Remaining"] for _ in range(2)]
        refused = client.get("/api/budget", headers=mine)
        assert left == ["1", "0"]
        assert (refused.status_code, refused.json()["error"]) == (429, "TooManyRequests")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600
        assert client.get("/api/budget", headers=yours).status_code == 200

    def test_hold_for_an_address_whoever_asks_from_it_but_not_for_probes(self, opened: Opener) -> None:
        client = asking(opened(http_address_rate_limit="2/hour"))
        answers = [client.get("/api/budget").status_code for _ in range(3)]
        assert answers == [401, 401, 429]
        assert client.get("/healthz").status_code == 200

    def test_that_cannot_be_counted_hold_nobody_up(self, opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
        office = opened(http_rate_limit="1/hour", http_rate_storage="redis://127.0.0.1:9")
        client = asking(office, uuid4())
        assert [client.get("/api/budget").status_code for _ in range(2)] == [200, 200]
        assert "does not answer" in caplog.text


class TestPagesOfOtherOrigins:
    def ask(self, office: Office, origin: str) -> Any:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        return asking(office).options(
            "/api/budget", headers={**asked, "Access-Control-Request-Headers": "idempotency-key"}
        )

    def test_may_ask_where_the_setting_names_them(self, opened: Opener) -> None:
        office = opened(http_cors_origins="https://app.example.com,http://localhost:3000")
        allowed = self.ask(office, "https://app.example.com")
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert "access-control-allow-origin" not in self.ask(office, "https://evil.example").headers

    def test_are_told_of_errors_too(self, opened: Opener) -> None:
        office = opened(http_cors_origins="https://app.example.com", http_address_rate_limit="1/hour")
        client = asking(office)
        answers = [client.get("/api/budget", headers={"Origin": "https://app.example.com"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [401, 429]
        assert {a.headers["Access-Control-Allow-Origin"] for a in answers} == {"https://app.example.com"}
        assert all("Retry-After" in answer.headers["Access-Control-Expose-Headers"] for answer in answers)

    def test_may_not_ask_without_it(self, opened: Opener) -> None:
        assert "access-control-allow-origin" not in self.ask(opened(), "https://app.example.com").headers


class TestMetrics:
    def of(self, office: Office, address: str = "127.0.0.1", **headers: str) -> Any:
        return TestClient(application(office), client=(address, 1)).get("/metrics", headers=headers)

    def test_count_requests_by_route_and_status_never_by_what_was_asked(self, opened: Opener) -> None:
        app = application(opened())
        client = TestClient(app, client=("127.0.0.1", 1))
        client.get("/api/budget?secret=1")
        client.get("/nowhere/12345")
        client.request("BREW", "/nowhere")
        said = client.get("/metrics").text
        assert 'trainmaster_http_requests_total{method="GET",route="/api/budget",status="401"} 1.0' in said
        assert 'trainmaster_http_requests_total{method="GET",route="none",status="404"} 1.0' in said
        assert 'method="OTHER"' in said
        assert "12345" not in said
        assert "secret" not in said

    def test_tell_the_committed_share_of_budgets_and_the_trainings_at_work(self, opened: Opener) -> None:
        office = opened()
        office.desk.ledger.set_limit(ACCOUNT, Decimal(50), set_by="a test")
        said = self.of(office).text
        assert 'trainmaster_budget_committed_ratio{budget="account"} 0.0' in said
        assert "trainmaster_trainings_open 0.0" in said

    def test_are_for_this_machine_alone_and_not_for_those_a_proxy_asks_for(self, opened: Opener) -> None:
        office = opened()
        assert self.of(office).status_code == 200
        assert self.of(office, "10.1.2.3").status_code == 403
        assert self.of(office, **{"X-Forwarded-For": "127.0.0.1"}).status_code == 403

    def test_are_for_whoever_shows_the_token_where_one_is_set(self, opened: Opener) -> None:
        office = opened(http_metrics_token="prometheus")
        assert self.of(office, "10.1.2.3", Authorization="Bearer prometheus").status_code == 200
        assert self.of(office, "10.1.2.3", Authorization="Bearer é".encode()).status_code == 403  # type: ignore[arg-type]
        assert self.of(office).status_code == 403


class TestReadiness:
    def test_says_what_does_not_answer(self, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probes, "_aws", lambda _office: "ok")
        runs = RecordingRuns()
        assert asking(opened(runs)).get("/readyz").json() == {
            "ready": True,
            "checks": {"database": "ok", "prefect": "ok", "aws": "ok"},
        }
        runs.away = True
        answer = asking(opened(runs)).get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["prefect"] == "the Prefect server does not answer"

    def test_waits_for_nobody_and_asks_what_hangs_only_once(
        self, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, release = [], threading.Event()

        def hang(_office: Office) -> str:
            asked.append(1)
            release.wait()
            return "ok"

        monkeypatch.setattr(probes, "_aws", hang)
        monkeypatch.setattr(probes, "WITHIN_SECONDS", 0.05)
        client = asking(opened())
        try:
            answers = [client.get("/readyz") for _ in range(3)]
            assert {answer.json()["checks"]["aws"] for answer in answers} == {"no answer yet"}
            assert asked == [1]
        finally:
            release.set()


class TestTheLog:
    @pytest.fixture
    def lines(self) -> Iterator[StringIO]:
        to = StringIO()
        handler = logging.StreamHandler(to)
        handler.setFormatter(JsonLines())
        loggers = [logging.getLogger(name) for name in (ACCESS, "trainmaster.http_api.answers", "elsewhere")]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        yield to
        for logger in loggers:
            logger.removeHandler(handler)

    def test_has_a_line_for_each_request_with_who_asked_and_nothing_of_what(
        self, opened: Opener, lines: StringIO
    ) -> None:
        user = uuid4()
        shown = token(user)
        asking(opened()).get(
            "/api/budget?X-Amz-Signature=abc",
            headers={"Authorization": f"Bearer {shown}", "X-Request-ID": "r1"},
        )
        said = json.loads(lines.getvalue())
        assert said["route"] == "/api/budget"
        assert (said["method"], said["status"], said["user_id"], said["request_id"]) == ("GET", 200, str(user), "r1")
        assert "Signature" not in lines.getvalue()
        assert shown not in lines.getvalue()

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("GET https://b.s3.amazonaws.com/key?X-Amz-Signature=abc failed", "https://b.s3.amazonaws.com/key?…"),
            ("postgresql://me:hunter2@db:5432/x", "postgresql://me:…@db:5432/x"),
            ("Authorization: Bearer abc.def", "Bearer …"),
            (f"token {token(uuid4())}", "token …"),
        ],
        ids=["presigned", "password", "bearer", "jwt"],
    )
    def test_never_has_what_opens_a_door(self, lines: StringIO, text: str, kept: str) -> None:
        try:
            raise RuntimeError(text)
        except RuntimeError:
            logging.getLogger("elsewhere").exception("%s", text)
        said = lines.getvalue()
        assert kept in json.loads(said)["message"]
        for secret in ("Signature=", "hunter2", "abc.def", "eyJ"):
            assert secret not in said


class TestTheDescription:
    @pytest.fixture
    def described(self, opened: Opener) -> dict[str, Any]:
        found: dict[str, Any] = application(opened()).openapi()
        return found

    def test_is_openapi(self, described: dict[str, Any]) -> None:
        validate(described)

    def test_of_every_route_says_what_it_does_who_may_ask_and_each_status(self, described: dict[str, Any]) -> None:
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"], (method, path)
                assert operation["description"], (method, path)
                assert "422" not in operation["responses"], (method, path)
                if path.startswith("/api/") and not path.endswith("/lambda"):
                    assert operation["security"] == [{"Session": []}], (method, path)
                    assert {"400", "401", "429", "500", "503"} <= set(operation["responses"]), (method, path)


def test_pages_go_on_by_one_name_in_requests_and_answers(opened: Opener) -> None:
    document = asking(opened()).get("/openapi.json").json()
    for path, answer in (("training/deploy/sagemaker", "TrainingList"), ("training/dataset", "DatasetsAnswer")):
        asked = {one["name"] for one in document["paths"][f"/api/{path}"]["get"]["parameters"]}
        assert "cursor" in asked & set(document["components"]["schemas"][answer]["properties"])


def test_a_template_there_is_not_is_refused_without_a_path_of_the_server(opened: Opener) -> None:
    office = opened()
    answer = asking(office, uuid4()).post("/api/workspaces", json={"template": "nowhere", "name": "notes"})
    assert "There is no template 'nowhere'." in answer.json()["message"]
    assert str(office.settings.workspace_templates) not in answer.text


@pytest.mark.parametrize(
    ("hourly", "told"), [("1.426666666666666666666666667", "1.426667"), ("0.05", "0.05"), ("0", "0")]
)
def test_amounts_of_workspaces_are_told_to_the_millionth(hourly: str, told: str) -> None:
    template = next(iter(read_templates(Settings().workspace_templates).templates.values()))
    assert TemplateAnswer.of(template, Decimal(hourly)).hourly_cost == told
