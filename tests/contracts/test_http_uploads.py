"""What an upload may take of the machine it arrives on: bytes, room, places, and nothing once it is over."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from embedded_aws import EmbeddedAws
from http_offices import asking, bearer, office_at
from http_servers import served
from library_shelves import chats

from trainmaster.http_api.office import Office
from trainmaster.http_api.upload_places import upload_place

PATH = "/api/training/dataset"
LARGEST = 4 << 20
WITHIN = 60.0


@pytest.fixture(scope="module")
def office(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("http-uploads")
    with office_at(embedded.environment, folder, http_upload_bytes=LARGEST, http_uploads=2) as office:
        yield office


def uploads(office: Office) -> Path:
    return office.settings.state_dir / "uploads"


def left_in(office: Office) -> list[Path]:
    return [path for path in uploads(office).iterdir() if path.is_dir()]


def send(office: Office, body: bytes, user_id: UUID | None = None, **fields: Any) -> Any:
    form = {"name": "my chats", "storage": "s3", **fields}
    return asking(office, user_id or uuid4()).post(PATH, data=form, files={"file": ("chats.jsonl", body)})


def sound(count: int = 2) -> bytes:
    return "\n".join(chats(count, "upload")).encode()


def test_more_than_is_taken_is_refused_whether_it_is_announced_or_not(office: Office) -> None:
    announced = asking(office, uuid4()).post(
        PATH, content=b"", headers={"Content-Length": str(LARGEST + (2 << 20)), "Content-Type": "multipart/form-data"}
    )
    told = send(office, b"x" * (LARGEST + 1))
    for answer in (announced, told):
        assert (answer.status_code, answer.json()["error"]) == (413, "UploadTooLarge")
        assert f"{LARGEST:,}" in answer.json()["message"]
    assert left_in(office) == []


def test_what_the_disk_has_no_room_for_is_refused_before_it_is_read(embedded: EmbeddedAws, tmp_path: Path) -> None:
    with office_at(embedded.environment, tmp_path, http_upload_bytes=1 << 60) as office:
        answer = asking(office, uuid4()).post(
            PATH, content=b"", headers={"Content-Length": str(1 << 59), "Content-Type": "multipart/form-data"}
        )
    assert (answer.status_code, answer.json()["error"]) == (507, "NoRoom")
    assert "are free" in answer.json()["message"]


def test_as_many_uploads_as_may_be_leave_one_place_to_others(office: Office) -> None:
    mine, theirs = uuid4(), uuid4()
    with upload_place(uploads(office), mine, 2):
        busy = send(office, sound(), mine)
        assert (busy.status_code, busy.json()["error"]) == (503, "UploadsBusy")
        assert "1 upload of yours under way" in busy.json()["message"]
        assert int(busy.headers["retry-after"]) > 0
        assert send(office, sound(), theirs).status_code == 201
        with upload_place(uploads(office), theirs, 2):
            assert "2 uploads under way" in send(office, sound()).json()["message"]
    assert send(office, sound(), mine).status_code == 201


def test_who_has_no_token_takes_no_place_and_sends_nothing(office: Office) -> None:
    assert asking(office).post(PATH, content=b"x" * 100).status_code == 401
    assert left_in(office) == []


def test_a_field_that_is_wrong_is_told_while_the_file_is_on_its_way(office: Office) -> None:
    for fields in ({"format": "poem"}, {"max_bad_fraction": "2"}, {"storage": "moon"}, {"name": " "}):
        answer = send(office, sound(), **fields)
        assert answer.status_code == 400
        assert next(iter(fields)) in answer.json()["message"]
    assert send(office, b"").json()["message"] == "chats.jsonl is empty: 0 bytes. Send a file with examples."


def test_an_upload_that_is_cut_off_leaves_nothing_and_takes_no_place(office: Office) -> None:
    user_id = uuid4()
    head = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nAuthorization: {bearer(user_id)['Authorization']}\r\n"
    head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {LARGEST}\r\n\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with served(office) as address:
        with socket.create_connection(address, timeout=WITHIN) as connection:
            connection.sendall(f"{head}{part}".encode() + b"x" * 100_000)
            until(lambda: bool(left_in(office)))
        until(lambda: not left_in(office))
    assert send(office, sound(), user_id).status_code == 201


def until(condition: Any) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
