"""How the ends of copies are reached: whom they trust, what they sign by, and what the environment has a say in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from altering_proxy import AlteringProxy
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from copy_ends import Target, all_of, put
from object_stores import Server, content
from pydantic import SecretStr
from web_server import body, certificate_for, ranged, serving, status

from trainmaster.errors import (
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.ends.protocols import Version
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.ends.supabase_source import SupabaseSource


def with_expired_credentials(server: Server) -> tuple[Any, list[datetime]]:
    """A client of a role whose credentials have to be renewed, as often as it was; those it begins with are no good."""
    renewals: list[datetime] = []

    def renewed() -> dict[str, Any]:
        renewals.append(datetime.now(UTC))
        return {
            "access_key": server.key_id,
            "secret_key": server.secret,
            "token": None,
            "expiry_time": (renewals[-1] + timedelta(hours=1)).isoformat(),
        }

    expired = {
        "access_key": "AKIAEXPIRED",
        "secret_key": "expired",
        "token": None,
        "expiry_time": "2020-01-01T00:00:00Z",
    }
    session = botocore.session.Session()
    session._credentials = RefreshableCredentials.create_from_metadata(expired, renewed, "a role of tests")  # type: ignore[attr-defined]
    return session.create_client("s3", endpoint_url=server.url, region_name="us-east-1"), renewals


class TestTrust:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "root.pem"

    @pytest.fixture
    def address(self, root: Path, tmp_path: Path) -> Iterator[str]:
        """A server that has one object, under whatever roof, and a certificate by somebody nobody knows."""
        certificate_for("127.0.0.1", tmp_path / "server.pem", root)
        with serving(tmp_path / "server.pem") as web:
            web.answers["/bucket/a"] = ranged(content(1000))
            web.answers["/storage/v1/object/authenticated/bucket/a"] = ranged(content(1000))
            web.answers["/storage/v1/bucket/bucket"] = body(b"{}")
            yield web.url("", scheme="https")

    def s3(self, address: str, trusted: str | None = None) -> S3Source:
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
        return S3Source(session.client("s3", endpoint_url=address, verify=trusted), "bucket")

    def test_s3_is_trusted_by_whatever_its_client_trusts(self, address: str, root: Path) -> None:
        assert self.s3(address, str(root)).read("a", 0, 1000).data == content(1000)

    def test_s3_is_trusted_by_the_bundle_of_the_environment(
        self, address: str, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(root))
        assert self.s3(address).read("a", 0, 1000).data == content(1000)

    def test_supabase_is_trusted_by_the_roots_of_the_environment(
        self, address: str, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        assert SupabaseSource(address, SecretStr("a.b.c"), "bucket").read("a", 0, 1000).data == content(1000)

    def test_nobody_else_is_trusted(self, address: str) -> None:
        supabase = SupabaseSource(address, SecretStr("a.b.c"), "bucket")
        with pytest.raises(NotConfiguredError, match="AWS_CA_BUNDLE"):
            self.s3(address).read("a", 0, 1000)
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            supabase.read("a", 0, 1000)


class TestAddresses:
    @pytest.mark.parametrize(
        ("region", "bucket", "host"),
        [
            ("us-east-1", "our-data", "our-data.s3.amazonaws.com"),
            ("eu-central-1", "our-data", "our-data.s3.eu-central-1.amazonaws.com"),
            ("cn-north-1", "our-data", "our-data.s3.cn-north-1.amazonaws.com.cn"),
            ("eu-central-1", "our.data", "s3.eu-central-1.amazonaws.com"),
        ],
    )
    def test_a_bucket_of_aws_is_a_host_where_its_certificate_allows(
        self, region: str, bucket: str, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name=region)
        with serving() as nobody, AlteringProxy(nobody.url("")) as proxy:
            client = session.client("s3", config=Config(proxies={"https": proxy.url}))
            with pytest.raises(StorageUnavailableError):
                S3Source(client, bucket).read("a", 0, 10)
            assert proxy.heads[0].startswith(f"CONNECT {host}:443 ".encode())


class TestEnvironment:
    def test_what_a_shell_holds_for_another_s3_has_no_say(
        self, seaweedfs: Server, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        destination_before = Target(seaweedfs, checking=True).destination()
        for name, value in {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "another",
            "AWS_SECRET_ACCESS_KEY": "another",
            "AWS_SESSION_TOKEN": "another",
            "AWS_REGION": "mars-1",
            "AWS_SKIP_SIGNATURE": "true",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
            "AWS_CHECKSUM_ALGORITHM": "SHA256",
            "AWS_BUCKET": "another",
        }.items():
            monkeypatch.setenv(name, value)
        destination = Target(seaweedfs, checking=True).destination()
        put(destination, key, b"data")
        assert all_of(destination, key) == all_of(destination_before, key) == b"data"

    def test_a_proxy_of_the_client_is_gone_through(self, seaweedfs: Server, key: str) -> None:
        with AlteringProxy(seaweedfs.url) as proxy:
            client = boto3.client(
                "s3", endpoint_url=seaweedfs.url, region_name="us-east-1", config=Config(proxies={"http": proxy.url}),
                aws_access_key_id=seaweedfs.key_id, aws_secret_access_key=seaweedfs.secret,
            )  # fmt: skip
            destination = S3Destination(client, seaweedfs.bucket)
            put(destination, key, b"data")
            destination.put_part(key, destination.begin(key, source_version="v"), 1, memoryview(b"data"))
            assert [head.split()[:2] for head in proxy.heads if head.startswith(b"PUT")] == [
                [b"PUT", f"{seaweedfs.url}/{seaweedfs.bucket}/{key}".encode()],
                [b"PUT", proxy.heads[-1].split()[1]],
            ]
            assert proxy.heads[-1].split()[1].startswith(seaweedfs.url.encode())
            destination.abort(key, destination.uploads(key)[0])


class TestSigning:
    def test_it_signs_by_whatever_credentials_the_client_has_by_now(self, seaweedfs: Server, key: str) -> None:
        client, renewals = with_expired_credentials(seaweedfs)
        destination = S3Destination(client, seaweedfs.bucket)
        put(destination, key, b"data")
        assert renewals
        assert all_of(destination, key) == b"data"

    def test_no_credentials_are_said_before_anything_is_sent(
        self, monkeypatch: pytest.MonkeyPatch, seaweedfs: Server
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        client = boto3.session.Session().client("s3", endpoint_url=seaweedfs.url, region_name="us-east-1")
        with pytest.raises(NotConfiguredError, match="TRAINMASTER_AWS_CREDENTIALS_BLOCK"):
            S3Destination(client, seaweedfs.bucket)


class TestServersThatIgnore:
    """As Supabase's S3 endpoint does If-Match, and others ranges."""

    def source(self, address: str) -> S3Source:
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
        return S3Source(session.client("s3", endpoint_url=address), "bucket")

    def test_another_version_than_was_asked_for_is_noticed(self) -> None:
        with serving() as web:
            web.answers["/bucket/a"] = ranged(content(1000))
            source = self.source(web.url(""))
            assert source.look("a") == Version(1000, '"tag"')
            for start, length in ((0, 1000), (500, 10)):
                with pytest.raises(ObjectChangedError):
                    source.read("a", start, length, Version(1000, '"another"'))
                with pytest.raises(ObjectChangedError):
                    source.read("a", start, length, Version(1001, '"tag"'))

    def test_all_of_it_where_a_part_was_asked_for_is_noticed(self) -> None:
        with serving() as web:
            web.answers["/bucket/a"] = body(content(1000), ETag='"tag"')
            with pytest.raises(StorageUnavailableError, match="all of it where a part"):
                self.source(web.url("")).read("a", 500, 10, Version(1000, '"tag"'))

    def test_an_error_that_has_no_code_is_told_by_its_status(self) -> None:
        with serving() as web:
            source = self.source(web.url(""))
            for code, kind in ((404, ObjectMissingError), (403, NotConfiguredError), (503, StorageUnavailableError)):
                web.answers["/bucket/a"] = status(code)
                with pytest.raises(kind):
                    source.read("a", 0, 10)
