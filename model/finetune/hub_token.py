"""The Hub's token, from where the secret is kept: no parameter of a job is one. Imports no PyTorch."""

from __future__ import annotations

import json

from model.finetune.problems import BadInputError


def fetch_token(arn: str) -> str:
    """The secret's text, or the only value of the JSON object it is. Raises BadInputError, which never says the secret."""
    import boto3  # noqa: PLC0415 - most jobs fetch none
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    service, region = arn.split(":")[2:4]
    config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 5, "mode": "standard"})
    client = boto3.client(service, region_name=region, config=config)
    try:
        if service == "ssm":
            name = arn.partition(":parameter")[2]
            kept = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        else:
            kept = client.get_secret_value(SecretId=arn).get("SecretString", "")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        action = "ssm:GetParameter" if service == "ssm" else "secretsmanager:GetSecretValue"
        raise BadInputError(
            f"The Hub's token cannot be read from hub_token_secret_arn {arn}: {code}. The job's execution role needs {action} for it,"
            " and the secret must be there."
        ) from error
    except BotoCoreError as error:
        raise BadInputError(
            f"{service} cannot be reached from the job for hub_token_secret_arn: {type(error).__name__}. In a VPC it needs an endpoint."
        ) from error
    return _only_value(kept, arn)


def _only_value(kept: str, arn: str) -> str:
    text = kept.strip()
    if text.startswith("{"):
        try:
            values = [value for value in json.loads(text).values() if isinstance(value, str) and value.strip()]
        except json.JSONDecodeError:
            values = []
        text = values[0].strip() if len(values) == 1 else ""
    if not text or not text.isprintable() or " " in text:
        raise BadInputError(
            f"The secret {arn} has no token of the Hub: it is to be the token, or a JSON object with it as its only value."
        )
    return text
