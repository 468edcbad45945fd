"""Which bucket keeps a user's datasets, and what is said before anything is sent when none can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_stores import folder, put, read
from pydantic import SecretStr

from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores, is_bucket_name
from trainmaster.storage.supabase_s3 import SupabaseS3Source

USER = UUID("11111111-2222-3333-4444-555555555555")
S3, SUPABASE = StorageProvider.S3, StorageProvider.SUPABASE


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRAINMASTER_BUCKET", "TRAINMASTER_DATASET_BUCKET", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"):
        monkeypatch.delenv(name, raising=False)


def unreachable() -> Any:
    raise AssertionError("nothing may be asked")


def configured(**settings: Any) -> Settings:
    return Settings().model_copy(update=settings)


class TestS3:
    @pytest.fixture
    def client(self, embedded: Any) -> Callable[[], Any]:
        return lambda: embedded.client("s3")

    @pytest.fixture
    def bucket(self, embedded: Any) -> str:
        return str(embedded.environment["TRAINMASTER_BUCKET"])

    def test_the_common_bucket_is_used_where_no_other_is_set(self, client: Callable[[], Any], bucket: str) -> None:
        store = Stores(configured(bucket=bucket), client).home(S3, USER)
        key = folder() + "a"

        assert (store.provider, store.bucket) == (S3, bucket)
        assert put(store, key, b"cats")
        assert read(Stores(configured(), client).at(S3, bucket), key) == b"cats"

    def test_a_bucket_of_the_user_s_own_comes_before_the_common_one(
        self, client: Callable[[], Any], bucket: str
    ) -> None:
        client().create_bucket(Bucket=f"d-{USER}")
        settings = configured(bucket=bucket, dataset_bucket="d-{user_id}")

        assert Stores(settings, client).home(S3, USER).bucket == f"d-{USER}"

    def test_a_bucket_that_is_not_there_is_said_before_anything_is_sent(self, client: Callable[[], Any]) -> None:
        with pytest.raises(NotConfiguredError, match=r"'nowhere-at-all' does not exist.*TRAINMASTER_DATASET_BUCKET"):
            Stores(configured(bucket="nowhere-at-all"), client).home(S3, USER)

    def test_no_bucket_set_is_said_without_asking_anybody(self) -> None:
        with pytest.raises(NotConfiguredError, match=r"TRAINMASTER_DATASET_BUCKET.*or TRAINMASTER_BUCKET"):
            Stores(configured(), unreachable).home(S3, USER)

    @pytest.mark.parametrize("pattern", ["Datasets", "of-{user_id}-and-some-more-that-is-too-long", "a_b", "{user}"])
    def test_a_name_that_no_bucket_can_have_is_said_without_asking_anybody(self, pattern: str) -> None:
        with pytest.raises(NotConfiguredError, match="cannot be an S3 bucket"):
            Stores(configured(dataset_bucket=pattern), unreachable).home(S3, USER)

    @pytest.mark.parametrize("profile", [None, "not-there"])
    def test_no_credentials_is_said_with_what_to_set(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str | None
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        if profile:
            monkeypatch.setenv("AWS_PROFILE", profile)

        with pytest.raises(NotConfiguredError, match=r"no AWS credentials.*TRAINMASTER_AWS_CREDENTIALS_BLOCK"):
            Stores(configured(bucket="some-bucket")).home(S3, USER)

    @given(st.text(alphabet="abc019.-_A", max_size=70))
    def test_only_names_that_s3_takes_are_bucket_names(self, name: str) -> None:
        allowed = (
            3 <= len(name) <= 63
            and not set(name) & set("_A")
            and name[0] not in ".-"
            and name[-1] not in ".-"
            and ".." not in name
            and not _is_address(name)
        )

        assert is_bucket_name(name) == allowed

    @pytest.mark.parametrize(
        "name",
        ["xn--abc", "sthree-abc", "amzn-s3-demo-abc", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3", "abc\n"],
    )
    def test_names_that_s3_keeps_for_itself_are_none(self, name: str) -> None:
        assert not is_bucket_name(name)


class TestSupabase:
    def test_the_application_s_bucket_is_used(self, embedded: Any) -> None:
        environment = embedded.environment
        settings = configured(
            supabase_url=environment["SUPABASE_URL"],
            supabase_service_role_key=SecretStr(environment["SUPABASE_SERVICE_ROLE_KEY"]),
        )
        stores = Stores(settings, unreachable)

        assert stores.home(SUPABASE, USER).bucket == "training-datasets"
        assert stores.home(SUPABASE, USER) is stores.home(SUPABASE, USER)
        assert stores.at(SUPABASE, "another").bucket == "another"

    def test_a_bucket_has_one_store_whose_connections_are_used_again(self) -> None:
        settings = configured(supabase_url="https://abc.supabase.co", supabase_service_role_key=SecretStr("k"))
        stores = Stores(settings, unreachable)
        assert stores.at(SUPABASE, "a") is stores.at(SUPABASE, "a")
        assert stores.at(SUPABASE, "a") is not stores.at(SUPABASE, "b")

    @pytest.mark.parametrize(
        ("settings", "missing"),
        [
            ({}, "SUPABASE_URL is not set"),
            ({"supabase_url": "https://abc.supabase.co"}, "SUPABASE_SERVICE_ROLE_KEY is not set"),
            (
                {"supabase_url": "https://abc.supabase.co", "supabase_service_role_key": SecretStr("")},
                "SUPABASE_SERVICE_ROLE_KEY is not set",
            ),
        ],
    )
    def test_supabase_that_is_not_configured_is_said_with_what_to_set(
        self, settings: dict[str, Any], missing: str
    ) -> None:
        with pytest.raises(NotConfiguredError, match=missing):
            Stores(configured(**settings), unreachable).home(SUPABASE, USER)


class TestEndsOfCopies:
    @pytest.fixture
    def settings(self, embedded: Any) -> Settings:
        environment = embedded.environment
        return configured(
            bucket=environment["TRAINMASTER_BUCKET"],
            supabase_url=environment["SUPABASE_URL"],
            supabase_service_role_key=SecretStr(environment["SUPABASE_SERVICE_ROLE_KEY"]),
        )

    def test_what_one_store_keeps_is_copied_to_where_the_other_finds_it(
        self, embedded: Any, settings: Settings
    ) -> None:
        stores, key = Stores(settings, lambda: embedded.client("s3")), folder() + "a"
        put(stores.at(SUPABASE, "training-datasets"), key, b"cats")

        piece = stores.source(SUPABASE, "training-datasets").read(key, 0, 100)
        stores.destination(USER).put(key, piece.data, sha256="ab", source_version=piece.version.tag)

        found = stores.home(S3, USER).stat(key)
        assert found
        assert (found.size, found.sha256, found.metadata) == (
            4, "ab", {"sha256": "ab", "source-version": piece.version.tag}
        )  # fmt: skip
        copied = stores.source(S3, stores.destination(USER).bucket)
        assert bytes(copied.read(key, 0, 100).data) == b"cats"
        assert stores.destination(USER).can_copy_from(copied)

    def test_each_bucket_has_one_end_whose_connections_are_used_again(self, embedded: Any, settings: Settings) -> None:
        stores = Stores(settings, lambda: embedded.client("s3"))
        assert stores.destination(USER) is stores.destination(UUID(int=1))
        for provider in (SUPABASE, S3):
            assert stores.source(provider, "some-bucket") is stores.source(provider, "some-bucket")
            assert stores.source(provider, "some-bucket") is not stores.source(provider, "other-bucket")

    def test_a_bucket_that_is_not_there_is_said_before_anything_is_copied(self, embedded: Any) -> None:
        with pytest.raises(NotConfiguredError, match="'nowhere-at-all' does not exist"):
            Stores(configured(bucket="nowhere-at-all"), lambda: embedded.client("s3")).destination(USER)

    def test_supabase_is_copied_from_by_its_s3_endpoint_where_there_are_keys_for_it(self, settings: Settings) -> None:
        keys = {"supabase_s3_access_key_id": "key", "supabase_s3_secret_access_key": SecretStr("secret")}
        source = Stores(settings.model_copy(update=keys), unreachable).source(SUPABASE, "training-datasets")
        assert isinstance(source, SupabaseS3Source)
        assert source.name == "supabase-s3:training-datasets"
        assert source.place == (f"{settings.supabase_url}/storage/v1/s3", "us-east-1", "key")

    def test_a_key_of_that_endpoint_without_its_secret_is_said_with_what_to_set(self, settings: Settings) -> None:
        only = settings.model_copy(update={"supabase_s3_access_key_id": "key"})
        with pytest.raises(NotConfiguredError, match="SUPABASE_S3_SECRET_ACCESS_KEY is not set"):
            Stores(only, unreachable).source(SUPABASE, "training-datasets")

    def test_supabase_that_is_not_configured_is_said_with_what_to_set(self) -> None:
        with pytest.raises(NotConfiguredError, match="SUPABASE_URL is not set"):
            Stores(configured(), unreachable).source(SUPABASE, "training-datasets")


def _is_address(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isdecimal() and int(part) < 256 and str(int(part)) == part for part in parts)
