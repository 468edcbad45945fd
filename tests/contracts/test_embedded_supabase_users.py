"""Who may do what in Supabase Storage. With TEST_SUPABASE set, these run against Supabase's own server, unchanged."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest
from supabase_project import BUCKET, SupabaseProject


@pytest.fixture(scope="module")
def service(supabase_project: SupabaseProject) -> Iterator[httpx.Client]:
    with supabase_project.client() as client:
        yield client


@pytest.fixture(scope="module")
def anna() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def bert() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def as_anna(supabase_project: SupabaseProject, anna: str) -> Iterator[httpx.Client]:
    with supabase_project.client(supabase_project.token(anna)) as client:
        yield client


@pytest.fixture(scope="module")
def berts(service: httpx.Client, bert: str) -> Iterator[str]:
    """The key of an object of Bert's."""
    key = f"{bert}/private/data.jsonl.gz"
    service.post(f"/object/{BUCKET}/{key}", content=b"Bert's").raise_for_status()
    yield key
    service.request("DELETE", f"/object/{BUCKET}", json={"prefixes": [key]}).raise_for_status()


def refused(answer: httpx.Response, status: str) -> bool:
    return answer.status_code == 400 and answer.json()["statusCode"] == status


class TestAUser:
    def test_has_a_folder_of_their_own(self, as_anna: httpx.Client, anna: str) -> None:
        key = f"{anna}/private/{uuid.uuid4()}.jsonl.gz"
        assert as_anna.post(f"/object/{BUCKET}/{key}", content=b"Anna's").status_code == 200
        assert as_anna.get(f"/object/authenticated/{BUCKET}/{key}").content == b"Anna's"
        listed = as_anna.post(f"/object/list/{BUCKET}", json={"prefix": f"{anna}/private"}).json()
        assert [each["name"] for each in listed] == [key.rpartition("/")[2]]
        signed = as_anna.post(f"/object/sign/{BUCKET}/{key}", json={"expiresIn": 60}).json()["signedURL"]
        assert as_anna.get(signed).content == b"Anna's"
        removed = as_anna.request("DELETE", f"/object/{BUCKET}", json={"prefixes": [key]}).json()
        assert [each["name"] for each in removed] == [key]

    def test_reads_what_is_anothers_as_absent(self, as_anna: httpx.Client, berts: str) -> None:
        for path in (f"authenticated/{BUCKET}", BUCKET, f"info/{BUCKET}"):
            assert refused(as_anna.get(f"/object/{path}/{berts}"), "404"), path
        assert refused(as_anna.post(f"/object/sign/{BUCKET}/{berts}", json={"expiresIn": 60}), "404")
        many = as_anna.post(f"/object/sign/{BUCKET}", json={"expiresIn": 60, "paths": [berts]}).json()
        assert many[0]["signedURL"] is None
        folder = berts.partition("/")[0]
        assert as_anna.post(f"/object/list/{BUCKET}", json={"prefix": folder}).json() == []
        assert as_anna.post(f"/object/list-v2/{BUCKET}", json={"prefix": folder}).json()["objects"] == []

    def test_does_not_write_where_it_is_anothers(
        self, as_anna: httpx.Client, service: httpx.Client, anna: str, bert: str, berts: str
    ) -> None:
        new = f"{bert}/private/by-anna"
        assert refused(as_anna.post(f"/object/{BUCKET}/{new}", content=b"x"), "403")
        assert refused(as_anna.put(f"/object/{BUCKET}/{berts}", content=b"x"), "403")
        assert refused(as_anna.post(f"/object/upload/sign/{BUCKET}/{new}"), "403")
        assert refused(as_anna.post(f"/object/{BUCKET}/{anna}-not-a-folder", content=b"x"), "403")
        mine = f"{anna}/mine"
        as_anna.post(f"/object/{BUCKET}/{mine}", content=b"mine").raise_for_status()
        moved = {"bucketId": BUCKET, "sourceKey": mine, "destinationKey": new}
        assert refused(as_anna.post("/object/move", json=moved), "403")
        assert refused(as_anna.post("/object/copy", json=moved), "403")
        stolen = {"bucketId": BUCKET, "sourceKey": berts, "destinationKey": f"{anna}/stolen"}
        assert refused(as_anna.post("/object/copy", json=stolen), "404")
        as_anna.delete(f"/object/{BUCKET}/{mine}").raise_for_status()
        assert service.get(f"/object/authenticated/{BUCKET}/{berts}").content == b"Bert's"

    def test_is_not_told_that_a_removal_did_nothing(
        self, as_anna: httpx.Client, service: httpx.Client, berts: str
    ) -> None:
        answer = as_anna.request("DELETE", f"/object/{BUCKET}", json={"prefixes": [berts]})
        assert (answer.status_code, answer.json()) == (200, [])
        assert service.get(f"/object/authenticated/{BUCKET}/{berts}").content == b"Bert's"

    def test_makes_no_buckets_and_deletes_none(self, as_anna: httpx.Client) -> None:
        assert refused(as_anna.post("/bucket", json={"name": f"test-{uuid.uuid4().hex}"}), "403")
        assert as_anna.delete(f"/bucket/{BUCKET}").status_code == 400
        assert as_anna.get("/bucket").json() == []


class TestAToken:
    def test_is_needed(self, supabase_project: SupabaseProject, berts: str) -> None:
        with supabase_project.client("") as anybody:
            for answer in (
                anybody.get(f"/object/authenticated/{BUCKET}/{berts}"),
                anybody.get(f"/object/{BUCKET}/{berts}"),
                anybody.get(f"/object/info/{BUCKET}/{berts}"),
                anybody.post(f"/object/{BUCKET}/{berts}", content=b"x"),
                anybody.post(f"/object/list/{BUCKET}", json={"prefix": ""}),
                anybody.get("/bucket"),
            ):
                assert answer.status_code == 400, answer.request.url
                assert isinstance(answer.json()["statusCode"], str)

    def test_that_has_expired_is_refused(self, supabase_project: SupabaseProject, bert: str, berts: str) -> None:
        with supabase_project.client(supabase_project.token(bert, seconds=-10)) as client:
            assert refused(client.get(f"/object/authenticated/{BUCKET}/{berts}"), "403")

    def test_signed_with_another_secret_is_refused(
        self, supabase_project: SupabaseProject, bert: str, berts: str
    ) -> None:
        forged = supabase_project.token(bert, secret="a secret of somebody else, long enough for SHA-256")
        for token in (forged, "not-a-token", supabase_project.token(bert) + "x"):
            with supabase_project.client(token) as client:
                assert refused(client.get(f"/object/authenticated/{BUCKET}/{berts}"), "403")

    def test_without_a_signature_is_refused(self, supabase_project: SupabaseProject, berts: str) -> None:
        import jwt

        unsigned = jwt.encode({"role": "service_role", "exp": 4_000_000_000}, "", algorithm="none")
        with supabase_project.client(unsigned) as client:
            assert refused(client.get(f"/object/authenticated/{BUCKET}/{berts}"), "403")
