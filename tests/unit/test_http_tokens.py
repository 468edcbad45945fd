"""Which tokens the HTTP API takes: the project's, while they hold, verified by its secret or by its public keys as these rotate."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from http_offices import ISSUER, SECRET, token
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from trainmaster.errors import NotConfiguredError, SigningKeysUnavailableError, UnauthenticatedError
from trainmaster.http_api.signing_keys import BETWEEN_SECONDS, FRESH_SECONDS, SigningKeys
from trainmaster.http_api.tokens import Tokens
from trainmaster.settings import Settings

USER = UUID("6f9d2a34-3c30-4b31-8b7f-0a3f4a4f3c11")


class Project:
    """A project's JWKS address on loopback, with the keys it signs by. Which of them are published, the test says."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"first": ec.generate_private_key(ec.SECP256R1())}
        self.published: list[str] = ["first"]
        self.others: list[dict[str, Any]] = []
        self.down = False
        self.asked = 0
        project = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                project.asked += 1
                body = json.dumps({"keys": [*map(project.public, project.published), *project.others]}).encode()
                self.send_response(500 if project.down else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/auth/v1/.well-known/jwks.json"

    def add(self, key_id: str, key: Any) -> None:
        self.keys[key_id] = key
        self.published.append(key_id)

    def public(self, key_id: str) -> dict[str, Any]:
        key = self.keys[key_id].public_key()
        algorithm: Any = ECAlgorithm if isinstance(key, ec.EllipticCurvePublicKey) else RSAAlgorithm
        described: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
        return {**described, "kid": key_id, "use": "sig"}

    def sign(self, key_id: str, algorithm: str = "ES256", user_id: UUID = USER) -> str:
        claims = jwt.decode(token(user_id), options={"verify_signature": False})
        return jwt.encode(claims, self.keys[key_id], algorithm=algorithm, headers={"kid": key_id})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project()
    yield project
    project.server.shutdown()
    project.server.server_close()


def settings(**given: Any) -> Settings:
    return Settings(**{"SUPABASE_URL": None, "SUPABASE_JWT_SECRET": None, "http_token_issuer": ISSUER, **given})


def by_secret() -> Tokens:
    return Tokens.of(settings(SUPABASE_JWT_SECRET=SECRET))


def refused(tokens: Tokens, shown: str) -> str:
    """Why."""
    with pytest.raises(UnauthenticatedError) as error:
        tokens.claims(shown)
    assert shown not in str(error.value)
    return str(error.value)


class TestASecret:
    def test_verifies_a_users_token(self) -> None:
        assert by_secret().claims(token(USER, "vision"))["sub"] == str(USER)

    @pytest.mark.parametrize(
        ("claims", "why"),
        [
            ({"exp": 1_700_000_000}, "expired"),
            ({"nbf": 4_000_000_000}, "does not hold yet"),
            ({"aud": "anon"}, "signed in"),
            ({"iss": "https://other.example/auth/v1"}, "another project"),
            ({"exp": None}, "has to say"),
            ({"sub": None}, "has to say"),
            ({"aud": None}, "has to say"),
            ({"iss": None}, "has to say"),
            ({"sub": "service"}, "none of this project's"),
            ({"is_anonymous": True}, "anonymous"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
    )
    def test_refuses_what_the_token_says_wrong(self, claims: dict[str, Any], why: str) -> None:
        assert why in refused(by_secret(), token(USER, **claims))

    def test_takes_a_token_that_expired_within_the_leeway_of_clocks(self) -> None:
        assert by_secret().claims(token(USER, exp=int(time.time()) - 1))

    def test_refuses_what_another_secret_signed(self) -> None:
        assert "signature" in refused(by_secret(), token(USER, secret="another secret, as long as the real one is"))

    def test_refuses_what_nobody_signed(self) -> None:
        head, body, _ = token(USER).split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        assert refused(by_secret(), f"{none}.{body}.")
        assert refused(by_secret(), f"{head}.{body}.")

    @pytest.mark.parametrize("shown", ["", "a", "a.b.c", "é.é.é", "." * 100, "eyJhbGciOiJIUzI1NiJ9.e30."])
    def test_refuses_what_is_no_token(self, shown: str) -> None:
        with pytest.raises(UnauthenticatedError):
            by_secret().claims(shown)

    def test_without_a_project_nothing_is_served(self) -> None:
        with pytest.raises(NotConfiguredError, match="SUPABASE_URL"):
            Tokens.of(settings(http_token_issuer=None))


class TestPublicKeys:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def tokens(self, project: Project, clock: Clock) -> Tokens:
        return Tokens(ISSUER, None, SigningKeys(project.url, clock))

    def test_verify_elliptic_and_rsa_signatures_and_are_asked_for_once(self, project: Project, tokens: Tokens) -> None:
        project.add("rsa", rsa.generate_private_key(65537, 2048))
        for _ in range(3):
            assert tokens.claims(project.sign("first"))["sub"] == str(USER)
            assert tokens.claims(project.sign("rsa", "RS256"))["sub"] == str(USER)
        assert project.asked == 1

    def test_that_are_new_are_found_but_strangers_make_nobody_ask_more_than_once_a_minute(
        self, project: Project, tokens: Tokens, clock: Clock
    ) -> None:
        tokens.claims(project.sign("first"))
        project.add("second", ec.generate_private_key(ec.SECP256R1()))
        for _ in range(20):
            refused(tokens, project.sign("second"))
        assert project.asked == 1
        clock.now += BETWEEN_SECONDS
        assert tokens.claims(project.sign("second"))
        assert project.asked == 2

    def test_that_were_withdrawn_verify_nothing_once_others_are_fresh(
        self, project: Project, tokens: Tokens, clock: Clock
    ) -> None:
        tokens.claims(project.sign("first"))
        project.add("second", ec.generate_private_key(ec.SECP256R1()))
        project.published.remove("first")
        clock.now += FRESH_SECONDS
        assert tokens.claims(project.sign("second"))
        refused(tokens, project.sign("first"))

    def test_are_kept_while_their_address_is_out_of_reach(self, project: Project, tokens: Tokens, clock: Clock) -> None:
        tokens.claims(project.sign("first"))
        project.down = True
        clock.now += 100 * FRESH_SECONDS
        assert tokens.claims(project.sign("first"))

    def test_that_nobody_can_be_asked_for_refuse_nobody_but_say_later(
        self, project: Project, tokens: Tokens, clock: Clock
    ) -> None:
        project.down = True
        with pytest.raises(SigningKeysUnavailableError):
            tokens.claims(project.sign("first"))
        project.down = False
        clock.now += BETWEEN_SECONDS
        assert tokens.claims(project.sign("first"))

    def test_are_never_taken_for_a_secret(self, project: Project) -> None:
        """Algorithm confusion: what is public must not sign as if it were secret."""
        both = Tokens(ISSUER, SECRET, SigningKeys(project.url, Clock()))
        public = project.keys["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        claims = jwt.decode(token(USER), options={"verify_signature": False})
        head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "first"}).encode()).decode().rstrip("=")
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        forged = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signature = base64.urlsafe_b64encode(forged.sign(f"{head}.{body}".encode(), public)).decode().rstrip("=")
        refused(both, f"{head}.{body}.{signature}")
        refused(Tokens(ISSUER, None, both.keys), f"{head}.{body}.{signature}")

    def test_verify_by_their_own_algorithm_alone(self, project: Project, tokens: Tokens) -> None:
        project.add("rsa", rsa.generate_private_key(65537, 2048))
        claims = jwt.decode(token(USER), options={"verify_signature": False})
        for algorithm in ("RS512", "PS256"):
            refused(tokens, jwt.encode(claims, project.keys["rsa"], algorithm=algorithm, headers={"kid": "rsa"}))

    def test_that_are_secrets_in_a_public_place_verify_nothing(self, project: Project, tokens: Tokens) -> None:
        key = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
        project.others.append({"kty": "oct", "kid": "shared", "k": key, "alg": "HS256"})
        claims = jwt.decode(token(USER), options={"verify_signature": False})
        refused(tokens, jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "shared"}))
        assert tokens.claims(project.sign("first"))
