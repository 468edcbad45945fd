"""Credentials, clock, quotas and the bucket, as AWS tells of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.clients import NO_CREDENTIALS
from trainmaster.aws.failures import code_of, is_denied, is_missing, status_of
from trainmaster.aws.quotas import of_type, quotas_named
from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.errors import CredentialsMissingError
from trainmaster.settings import Settings
from trainmaster.training.request import JobChoices

Client = Callable[[str], Any]
SKEW_THAT_MATTERS, SKEW_THAT_IS_REFUSED = timedelta(seconds=30), timedelta(minutes=5)
"""AWS refuses a call that was signed more than five minutes ago, or will be."""
PROBE = "trainmaster-doctor/{}"
_UNTOLD = {"NotImplemented", "NotImplementedException", "MethodNotAllowed"}
_UNSET_BY_REGION = {None, "", "us-east-1"}


def client_of(settings: Settings) -> Client:
    """Clients of AWS's default chain that give up soon. Raises CredentialsMissingError where it holds none."""
    config = Config(
        connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2}, user_agent_extra="trainmaster"
    )  # fmt: skip

    def make(service: str) -> Any:
        session = boto3.Session(region_name=settings.region)  # one for each check: they are not to be shared by threads
        try:
            found = session.get_credentials()
        except BotoCoreError as error:
            raise CredentialsMissingError(f"{NO_CREDENTIALS} ({error})") from error
        if found is None:
            raise CredentialsMissingError(NO_CREDENTIALS)
        return session.client(service, config=config)  # type: ignore[call-overload]

    return make


def credentials(client: Client, settings: Settings) -> Iterator[Finding]:
    """Who AWS says we are, and how far its clock is from ours."""
    if settings.aws_credentials_block:
        yield warning(
            "credentials",
            f"flows use the block {settings.aws_credentials_block}, which is not looked at here: these are the shell's",
            "Run this where AWS's default chain gives the same role.",
        )
    try:
        answer = client("sts").get_caller_identity()
    except ClientError as error:
        yield failure(
            "credentials",
            f"AWS refuses them ({code_of(error)})",
            "Renew them (`aws sso login`, a new key), or correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
        answer = error.response
    else:
        yield ok("credentials", f"{answer['Arn']} in account {answer['Account']}, region {settings.region}")
    yield from _clock(answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date"))


def _clock(said: str | None) -> Iterator[Finding]:
    if said is None:
        return
    skew = abs(datetime.now(UTC) - parsedate_to_datetime(said))
    told = f"{skew.total_seconds():.0f} s from AWS's"
    if skew < SKEW_THAT_MATTERS:
        yield ok("clock", told)
    elif skew < SKEW_THAT_IS_REFUSED:
        yield warning(
            "clock", told, "Let the machine set its clock by NTP: more than five minutes, and AWS refuses all calls."
        )
    else:
        yield failure(
            "clock", f"{told}, and AWS refuses calls that are five minutes off", "Let the machine set its clock by NTP."
        )


def buckets(client: Client, settings: Settings) -> Iterator[Finding]:
    """The bucket of data, code and models, and that of datasets where it is another one for all users."""
    name = settings.required("bucket")
    yield from _bucket(client("s3"), name, settings.region)
    datasets = settings.dataset_bucket
    if datasets and datasets != name and "{user_id}" not in datasets:
        yield from _bucket(client("s3"), datasets, settings.region)


def _bucket(s3: Any, name: str, region: str) -> Iterator[Finding]:
    subject = f"bucket {name}"
    try:
        where = s3.head_bucket(Bucket=name).get("BucketRegion") or s3.get_bucket_location(Bucket=name).get(
            "LocationConstraint"
        )
    except ClientError as error:
        yield _unreachable(subject, name, region, error)
        return
    if (where or "us-east-1") != region and not {where, region} <= _UNSET_BY_REGION:
        yield failure(
            subject,
            f"is in {where}, and jobs run in {region}",
            f"Set AWS_REGION={where}, or TRAINMASTER_BUCKET to a bucket in {region}: SageMaker reads from its own region only.",
        )
    yield from _writable(s3, name, subject)
    yield _encryption(s3, name, subject)
    yield _public_access(s3, name, subject)


def _unreachable(subject: str, name: str, region: str, error: ClientError) -> Finding:
    if status_of(error) == 404 or is_missing(error):
        make = f"aws s3 mb s3://{name} --region {region}"
        return failure(subject, "does not exist", f"Create it (`{make}`), or set TRAINMASTER_BUCKET to one that does.")
    if status_of(error) == 301:
        return failure(subject, f"is not in {region}", "Set AWS_REGION to the bucket's region.")
    return failure(
        subject,
        f"may not be looked at ({code_of(error) or status_of(error)})",
        f"Allow s3:ListBucket and s3:GetBucketLocation on arn:aws:s3:::{name}; if it is somebody else's, choose another name.",
    )


def _writable(s3: Any, name: str, subject: str) -> Iterator[Finding]:
    probe = {"Bucket": name, "Key": PROBE.format(uuid.uuid4())}
    try:
        s3.put_object(**probe, Body=b"")
        s3.delete_object(**probe)
    except ClientError as error:
        needed = f"Allow s3:PutObject, s3:GetObject and s3:DeleteObject on arn:aws:s3:::{name}/*"
        yield failure(subject, f"cannot be written to ({code_of(error)})", f"{needed}, and its KMS key if it has one.")
    else:
        yield ok(subject, "can be written to and deleted from")


def _encryption(s3: Any, name: str, subject: str) -> Finding:
    try:
        rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
        kind = rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]
    except ClientError as error:
        if code_of(error) == "ServerSideEncryptionConfigurationNotFoundError":
            return ok(subject, "no rule of encryption of its own: AWS encrypts with AES256")
        return _untold(subject, "encryption", "s3:GetEncryptionConfiguration", error)
    return ok(subject, f"encrypts with {kind}")


def _public_access(s3: Any, name: str, subject: str) -> Finding:
    fix = f"`aws s3api put-public-access-block --bucket {name} --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true`"
    try:
        block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if code_of(error) == "NoSuchPublicAccessBlockConfiguration":
            return warning(subject, "public access is not blocked", fix)
        return _untold(subject, "public access", "s3:GetBucketPublicAccessBlock", error)
    if all(block.values()):
        return ok(subject, "public access is blocked")
    return warning(
        subject, f"public access is not blocked by {', '.join(key for key, on in block.items() if not on)}", fix
    )


def _untold(subject: str, what: str, permission: str, error: ClientError) -> Finding:
    if code_of(error) in _UNTOLD:  # an S3 that is not AWS's
        return ok(subject, f"{what}: this S3 knows no such thing")
    if is_denied(error):
        return warning(subject, f"{what} may not be looked at", f"Allow {permission}.")
    raise error


def quotas(client: Client, settings: Settings) -> Iterator[Finding]:
    """Whether AWS lets one of the default instances train at all: of many types the quota of a new account is 0."""
    default = str(JobChoices.model_fields["instance_type"].default)
    names = [of_type(default, spot=spot) for spot in (False, True)]
    try:
        found = quotas_named(client("service-quotas"), names)
    except ClientError as error:
        if not is_denied(error):
            raise
        yield warning(
            "quotas", "may not be looked at", "Allow servicequotas:ListServiceQuotas and ListAWSDefaultServiceQuotas."
        )
        return
    for name in names:
        quota = found.get(name)
        if quota is None:
            yield warning(
                "quotas", f"AWS tells of none for {name}", "Look for it in the Service Quotas console, SageMaker."
            )
        elif quota.value < 1:
            ask = quota.increase(1, settings.region)
            yield warning("quotas", f"{name}: 0", f"`{ask}`, or choose another instance type; AWS takes hours to days.")
        else:
            yield ok("quotas", f"{name}: {quota.value}")
