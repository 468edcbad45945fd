"""Where Trainmaster runs: one class, read from the environment at entry and passed down."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from trainmaster.errors import NotConfiguredError
from trainmaster.local_settings import PREFIX, LocalSettings

_RATE = r"^([1-9][0-9]*/(second|minute|hour))?$"


class Settings(LocalSettings, BaseSettings):
    """The settings of one process. Environment variables: `TRAINMASTER_*` and the standard `AWS_REGION`,
    `DATABASE_URL`, `SUPABASE_URL`, `SUPABASE_SERVICE_ROLE_KEY`. An empty one is as if unset."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    bucket: Annotated[str | None, Field(description="S3 bucket for data, code and models.")] = None
    dataset_bucket: Annotated[
        str | None,
        Field(
            description="S3 bucket of a user's datasets; `{user_id}` in it stands for the user. TRAINMASTER_BUCKET without it."
        ),
    ] = None
    s3_encryption: Annotated[
        Literal["AES256", "aws:kms", "aws:kms:dsse"] | None,
        Field(description="Server-side encryption asked of S3 for datasets; the bucket's own default without it."),
    ] = None
    s3_kms_key_id: Annotated[str | None, Field(description="KMS key for s3_encryption; AWS's own without it.")] = None
    supabase_url: Annotated[
        str | None, Field(validation_alias="SUPABASE_URL", description="Address of the Supabase project.")
    ] = None
    supabase_service_role_key: Annotated[
        SecretStr | None,
        Field(validation_alias="SUPABASE_SERVICE_ROLE_KEY", description="Service-role key of the Supabase project."),
    ] = None
    supabase_jwt_secret: Annotated[
        SecretStr | None,
        Field(
            validation_alias="SUPABASE_JWT_SECRET", description="What the project signs its users' tokens with (HS256)."
        ),
    ] = None
    supabase_s3_access_key_id: Annotated[
        str | None,
        Field(
            validation_alias="SUPABASE_S3_ACCESS_KEY_ID",
            description="Key of Supabase Storage's S3 endpoint, which datasets are then copied from; its HTTP API without it.",
        ),
    ] = None
    supabase_s3_secret_access_key: Annotated[
        SecretStr | None,
        Field(validation_alias="SUPABASE_S3_SECRET_ACCESS_KEY", description="The secret of that key."),
    ] = None
    supabase_s3_region: Annotated[
        str, Field(validation_alias="SUPABASE_S3_REGION", description="The region that endpoint signs for.")
    ] = "us-east-1"
    database_url: Annotated[
        SecretStr | None,
        Field(
            validation_alias="DATABASE_URL",
            description="The catalogue: Supabase's PostgreSQL (session mode, port 5432); SQLite in the state folder without it.",
        ),
    ] = None
    allow_private_addresses: Annotated[
        bool, Field(description="Let datasets be fetched from addresses inside the worker's own network.")
    ] = False
    source_folder: Annotated[
        Path | None,
        Field(description="Only files below it may be named by path for upload; any the worker can read without it."),
    ] = None
    largest_fetch_bytes: Annotated[
        int, Field(gt=0, description="The largest dataset fetched from an s3:// or https:// address.")
    ] = 50 << 30
    execution_role_arn: Annotated[
        str | None, Field(description="IAM role SageMaker assumes to read the data and write the model.")
    ] = None
    aws_credentials_block: Annotated[
        str | None, Field(description="Name of a prefect-aws AwsCredentials block; AWS's default chain without it.")
    ] = None
    api_url: Annotated[
        str,
        Field(
            description="Address of a published API: `{id}`, `{region}` and `{stage}` in it are the API's own. AWS's without it."
        ),
    ] = "https://{id}.execute-api.{region}.amazonaws.com/{stage}"
    poll_seconds: Annotated[
        float, Field(gt=0, description="Seconds between two Describes of one job. AWS's own tools take 30.")
    ] = 30.0
    outage_seconds: Annotated[
        float, Field(gt=0, description="How long AWS may be out of reach before a wait gives up.")
    ] = 900.0
    approval_seconds: Annotated[
        int, Field(gt=0, description="How long a run over budget waits for somebody to approve or refuse it.")
    ] = 7 * 86400
    deploy_timeout_seconds: Annotated[
        float, Field(gt=0, description="How long an endpoint may take to come into service.")
    ] = 3600.0
    studio_domain: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
            description="Name of the Studio domain of workspaces whose template names none; made when it is not there.",
        ),
    ] = "trainmaster"
    workspace_timeout_seconds: Annotated[
        float, Field(gt=0, description="How long a workspace may take to start, stop or go.")
    ] = 1800.0
    http_token_issuer: Annotated[
        str | None,
        Field(description="Who signs the tokens the HTTP API takes; `{SUPABASE_URL}/auth/v1` without it."),
    ] = None
    http_jwks_url: Annotated[
        str | None,
        Field(
            description="Where the HTTP API finds the public keys of RS256 and ES256 tokens; those of the issuer without it."
        ),
    ] = None
    http_cors_origins: Annotated[
        str,
        Field(
            pattern=r"^(\*|(https?://[^\s,/*]+(,https?://[^\s,/*]+)*)?)$",
            description="Web pages that may ask the HTTP API: origins such as https://app.example.com, with commas between.",
        ),
    ] = ""
    http_rate_limit: Annotated[
        str,
        Field(pattern=_RATE, description="How often one user may ask the HTTP API; empty for as often as they like."),
    ] = "120/minute"
    http_address_rate_limit: Annotated[
        str, Field(pattern=_RATE, description="How often one address may; empty for as often as it likes.")
    ] = "600/minute"
    http_rate_storage: Annotated[
        SecretStr,
        Field(description="Where the HTTP API counts: memory:// of each process, or redis://… that several share."),
    ] = SecretStr("memory://")
    http_body_bytes: Annotated[
        int, Field(gt=0, description="The largest body of a request over HTTP, datasets apart.")
    ] = 1 << 20
    http_upload_bytes: Annotated[
        int,
        Field(
            gt=0,
            description="The largest dataset taken over HTTP. Uploads wait in the state folder, which may need twice this for each at once.",
        ),
    ] = 5 << 30
    http_uploads: Annotated[
        int, Field(gt=0, le=64, description="Uploads over HTTP at once on one machine; of one user, one less.")
    ] = 4
    http_slow_seconds: Annotated[
        float, Field(gt=0, description="How long a client may take over a request before it has sent 10 KB a second.")
    ] = 30.0
    http_trusted_proxies: Annotated[
        str, Field(description="Addresses of proxies whose X-Forwarded-For the HTTP API believes, with commas between.")
    ] = "127.0.0.1,::1"
    http_predict_endpoints: Annotated[
        str,
        Field(
            pattern=r"^([a-zA-Z0-9](-*[a-zA-Z0-9])*(,[a-zA-Z0-9](-*[a-zA-Z0-9])*)*)?$",
            description="Endpoints whose models the HTTP API's /predict may ask, with commas between; the first where none is named.",
        ),
    ] = "house-prices"
    http_metrics_token: Annotated[
        SecretStr | None,
        Field(
            description="What Prometheus shows as its bearer token at /metrics; only this machine is told without it."
        ),
    ] = None
    notify_url: Annotated[
        SecretStr | None,
        Field(
            description="Where messages of budgets and failures go: an address of Slack, Teams, mail (mailtos://) or a webhook."
        ),
    ] = None

    reports: Annotated[
        str,
        Field(
            description="Where weekly reports are kept: a folder or an s3:// prefix; `reports` in the state folder without it.",
        ),
    ] = ""

    @property
    def reports_place(self) -> str:
        """A folder, or an S3 prefix."""
        return self.reports.rstrip("/") or str(self.state_dir / "reports")

    @property
    def catalogue_url(self) -> SecretStr | None:
        """Where catalogue and ledger are; None for SQLite in the state folder, which goes with a Supabase of this machine alone.

        Raises NotConfiguredError where that is a project elsewhere, whose database the application and all workers share.
        """
        if self.database_url or not self.supabase_url or _is_of_this_machine(self.supabase_url):
            return self.database_url
        raise NotConfiguredError(
            "SUPABASE_URL names a project on another machine, but DATABASE_URL is not set: datasets, jobs and budgets would be"
            f" written down in {self.state_dir / 'catalog.db'}, where neither the application nor another worker sees them. Set"
            " DATABASE_URL to the project's PostgreSQL (its connection string in session mode, port 5432) in the environment of"
            " the worker."
        )

    def required(self, name: str) -> str:
        """The value of a setting that may be unset; raises NotConfiguredError naming its environment variable."""
        value = getattr(self, name)
        if not value:
            field = type(self).model_fields[name]
            alias = field.validation_alias
            variable = alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"
            what = field.description or name
            raise NotConfiguredError(f"{variable} is not set. {what} Set it in the environment of the worker.")
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _is_of_this_machine(url: str) -> bool:
    """Whether it leads to this machine by its loopback: the embedded Supabase does, as does one in development."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, or no address at all
        return False
