"""What holds for the embedded Supabase alone: its faults on command, its folder, its memory, its strictness."""

from __future__ import annotations

import os
import socket
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from embedded_aws import EmbeddedAws
from supabase_project import BUCKET, SupabaseProject

PART = 6 << 20
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def project(embedded: EmbeddedAws) -> SupabaseProject:
    return SupabaseProject.embedded(embedded.state, embedded.environment)


@pytest.fixture
def service(project: SupabaseProject) -> Iterator[httpx.Client]:
    with project.client() as client:
        yield client


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4()}/data"


@pytest.fixture
def upload(service: httpx.Client) -> str:
    """The address of a resumable upload of two parts."""
    names = f"bucketName dHJhaW5pbmctZGF0YXNldHM=,objectName {'YWFh'}"
    asked = {**TUS, "Upload-Length": str(2 * PART), "Upload-Metadata": names, "x-upsert": "true"}
    location = service.post("/upload/resumable", headers=asked).headers["Location"]
    return location[location.index("/upload") :]


class TestFaults:
    @pytest.fixture(autouse=True)
    def _cleared(self, embedded: EmbeddedAws) -> Iterator[None]:
        yield
        embedded.control("DELETE", "faults")

    @pytest.mark.parametrize(
        ("error", "status"),
        [("SlowDown", 429), ("ServiceUnavailable", 503), ("GatewayTimeout", 504), ("DatabaseTimeout", 544)],
    )
    def test_are_answered_with_their_own_status(
        self, embedded: EmbeddedAws, service: httpx.Client, key: str, error: str, status: int
    ) -> None:
        embedded.control("POST", "faults", {"operation": "supabase:Put*", "error": error, "count": 1})
        answer = service.post(f"/object/{BUCKET}/{key}", content=b"x")
        assert answer.status_code == status
        if status == 504:  # a proxy's, not Storage's
            assert answer.headers["Content-Type"] == "text/html"
        else:
            assert answer.json()["statusCode"] == str(status)
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").json()["statusCode"] == "404"
        assert service.post(f"/object/{BUCKET}/{key}", content=b"x").status_code == 200

    def test_cut_the_connection_before_anything_is_done(
        self, embedded: EmbeddedAws, service: httpx.Client, key: str
    ) -> None:
        embedded.control("POST", "faults", {"operation": "supabase:PutObject", "reset": True, "count": 1})
        with pytest.raises(httpx.RemoteProtocolError):
            service.post(f"/object/{BUCKET}/{key}", content=b"x")
        assert service.post(f"/object/{BUCKET}/{key}", content=b"x").status_code == 200

    def test_cut_a_download_after_so_many_bytes(self, embedded: EmbeddedAws, service: httpx.Client, key: str) -> None:
        service.post(f"/object/{BUCKET}/{key}", content=b"x" * 3_000_000).raise_for_status()
        rule = {"operation": "supabase:GetObject", "reset": True, "after_bytes": 2_000_000, "count": 1}
        embedded.control("POST", "faults", rule)
        got: list[int] = []
        with service.stream("GET", f"/object/authenticated/{BUCKET}/{key}") as answer:
            assert answer.headers["Content-Length"] == "3000000"
            with pytest.raises(httpx.RemoteProtocolError):
                got += map(len, answer.iter_raw())  # a list keeps what it had when the rest fails
        assert sum(got) == 2_000_000
        assert len(service.get(f"/object/authenticated/{BUCKET}/{key}").content) == 3_000_000

    def test_cut_an_upload_that_then_never_was(self, embedded: EmbeddedAws, service: httpx.Client, key: str) -> None:
        rule = {"operation": "supabase:PutObject", "reset": True, "after_bytes": 400, "count": 1}
        embedded.control("POST", "faults", rule)
        with pytest.raises(httpx.RemoteProtocolError):
            service.post(f"/object/{BUCKET}/{key}", content=b"x" * 1000)
        assert service.get(f"/object/authenticated/{BUCKET}/{key}").json()["statusCode"] == "404"

    def test_cut_the_answer_to_an_upload_that_was_done(
        self, embedded: EmbeddedAws, service: httpx.Client, key: str
    ) -> None:
        rule = {"operation": "supabase:PutObject", "reset": True, "after_bytes": 1000, "count": 1}
        embedded.control("POST", "faults", rule)
        with pytest.raises(httpx.RemoteProtocolError):
            service.post(f"/object/{BUCKET}/{key}", content=b"x" * 500)
        assert len(service.get(f"/object/authenticated/{BUCKET}/{key}").content) == 500

    def test_cut_a_chunk_of_which_what_came_is_kept(
        self, embedded: EmbeddedAws, service: httpx.Client, upload: str
    ) -> None:
        rule = {"operation": "supabase:PatchUpload", "reset": True, "after_bytes": 1000, "count": 1}
        embedded.control("POST", "faults", rule)
        with pytest.raises(httpx.RemoteProtocolError):
            service.patch(upload, content=b"a" * PART, headers={**CHUNK, "Upload-Offset": "0"})
        assert service.head(upload, headers=TUS).headers["Upload-Offset"] == "1000"
        second = service.patch(
            upload, content=b"b" * PART, headers={**CHUNK, "Upload-Offset": "1000", "x-upsert": "true"}
        )
        assert second.headers["Upload-Offset"] == str(PART + 1000)

    def test_of_one_operation_leave_others_alone(self, embedded: EmbeddedAws, service: httpx.Client, key: str) -> None:
        embedded.control("POST", "faults", {"operation": "supabase:GetObject", "error": "SlowDown"})
        assert service.post(f"/object/{BUCKET}/{key}", content=b"x").status_code == 200
        assert service.get(f"/object/info/{BUCKET}/{key}").status_code == 200
        assert service.get(f"/object/{BUCKET}/{key}").status_code == 429
        assert embedded.client("iam").list_roles()["Roles"]

    def test_that_only_supabase_has_are_refused_for_others(self, embedded: EmbeddedAws) -> None:
        rule = {"operation": "ListModels", "reset": True, "after_bytes": 1}
        assert "after_bytes" in embedded.control("POST", "faults", rule)["error"]


class TestTheFolder:
    def test_lets_nobody_else_read_its_keys(self, embedded: EmbeddedAws) -> None:
        assert stat.S_IMODE((embedded.state / "supabase.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(embedded.state.stat().st_mode) == 0o700

    def test_has_a_row_without_bytes_that_is_a_failure_to_read(
        self, embedded: EmbeddedAws, service: httpx.Client, key: str
    ) -> None:
        service.post(f"/object/{BUCKET}/{key}", content=b"lost").raise_for_status()
        version = service.get(f"/object/info/{BUCKET}/{key}").json()["version"]
        (embedded.state / "supabase" / "objects" / version[:2] / version).unlink()
        answer = service.get(f"/object/authenticated/{BUCKET}/{key}")
        assert (answer.status_code, answer.json()["statusCode"]) == (500, "500")
        assert service.get(f"/object/info/{BUCKET}/{key}").status_code == 200

    def test_keeps_no_bytes_of_what_is_replaced_or_removed(
        self, embedded: EmbeddedAws, service: httpx.Client, key: str
    ) -> None:
        sizes = [4_000_001, 4_000_002]
        for size in sizes:
            service.put(f"/object/{BUCKET}/{key}", content=b"x" * size).raise_for_status()
        assert self._of_sizes(embedded.state, sizes) == [sizes[1]]
        service.delete(f"/object/{BUCKET}/{key}").raise_for_status()
        assert self._of_sizes(embedded.state, sizes) == []

    def test_never_has_a_token_in_its_log(self, embedded: EmbeddedAws, project: SupabaseProject) -> None:
        with project.client() as client:
            client.get("/object/authenticated/no/thing")
        assert "eyJ" not in (embedded.state / "embedded.log").read_text()

    @staticmethod
    def _of_sizes(state: Path, sizes: list[int]) -> list[int]:
        found = [path.stat().st_size for path in (state / "supabase").rglob("*") if path.is_file()]
        return [size for size in found if size in sizes]


class TestStrictness:
    def test_a_resumable_upload_is_in_parts_of_six_mebibytes(self, service: httpx.Client, upload: str) -> None:
        for body in (b"x" * 1000, b"x" * (PART + 1)):
            answer = service.patch(upload, content=body, headers={**CHUNK, "Upload-Offset": "0", "x-upsert": "true"})
            assert answer.status_code == 400, len(body)
        assert service.head(upload, headers=TUS).headers["Upload-Offset"] == "0"

    def test_where_an_upload_is_is_said_with_a_scheme_that_is_not_served(
        self, service: httpx.Client, project: SupabaseProject
    ) -> None:
        asked = {**TUS, "Upload-Length": "1", "Upload-Metadata": "bucketName dHJhaW5pbmctZGF0YXNldHM=,objectName YmJi"}
        location = urlsplit(service.post("/upload/resumable", headers=asked).headers["Location"])
        assert (location.scheme, location.netloc) == ("https", urlsplit(project.url).netloc)

    def test_a_body_shorter_than_announced_is_no_object(self, project: SupabaseProject, key: str) -> None:
        address = urlsplit(project.url)
        with socket.create_connection((str(address.hostname), address.port or 80), timeout=90) as connection:
            head = f"POST /storage/v1/object/{BUCKET}/{key} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000000\r\n"
            connection.sendall(
                f"{head}Authorization: Bearer {project.service_role_key}\r\n\r\n".encode() + bytes(900_000)
            )
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""
        with project.client() as client:
            assert client.get(f"/object/authenticated/{BUCKET}/{key}").json()["statusCode"] == "404"

    def test_a_request_in_json_is_a_mebibyte_at_most(self, service: httpx.Client) -> None:
        body = b'{"prefixes": ["' + b"x" * (1 << 20) + b'"]}'
        assert service.request("DELETE", f"/object/{BUCKET}", content=body).status_code == 413

    def test_what_is_not_there_says_so(self, service: httpx.Client) -> None:
        assert service.get("/nothing/of/the/kind").status_code == 404
        assert service.post("/object/move", content=b"{").status_code == 400


def test_a_large_object_is_never_held_in_memory(embedded: EmbeddedAws, service: httpx.Client, key: str) -> None:
    size, chunk = 300_000_000, os.urandom(1_000_000)
    status, forget_peak = Path(f"/proc/{embedded.pid}/status"), Path(f"/proc/{embedded.pid}/clear_refs")

    def kib(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    service.post(f"/object/{BUCKET}/{key}.small", content=b"x").raise_for_status()
    forget_peak.write_text("5")
    before = kib("VmRSS")
    body = (chunk for _ in range(size // len(chunk)))
    service.post(f"/object/{BUCKET}/{key}", content=body, headers={"Content-Length": str(size)}).raise_for_status()
    got = 0
    with service.stream("GET", f"/object/authenticated/{BUCKET}/{key}") as answer:
        for part in answer.iter_raw():
            got += len(part)
    assert got == size
    assert kib("VmHWM") - before < 40_000
    service.delete(f"/object/{BUCKET}/{key}").raise_for_status()
