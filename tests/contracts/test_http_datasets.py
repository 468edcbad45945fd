"""Datasets over HTTP: uploaded in pieces, refused with every problem, listed with counts, downloaded by a link, deleted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from embedded_aws import EmbeddedAws
from fastapi.testclient import TestClient
from http_offices import asking, office_at
from library_shelves import BAD, chats

from trainmaster.http_api.office import Office

PATH = "/api/training/dataset"


@pytest.fixture(scope="module")
def office(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at(embedded.environment, tmp_path_factory.mktemp("http-datasets")) as office:
        yield office


@pytest.fixture
def client(office: Office, user_id: UUID) -> TestClient:
    return asking(office, user_id)


def send(client: TestClient, lines: list[str], **fields: Any) -> Any:
    body = "".join(f"{line}\n" for line in lines)
    form = {"name": "my chats", "storage": "s3", **fields}
    return client.post(PATH, data=form, files={"file": ("chats.jsonl", body.encode())})


def left_in(office: Office) -> list[Path]:
    """Of uploads that are over."""
    return [path for path in (office.settings.state_dir / "uploads").iterdir() if path.is_dir()]


def test_an_upload_is_checked_stored_and_shown_to_its_user_alone(
    office: Office, client: TestClient, user_id: UUID
) -> None:
    answer = send(client, chats(4, "a"), description="of a test")
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["name"], told["format"], told["storage_provider"]) == ("my chats", "chatml", "s3")
    assert (told["total_examples"], told["description"], told["found"]) == (4, "of a test", False)
    assert told["copies"][0]["size_bytes"] == told["size_bytes"] > 0
    assert told["storage_path"].startswith(f"{user_id}/")
    assert client.get(f"{PATH}/{told['id']}").json()["id"] == told["id"]
    others = asking(office, uuid4())
    for answer in (
        others.get(f"{PATH}/{told['id']}"),
        others.get(f"{PATH}/{told['id']}/url"),
        others.delete(f"{PATH}/{told['id']}"),
        client.get(f"{PATH}/{uuid4()}"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (404, "DatasetMissing")
    assert others.get(PATH).json()["datasets"] == []
    assert left_in(office) == []


def test_the_same_upload_again_finds_the_same_dataset(client: TestClient) -> None:
    first, again = send(client, chats(3, "again")), send(client, chats(3, "again"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "found": True}


def test_a_file_that_cannot_be_trained_on_is_refused_with_every_problem_by_its_line(
    office: Office, client: TestClient
) -> None:
    answer = send(client, [*chats(2, "bad"), BAD, BAD])
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"] == "DatasetRefused"
    assert told["message"] == "chats.jsonl: refused · 2 of 4 examples are malformed"
    assert [(one["unit"], one["number"]) for one in told["problems"]] == [("line", 3), ("line", 4)]
    assert all("messages" in one["message"] for one in told["problems"])
    assert client.get(PATH).json()["total"] == 0
    assert left_in(office) == []


def test_a_form_says_neither_whose_it_is_nor_where_the_file_lies(client: TestClient) -> None:
    for field in ("user_id", "team", "tokenizer", "source"):
        answer = send(client, chats(1), **{field: str(uuid4())})
        assert answer.status_code == 400
        assert field in answer.json()["message"]
    assert client.get(PATH).json()["total"] == 0


@pytest.mark.parametrize("file_first", [False, True], ids=["name first", "file first"])
def test_storage_that_the_server_is_not_set_up_for_is_refused_with_what_else_there_is(
    embedded: EmbeddedAws, tmp_path: Path, file_first: bool
) -> None:
    """Never with what is not set, which is for its operators."""
    parts = [("name", (None, "chats")), ("storage", (None, "s3"))]
    file = [("file", ("chats.jsonl", chats(1, "unset")[0]))]
    with office_at(embedded.environment, tmp_path, bucket=None, dataset_bucket=None) as office:
        answer = asking(office, uuid4()).post(PATH, files=[*file, *parts] if file_first else [*parts, *file])
        assert (answer.status_code, answer.json()["error"]) == (400, "FormRefused")
        assert "Send storage=supabase" in answer.json()["message"]
        assert "BUCKET" not in answer.text
        assert left_in(office) == []


def test_pages_counts_and_filters(client: TestClient) -> None:
    for number, storage in enumerate(("s3", "supabase", "both")):
        assert send(client, chats(2, f"page {number}"), name=f"set {number}", storage=storage).status_code == 201
    everything = client.get(PATH).json()
    assert [one["name"] for one in everything["datasets"]] == ["set 2", "set 1", "set 0"]
    assert (everything["counts"], everything["total"]) == ({"supabase": 2, "s3": 2}, 3)
    first = client.get(PATH, params={"limit": 2}).json()
    rest = client.get(PATH, params={"limit": 2, "cursor": first["cursor"]}).json()
    assert [one["name"] for one in rest["datasets"]] == ["set 0"]
    assert rest["cursor"] is None

    def names(**params: str) -> list[str]:
        return [one["name"] for one in client.get(PATH, params=params).json()["datasets"]]

    assert names(provider="s3") == names(training_provider="sagemaker") == ["set 2", "set 0"]
    assert names(provider="supabase", name="1") == ["set 1"]
    assert names(format="dpo") == []
    for wrong in ({"provider": "gcs"}, {"training_provider": "moon"}, {"cursor": "x"}, {"limit": "0"}):
        assert client.get(PATH, params=wrong).status_code == 400, wrong


def test_a_link_downloads_what_was_uploaded_and_stays_out_of_caches_and_logs(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = send(client, chats(2, "link")).json()["id"]
    answer = client.get(f"{PATH}/{id_}/url", params={"expires_in": 60})
    assert answer.headers["cache-control"] == "no-store"
    link = answer.json()
    assert link["file_name"] == "my chats.jsonl.gz"

    body = httpx.get(link["url"], timeout=30, trust_env=False).content
    assert json.loads(gzip.decompress(body).splitlines()[0])["messages"][0]["role"] == "user"
    assert link["url"] not in caplog.text
    for wrong in (0, 7 * 86400 + 1):
        assert client.get(f"{PATH}/{id_}/url", params={"expires_in": wrong}).status_code == 400


def test_a_deleted_dataset_is_gone_and_deleting_it_again_changes_nothing(client: TestClient) -> None:
    told = send(client, chats(2, "gone"), storage="both").json()
    removed = client.delete(f"{PATH}/{told['id']}")
    assert removed.status_code == 200
    assert set(removed.json()["removed"]) == {copy["uri"] for copy in told["copies"]}
    assert client.delete(f"{PATH}/{told['id']}").status_code == 404
    assert client.get(PATH).json()["total"] == 0
