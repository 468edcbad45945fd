"""Which bucket of which provider keeps a user's datasets, as this installation is configured."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import SecretStr

from trainmaster.aws.clients import default_s3_client
from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.ends.supabase_source import SupabaseSource
from trainmaster.storage.s3 import S3Store, require_bucket
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_s3 import SupabaseS3Source, supabase_s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SUPABASE_BUCKET = "training-datasets"
"""The application's, which shares it with us."""

_BUCKET = re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")


class Stores:
    """The stores of one installation. `s3_client` makes the client S3 is reached by; AWS's default chain without it."""

    def __init__(
        self,
        settings: Settings,
        s3_client: Callable[[], S3Client] | None = None,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._settings, self._timeouts = settings, timeouts
        self._new_s3_client = s3_client or (lambda: default_s3_client(settings.region))
        self._s3_client: S3Client | None = None
        self._stores: dict[tuple[StorageProvider, str], ObjectStore] = {}
        self._sources: dict[tuple[StorageProvider, str], Source] = {}
        self._destinations: dict[str, S3Destination] = {}
        self._found: set[str] = set()

    @property
    def is_shared(self) -> bool:
        """Whether all users' datasets go into one bucket of S3; otherwise each has one of his own."""
        return "{user_id}" not in (self._settings.dataset_bucket or self._settings.bucket or "")

    def home(self, provider: StorageProvider, user_id: UUID) -> ObjectStore:
        """Where a user's datasets go at a provider; known to be there and usable, before anything is sent.

        Raises NotConfiguredError saying what to set.
        """
        bucket = SUPABASE_BUCKET if provider is StorageProvider.SUPABASE else self._s3_bucket(user_id)
        store = self.at(provider, bucket)
        if isinstance(store, SupabaseStore):
            store.require_bucket()
        elif bucket not in self._found:
            require_bucket(self._s3(), bucket)
            self._found.add(bucket)
        return store

    def at(self, provider: StorageProvider, bucket: str) -> ObjectStore:
        """A bucket that the catalogue names. Raises NotConfiguredError when its provider is not configured."""
        if (provider, bucket) not in self._stores:
            self._stores[provider, bucket] = self._new(provider, bucket)
        return self._stores[provider, bucket]

    def source(self, provider: StorageProvider, bucket: str) -> Source:
        """A bucket that the catalogue names, to copy from: the same one each time, whose connections are used again.

        Supabase's is read by its S3 endpoint where keys for that are set. Raises NotConfiguredError.
        """
        if (provider, bucket) not in self._sources:
            self._sources[provider, bucket] = self._new_source(provider, bucket)
        return self._sources[provider, bucket]

    def destination(self, user_id: UUID) -> S3Destination:
        """Where a user's datasets are copied to, known to be there; the same one each time for the same bucket.

        Raises NotConfiguredError saying what to set.
        """
        bucket = self.home(StorageProvider.S3, user_id).bucket
        if bucket not in self._destinations:
            self._destinations[bucket] = S3Destination(
                self._s3(),
                bucket,
                encryption=self._settings.s3_encryption,
                kms_key_id=self._settings.s3_kms_key_id,
                # Where the worker may write, whatever else it may not; always the same, so that what is left there is found.
                probe_folder=f"{UUID(int=0) if self.is_shared else user_id}/datasets/",
                timeouts=self._timeouts,
            )
        return self._destinations[bucket]

    def _new_source(self, provider: StorageProvider, bucket: str) -> Source:
        settings = self._settings
        if provider is StorageProvider.S3:
            return S3Source(self._s3(), bucket, timeouts=self._timeouts)
        url, secret = self._supabase()
        if settings.supabase_s3_access_key_id:
            key = settings.required("supabase_s3_secret_access_key")
            client = supabase_s3_client(url, settings.supabase_s3_access_key_id, key, settings.supabase_s3_region)
            return SupabaseS3Source(client, bucket, timeouts=self._timeouts)
        return SupabaseSource(url, secret, bucket, timeouts=self._timeouts)

    def _new(self, provider: StorageProvider, bucket: str) -> ObjectStore:
        settings = self._settings
        if provider is StorageProvider.S3:
            encryption, key = settings.s3_encryption, settings.s3_kms_key_id
            return S3Store(self._s3(), bucket, encryption=encryption, kms_key_id=key)
        return SupabaseStore(*self._supabase(), bucket)

    def _supabase(self) -> tuple[str, SecretStr]:
        url, secret = self._settings.supabase_url, self._settings.supabase_service_role_key
        if not url or not secret or not secret.get_secret_value():
            missing = "SUPABASE_SERVICE_ROLE_KEY" if url else "SUPABASE_URL"
            raise NotConfiguredError(
                f"Supabase was chosen, but {missing} is not set. Set SUPABASE_URL to the project's address and"
                " SUPABASE_SERVICE_ROLE_KEY to its service-role key in the environment of the worker, or choose S3."
            )
        return url, secret

    def _s3(self) -> S3Client:
        if self._s3_client is None:
            self._s3_client = self._new_s3_client()
        return self._s3_client

    def _s3_bucket(self, user_id: UUID) -> str:
        pattern = self._settings.dataset_bucket or self._settings.bucket
        if not pattern:
            raise NotConfiguredError(
                "S3 was chosen, but no bucket is configured. Set TRAINMASTER_DATASET_BUCKET (`{user_id}` in it stands for"
                " the user) or TRAINMASTER_BUCKET in the environment of the worker, or choose Supabase."
            )
        bucket = pattern.replace("{user_id}", str(user_id))
        if not is_bucket_name(bucket):
            raise NotConfiguredError(
                f"{bucket!r}, from TRAINMASTER_DATASET_BUCKET or TRAINMASTER_BUCKET, cannot be an S3 bucket: 3 to 63"
                " lower-case letters, digits, dots and hyphens, a letter or digit at both ends, no IP address."
                " `{user_id}` takes 36 of them."
            )
        return bucket


def is_bucket_name(name: str) -> bool:
    """Whether S3's rules for general purpose buckets allow it (AWS, "General purpose bucket naming rules")."""
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return bool(_BUCKET.fullmatch(name)) and not name.endswith(
            ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
        )
    return False
