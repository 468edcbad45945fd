"""Fetching what a user named: a file, an object of S3, an address of the web, and nothing inside the worker's network."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from web_server import WebServer, body, certificate_for, cut_after, in_turn, redirect, serving, status

from trainmaster.errors import DatasetRefusedError, NotConfiguredError, StorageUnavailableError
from trainmaster.storage.reachable import is_public
from trainmaster.storage.sources import Source, fetch
from trainmaster.storage.web import MOST_REDIRECTS, WebLimits

ME = str(uuid4())
SECRET = "X-Amz-Signature=5ecre7"
INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "224.0.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.0.192", "168.63.129.16", "::1",
    "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff0e::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::1", "2001:db8::1", "2001::1", "3fff::1", "5f00::1", "100::1",
]  # fmt: skip
CONTENT = b'{"text": "what is in the file"}\n' * 1000


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


@pytest.fixture
def s3(embedded: Any) -> Any:
    return embedded.client("s3")


def limits(**choices: Any) -> WebLimits:
    return WebLimits(**{"largest": 1 << 20, "allow_private": True, "attempts": 2, **choices})


def fetched(file: str, folder: Path, web_limits: WebLimits | None = None, s3: Any = None) -> Source:
    return fetch(file, folder, user_id=ME, limits=web_limits or limits(), s3=lambda: s3)


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        INSIDE,
    )
    def test_what_is_not_of_the_public_internet_is_refused(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
    def test_what_is_of_it_is_not(self, address: str) -> None:
        assert is_public(address)

    @given(st.ip_addresses(v=4))
    def test_an_address_is_no_more_public_in_ipv6_clothing(self, address: Any) -> None:
        for clothed in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert is_public(clothed) == is_public(str(address))

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "169.254.169.254"]
    )
    def test_nothing_inside_is_asked_however_it_is_written(self, host: str, web: WebServer, tmp_path: Path) -> None:
        before = len(web.seen)
        with pytest.raises(DatasetRefusedError, match=r"inside a private.*TRAINMASTER_ALLOW_PRIVATE_ADDRESSES"):
            fetched(web.url("/file", host, "https"), tmp_path, limits(allow_private=False))
        assert len(web.seen) == before

    def test_one_private_address_among_public_ones_is_enough(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetRefusedError, match=r"10\.0\.0\.1"):
            fetched(
                "https://two.example/x",
                tmp_path,
                limits(allow_private=False, resolve=lambda *_: ["8.8.8.8", "10.0.0.1"]),
            )

    def test_the_address_that_was_checked_is_the_one_connected_to(self, web: WebServer, tmp_path: Path) -> None:
        """A name that means something else a moment later gains nothing: it is asked once, and not by the connection."""
        web.answers["/rebound"] = body(CONTENT)
        asked: list[str] = []

        def resolve(host: str, port: int) -> Sequence[str]:
            asked.append(host)
            return ["127.0.0.1"]

        source = fetched(web.url("/rebound", "dataset.invalid"), tmp_path, limits(resolve=resolve))
        assert source.path.read_bytes() == CONTENT
        assert asked == ["dataset.invalid"]
        assert web.seen[-1][0] == f"dataset.invalid:{web.port}"

    def test_the_next_address_is_tried_when_one_does_not_answer(self, web: WebServer, tmp_path: Path) -> None:
        web.answers["/second"] = body(CONTENT)
        two = limits(resolve=lambda *_: ["::1", "127.0.0.1"], attempts=1)
        assert fetched(web.url("/second", "two.invalid"), tmp_path, two).path.read_bytes() == CONTENT

    def test_tls_is_verified_for_the_name_not_the_address(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = tmp_path / "certificate.pem"
        certificate_for("dataset.invalid", certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        local = limits(resolve=lambda *_: ["127.0.0.1"], attempts=1)
        with serving(certificate) as server:
            server.answers["/file"] = body(CONTENT)
            assert (
                fetched(server.url("/file", "dataset.invalid", "https"), tmp_path, local).path.read_bytes() == CONTENT
            )
            with pytest.raises(StorageUnavailableError, match=r"https://other\.invalid.*ConnectError"):
                fetched(server.url("/file", "other.invalid", "https"), tmp_path, local)

    def test_a_name_that_does_not_exist_is_said_to(self, tmp_path: Path) -> None:
        def resolve(host: str, port: int) -> Sequence[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        with pytest.raises(DatasetRefusedError, match=r"There is no host nowhere\.invalid"):
            fetched("https://nowhere.invalid/x", tmp_path, limits(resolve=resolve))

    def test_no_proxy_of_the_environment_is_asked(
        self, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        web.answers["/direct"] = body(CONTENT)
        assert fetched(web.url("/direct"), tmp_path).path.read_bytes() == CONTENT


class TestRedirects:
    def test_a_few_are_followed(self, web: WebServer, tmp_path: Path) -> None:
        for hop in range(MOST_REDIRECTS):
            web.answers[f"/hop{hop}"] = redirect(f"/hop{hop + 1}?{SECRET}")
        web.answers[f"/hop{MOST_REDIRECTS}"] = body(CONTENT)
        assert fetched(web.url("/hop0"), tmp_path).path.read_bytes() == CONTENT

    def test_more_are_refused(self, web: WebServer, tmp_path: Path) -> None:
        web.answers["/round"] = redirect("/round")
        before = len(web.seen)
        with pytest.raises(DatasetRefusedError, match="more than 5 times"):
            fetched(web.url("/round"), tmp_path)
        assert len(web.seen) - before == 1 + MOST_REDIRECTS

    def test_each_is_checked_as_the_first_address_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the server's own address counts as public here: what it redirects to does not."""
        certificate = tmp_path / "certificate.pem"
        certificate_for("outside.invalid", certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr("trainmaster.storage.reachable.is_public", lambda address: address == "127.0.0.1")
        addresses = {"outside.invalid": "127.0.0.1", "inside.invalid": "127.0.0.2"}
        outside = limits(allow_private=False, resolve=lambda host, _: [addresses[host]])
        with serving(certificate) as server:
            server.answers["/trap"] = redirect(f"https://inside.invalid/?{SECRET}")
            with pytest.raises(DatasetRefusedError, match=r"inside\.invalid is at 127\.0\.0\.2, inside") as refusal:
                fetched(server.url("/trap", "outside.invalid", "https"), tmp_path, outside)
        assert SECRET not in str(refusal.value)

    @pytest.mark.parametrize(
        "to", ["file:///etc/passwd", "s3://bucket/key", "http://127.0.0.1/x", "https://me:pw@127.0.0.1/"]
    )
    def test_none_leads_to_another_kind_of_place(
        self, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = tmp_path / "certificate.pem"
        certificate_for("127.0.0.1", certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr("trainmaster.storage.reachable.is_public", lambda _address: True)
        with serving(certificate) as server:
            server.answers["/trap"] = redirect(to)
            with pytest.raises(DatasetRefusedError, match="redirects to what") as refusal:
                fetched(server.url("/trap", scheme="https"), tmp_path, limits(allow_private=False))
        assert "pw" not in str(refusal.value)


class TestWeb:
    @pytest.mark.parametrize(
        "file", ["https://me:pw@host.example/x", "ftp://host.example/x", "https:///x", "https://a b/"]
    )
    def test_what_is_no_plain_https_address_is_refused_and_no_secret_repeated(self, file: str, tmp_path: Path) -> None:
        with pytest.raises(DatasetRefusedError) as refusal:
            fetched(file, tmp_path)
        assert "pw" not in str(refusal.value)

    def test_plain_http_is_for_private_networks(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetRefusedError, match="write https://"):
            fetched("http://host.example/x", tmp_path, limits(allow_private=False))

    def test_a_file_cut_short_is_resumed_where_it_was(self, web: WebServer, tmp_path: Path) -> None:
        version = {"ETag": '"v1"'}
        web.answers["/cut"] = in_turn(cut_after(CONTENT, 9000, **version), cut_after(CONTENT, len(CONTENT), **version))
        assert fetched(web.url("/cut"), tmp_path).path.read_bytes() == CONTENT
        assert [asked for _, path, asked in web.seen if path == "/cut"] == ["", "bytes=9000-"]

    def test_one_that_changed_meanwhile_is_fetched_anew(self, web: WebServer, tmp_path: Path) -> None:
        newer = CONTENT.upper()
        web.answers["/changed"] = in_turn(
            cut_after(CONTENT, 9000, ETag='"v1"'), cut_after(newer, len(newer), ETag='"v2"')
        )
        assert fetched(web.url("/changed"), tmp_path).path.read_bytes() == newer

    def test_one_without_a_version_is_fetched_anew(self, web: WebServer, tmp_path: Path) -> None:
        web.answers["/weak"] = in_turn(cut_after(CONTENT, 9000, ETag='W/"v1"'), body(CONTENT))
        assert fetched(web.url("/weak"), tmp_path).path.read_bytes() == CONTENT
        assert [asked for _, path, asked in web.seen if path == "/weak"] == ["", ""]

    def test_a_busy_server_is_asked_again_and_one_that_stays_so_is_told_of(
        self, web: WebServer, tmp_path: Path
    ) -> None:
        web.answers["/busy"] = in_turn(status(503), body(CONTENT))
        assert fetched(web.url("/busy"), tmp_path).path.read_bytes() == CONTENT
        web.answers["/down"] = status(503)
        with pytest.raises(StorageUnavailableError, match="in 2 tries: HTTP status 503"):
            fetched(web.url("/down"), tmp_path)

    def test_what_is_not_there_is_refused_at_once(self, web: WebServer, tmp_path: Path) -> None:
        before = len(web.seen)
        with pytest.raises(DatasetRefusedError, match="answered HTTP status 404"):
            fetched(web.url("/nothing"), tmp_path)
        assert len(web.seen) == before + 1

    @pytest.mark.parametrize("honest", [True, False])
    def test_no_more_than_allowed_is_fetched_whatever_is_promised(
        self, honest: bool, web: WebServer, tmp_path: Path
    ) -> None:
        def endless(request: Any) -> None:
            request.send_response(200)
            request.end_headers()
            for _ in range(1000):
                request.wfile.write(b"x" * (1 << 16))

        web.answers["/large"] = body(b"x" * (2 << 20)) if honest else endless
        with pytest.raises(DatasetRefusedError, match="at most 1,048,576 are fetched"):
            fetched(web.url("/large"), tmp_path)
        left = tmp_path / "source"
        assert not left.exists() or left.stat().st_size <= 1 << 20

    def test_an_empty_file_is_refused(self, web: WebServer, tmp_path: Path) -> None:
        web.answers["/empty"] = body(b"")
        with pytest.raises(DatasetRefusedError, match="is empty: 0 bytes"):
            fetched(web.url("/empty"), tmp_path)

    def test_bytes_are_kept_as_they_are_stored(self, web: WebServer, tmp_path: Path) -> None:
        web.answers["/packed"] = body(b"\x1f\x8b not decoded", Content_Encoding="gzip")
        assert fetched(web.url("/packed"), tmp_path).path.read_bytes() == b"\x1f\x8b not decoded"

    def test_no_query_is_logged_kept_or_told(
        self, web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        web.answers["/my%20data.jsonl"] = in_turn(body(CONTENT), status(403))
        address = web.url(f"/my%20data.jsonl?{SECRET}")
        with caplog.at_level(logging.INFO):
            source = fetched(address, tmp_path)
            with pytest.raises(DatasetRefusedError, match="may have expired") as refusal:
                fetched(address, tmp_path)
        assert web.seen[-1][1].endswith(SECRET)
        assert "HTTP Request" in caplog.text
        assert SECRET not in caplog.text + str(refusal.value) + source.uri + source.name
        assert (source.name, source.uri) == ("my data.jsonl", web.url("/my%20data.jsonl"))


class TestFiles:
    def test_a_file_is_read_where_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_bytes(CONTENT)
        assert fetched(str(path), tmp_path) == Source(path, "mine.jsonl", str(path))

    def test_a_path_is_taken_as_it_stands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mine.jsonl").write_bytes(CONTENT)
        monkeypatch.setenv("HOME", str(tmp_path))
        for path in ("~/mine.jsonl", "$HOME/mine.jsonl", f"{tmp_path}/*.jsonl"):
            with pytest.raises(DatasetRefusedError, match="No such file"):
                fetched(path, tmp_path)

    def test_what_is_no_regular_file_is_refused_and_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DatasetRefusedError, match="is a folder; wanted a file"):
            fetched(str(tmp_path), tmp_path)
        for path in ("/dev/zero", str(tmp_path / "pipe")):
            with pytest.raises(DatasetRefusedError, match="is a device, pipe or socket"):
                fetched(path, tmp_path)

    def test_what_has_no_size_is_refused(self, tmp_path: Path) -> None:
        """The worker's own environment, secrets and all, among it."""
        with pytest.raises(DatasetRefusedError, match="is empty"):
            fetched("/proc/self/environ", tmp_path)

    def test_where_a_folder_is_set_nothing_outside_it_is_read_by_whatever_way(self, tmp_path: Path) -> None:
        inside, outside = tmp_path / "inside", tmp_path / "outside.jsonl"
        inside.mkdir()
        for file in (inside / "mine.jsonl", outside):
            file.write_bytes(CONTENT)
        (inside / "link.jsonl").symlink_to(outside)

        def fetch_below(path: str) -> Source:
            return fetch(path, tmp_path, user_id=ME, limits=limits(), s3=lambda: None, only_below=inside)

        assert fetch_below(f"{inside}/mine.jsonl").name == "mine.jsonl"
        for path in (str(outside), f"{inside}/../outside.jsonl", f"{inside}/link.jsonl", "/etc/passwd", "/not/there"):
            with pytest.raises(DatasetRefusedError, match=f"is not below {inside}"):
                fetch_below(path)

    def test_an_impossible_path_is_refused(self, tmp_path: Path) -> None:
        for path in ("a\0b", "x" * 5000):
            with pytest.raises(DatasetRefusedError, match="cannot be read"):
                fetched(path, tmp_path)


class TestS3:
    def test_an_object_is_fetched(self, embedded: Any, s3: Any, tmp_path: Path) -> None:
        bucket = embedded.environment["TRAINMASTER_BUCKET"]
        s3.put_object(Bucket=bucket, Key="sources/räksmörgås one.jsonl", Body=CONTENT)
        uri = f"s3://{bucket}/sources/räksmörgås one.jsonl"
        source = fetched(uri, tmp_path, s3=s3)
        assert (source.path.read_bytes(), source.name, source.uri) == (CONTENT, "räksmörgås one.jsonl", uri)

    @pytest.mark.parametrize("uri", ["s3://{bucket}/sources/not-there", "s3://no-such-bucket-at-all/key"])
    def test_one_that_is_not_there_is_refused(self, uri: str, embedded: Any, s3: Any, tmp_path: Path) -> None:
        with pytest.raises(DatasetRefusedError, match=r"There is nothing at s3://"):
            fetched(uri.format(bucket=embedded.environment["TRAINMASTER_BUCKET"]), tmp_path, s3=s3)

    def test_one_that_is_too_large_is_refused_before_it_is_fetched(
        self, embedded: Any, s3: Any, tmp_path: Path
    ) -> None:
        bucket = embedded.environment["TRAINMASTER_BUCKET"]
        s3.put_object(Bucket=bucket, Key="sources/large", Body=CONTENT)
        with pytest.raises(DatasetRefusedError, match=r"has 32,000 bytes; at most 31,999 are fetched"):
            fetched(f"s3://{bucket}/sources/large", tmp_path, limits(largest=len(CONTENT) - 1), s3)
        assert not (tmp_path / "source").exists()

    def test_another_users_dataset_is_as_missing_as_any(self, embedded: Any, s3: Any, tmp_path: Path) -> None:
        bucket = embedded.environment["TRAINMASTER_BUCKET"]
        for owner in (ME, str(uuid4())):
            s3.put_object(Bucket=bucket, Key=f"{owner}/datasets/x.jsonl.gz", Body=CONTENT)
        assert fetched(f"s3://{bucket}/{ME}/datasets/x.jsonl.gz", tmp_path, s3=s3).path.read_bytes() == CONTENT
        with pytest.raises(DatasetRefusedError, match="no dataset of yours"):
            fetched(f"s3://{bucket}/{owner}/datasets/x.jsonl.gz", tmp_path, s3=s3)

    def test_without_credentials_it_is_said_what_to_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        nobody = boto3.session.Session().client("s3", region_name="us-east-1")
        with pytest.raises(
            NotConfiguredError, match=r"Set AWS_REGION and credentials.*trainmaster embedded --print-env"
        ):
            fetched("s3://some-bucket/key", tmp_path, s3=nobody)

    def test_s3_out_of_reach_is_worth_another_try(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nowhere = boto3.client(
                "s3", endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}", region_name="us-east-1",
                aws_access_key_id="x", aws_secret_access_key="y", config=Config(retries={"total_max_attempts": 1}),
            )  # fmt: skip
            with pytest.raises(StorageUnavailableError, match="after every retry"):
                fetched("s3://some-bucket/key", tmp_path, s3=nowhere)
