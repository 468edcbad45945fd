"""Where Trainmaster runs: one class, read from the environment at entry and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from trainmaster.errors import NotConfiguredError


class Settings(BaseSettings):
    """The settings of one process. Environment variables: `TRAINMASTER_*` and AWS's own `AWS_REGION`."""

    model_config = SettingsConfigDict(env_prefix="TRAINMASTER_", extra="ignore", frozen=True)

    region: Annotated[
        str, Field(validation_alias=AliasChoices("TRAINMASTER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"))
    ] = "us-east-1"
    bucket: Annotated[str | None, Field(description="S3 bucket for data, code and models.")] = None
    execution_role_arn: Annotated[
        str | None, Field(description="IAM role SageMaker assumes to read the data and write the model.")
    ] = None
    aws_credentials_block: Annotated[
        str | None, Field(description="Name of a prefect-aws AwsCredentials block; AWS's default chain without it.")
    ] = None
    poll_seconds: Annotated[
        float, Field(gt=0, description="Seconds between two Describes of one job. AWS's own tools take 30.")
    ] = 30.0
    outage_seconds: Annotated[
        float, Field(gt=0, description="How long AWS may be out of reach before a wait gives up.")
    ] = 900.0
    deploy_timeout_seconds: Annotated[
        float, Field(gt=0, description="How long an endpoint may take to come into service.")
    ] = 3600.0
    state_dir: Annotated[Path, Field(description="Where the embedded services keep their state.")] = Path(
        ".trainmaster"
    )

    def required(self, name: str) -> str:
        """The value of a setting that may be unset; raises NotConfiguredError naming its environment variable."""
        value = getattr(self, name)
        if not value:
            variable = f"TRAINMASTER_{name.upper()}"
            what = type(self).model_fields[name].description or name
            raise NotConfiguredError(f"{variable} is not set. {what} Set it in the environment of the worker.")
        return str(value)
