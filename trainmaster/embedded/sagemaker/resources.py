"""Resources that are only kept: created, described, listed and deleted, a row of the table each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from botocore.exceptions import ClientError

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import Operation
from trainmaster.embedded.sagemaker.listing import page
from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.model_registry import container_of
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.roles import is_assumable
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid


@dataclass(frozen=True)
class Resource:
    """One row. `noun` and `plural` name the operations and members: CreateModel, ModelName, ModelArn, ListModels, Models.

    `kind` is the type in the ARN and in the records, `called` the words of AWS's messages, `complete` checks a
    request to create one and returns what Describe is to say of it.
    """

    noun: str
    plural: str
    kind: str
    called: str
    complete: Callable[[Account, Json], Json]
    taken: str = "ValidationException"
    missing: str = "ValidationException"


def operations(account: Account) -> Mapping[str, Operation]:
    """Create, Describe, List and Delete of every row."""
    table: dict[str, Operation] = {}
    for row in ROWS:
        table |= {
            f"Create{row.noun}": partial(_create, account, row),
            f"Describe{row.noun}": partial(_describe, account, row),
            f"List{row.plural}": partial(_list, account, row),
            f"Delete{row.noun}": partial(_delete, account, row),
        }
    return table


def _create(account: Account, row: Resource, request: Json) -> Json:
    name = request[f"{row.noun}Name"]
    arn = account.arn(row.kind, name)
    body = row.complete(account, request) | {f"{row.noun}Arn": arn, "CreationTime": account.now()}
    tags = body.pop("Tags", None)
    try:
        account.records.create(row.kind, name, arn, body, tags)
    except AlreadyRecordedError:
        raise AwsError(row.taken, f'Cannot create already existing {row.called} "{arn}".') from None
    return {f"{row.noun}Arn": arn}


def _describe(account: Account, row: Resource, request: Json) -> Json:
    name = request[f"{row.noun}Name"]
    body = account.records.get(row.kind, name)
    if body is None:
        raise _missing(account, row, name)
    return body


def _list(account: Account, row: Resource, request: Json) -> Json:
    return page(account.records.all(row.kind), request, name=f"{row.noun}Name", summaries=row.plural)


def _delete(account: Account, row: Resource, request: Json) -> Json:
    name = request[f"{row.noun}Name"]
    if not account.records.delete(row.kind, name):
        raise _missing(account, row, name)
    return {}


def _missing(account: Account, row: Resource, name: str) -> AwsError:
    return AwsError(row.missing, f'Could not find {row.called} "{account.arn(row.kind, name)}".')


def _model(account: Account, request: Json) -> Json:
    containers = [request["PrimaryContainer"]] if "PrimaryContainer" in request else request.get("Containers", [])
    if not containers or ("PrimaryContainer" in request and "Containers" in request):
        raise invalid("Specify either PrimaryContainer or Containers.")
    for container in containers:
        if package := container.get("ModelPackageName"):
            container.update(container_of(account, package) | container)
        if "Image" not in container:
            raise invalid("Each container needs an Image or a ModelPackageName.")
        if container.get("Mode", "SingleModel") != "SingleModel":
            raise invalid("The embedded AWS serves containers of Mode SingleModel only.")
        if url := container.get("ModelDataUrl"):
            _check_model_data(account, url, request.get("ExecutionRoleArn"), prefix=False)
        if source := container.get("ModelDataSource", {}).get("S3DataSource"):
            prefix = _is_prefix(source)
            _check_model_data(account, source["S3Uri"], request.get("ExecutionRoleArn"), prefix=prefix)
    return {"EnableNetworkIsolation": False} | request


def _is_prefix(source: Json) -> bool:
    """Whether the source is a folder of files rather than one archive. Raises AwsError for what is neither."""
    kind = (source["S3DataType"], source["CompressionType"])
    if kind not in (("S3Prefix", "None"), ("S3Object", "Gzip")):
        raise invalid(
            f"The embedded AWS does not do S3DataType {kind[0]} with CompressionType {kind[1]}: "
            "give S3Prefix with None, or S3Object with Gzip."
        )
    if kind[0] == "S3Prefix" and not source["S3Uri"].endswith("/"):
        raise invalid(f"S3Uri {source['S3Uri']} must end with a forward slash when S3DataType is S3Prefix.")
    return kind[0] == "S3Prefix"


def _check_model_data(account: Account, url: str, role_arn: str | None, *, prefix: bool) -> None:
    """Also where AWS tells of a bad role: it is the role it looks for the data with."""
    if role_arn and not is_assumable(account, role_arn):
        raise invalid(
            f'Could not access model data at {url}. Please ensure that the role "{role_arn}" exists and that its trust '
            'relationship policy allows the action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com". '
            'Also ensure that the role has "s3:GetObject" permissions and that the object is located in '
            f"{account.region}."
        )
    try:
        place = Location.parse(url)
    except ValueError as error:
        raise invalid(f"{error}.") from None
    try:
        found = account.s3.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=1).get("Contents", [])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
        found = []
    if not any(prefix or one["Key"] == place.key for one in found):
        raise invalid(f"Could not find model data at {url}.")


def _endpoint_config(account: Account, request: Json) -> Json:
    variants, shadows = request["ProductionVariants"], request.get("ShadowProductionVariants", [])
    counted = Counter(variant["VariantName"] for variant in variants + shadows)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise invalid(f"Variant names must be unique: {', '.join(twice)} occurs more than once.")
    if shadows and (len(variants), len(shadows)) != (1, 1):
        raise invalid("With ShadowProductionVariants there must be one production variant and one shadow variant.")
    if shadows and any("ServerlessConfig" in variant for variant in variants + shadows):
        raise invalid("ShadowProductionVariants are not supported for serverless variants.")
    for variant in variants + shadows:
        name = variant["VariantName"]
        if "ServerlessConfig" in variant and ("InstanceType" in variant or "InitialInstanceCount" in variant):
            raise invalid(f"Variant {name}: ServerlessConfig excludes InstanceType and InitialInstanceCount.")
        if "ServerlessConfig" not in variant and not ("InstanceType" in variant and "InitialInstanceCount" in variant):
            raise invalid(f"Variant {name} needs an InstanceType and an InitialInstanceCount, or a ServerlessConfig.")
        if "ModelName" not in variant:
            raise invalid(f"Variant {name} needs a ModelName; the embedded AWS has no inference components.")
        if account.records.get("model", variant["ModelName"]) is None:
            raise invalid(f'Could not find model "{account.arn("model", variant["ModelName"])}".')
    weighted = {
        kind: [{"InitialVariantWeight": 1.0} | variant for variant in request[kind]]
        for kind in ("ProductionVariants", "ShadowProductionVariants")
        if kind in request
    }
    return {"EnableNetworkIsolation": False} | request | weighted


ROWS = (
    Resource("Model", "Models", "model", "model", _model),
    Resource("EndpointConfig", "EndpointConfigs", "endpoint-config", "endpoint configuration", _endpoint_config),
)
