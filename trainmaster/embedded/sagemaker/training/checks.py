"""What AWS checks of a CreateTrainingJob beyond its service model, and what it could do but this one cannot."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import regex
from botocore.exceptions import ClientError

from trainmaster.embedded.sagemaker import experiments
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.roles import check_assumable
from trainmaster.embedded.sagemaker.training import channels, placement
from trainmaster.embedded.sagemaker.training.metrics import MetricDefinitions
from trainmaster.embedded.sagemaker.wire import Json, invalid

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TENSORBOARD = "/opt/ml/output/tensorboard"
DEFAULT_RUNTIME_SECONDS = 24 * 3600
MAX_RUNTIME_SECONDS = 28 * 24 * 3600
LONGEST_WARM_SECONDS = 3600
"""AWS's own limit of a training job's warm pool; that of its model is of HyperPod."""
_RESERVED = ("input", "model", "output", "code", "errors", "sagemaker")


def check(account: Account, request: Json, *, isolated: bool) -> None:
    """Raises AwsError, ValidationException all of them, for the first rule the request violates.

    `isolated` says whether jobs run in namespaces.
    """
    _check_algorithm(request["AlgorithmSpecification"])
    _check_resources(request)
    _check_network(request, isolated=isolated)
    _check_stopping(request)
    check_assumable(account, request["RoleArn"])
    _check_channels(account, request)
    _check_bucket(account.s3, request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    if checkpoint := request.get("CheckpointConfig"):
        _check_checkpoints(account, checkpoint)
    if board := request.get("TensorBoardOutputConfig"):
        _check_bucket(account.s3, board["S3OutputPath"], "TensorBoardOutputConfig.S3OutputPath")
        _below_ml(board.get("LocalPath", TENSORBOARD), "TensorBoardOutputConfig.LocalPath")
    _check_profiler(account, request.get("ProfilerConfig", {}))
    placement.check(account, request)
    if tracked := request.get("ExperimentConfig"):
        experiments.check(account, tracked)


def _check_algorithm(algorithm: Json) -> None:
    if "AlgorithmName" in algorithm and "TrainingImage" in algorithm:
        raise invalid(
            "Exactly one of AlgorithmName and TrainingImage must be given in AlgorithmSpecification, not both."
        )
    if "AlgorithmName" in algorithm:
        raise invalid(f"Algorithm {algorithm['AlgorithmName']!r} does not exist.")
    if "TrainingImage" not in algorithm:
        raise invalid("Exactly one of AlgorithmName and TrainingImage must be given in AlgorithmSpecification.")
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            MetricDefinitions([definition])
        except regex.error as error:
            raise invalid(
                f"Metric {definition['Name']!r}: {definition['Regex']!r} is no regular expression: {error}"
            ) from None


def _check_resources(request: Json) -> None:
    resources = request.get("ResourceConfig", {})
    for unknown in ("InstanceGroups", "InstancePreferences", "TrainingPlanArn"):
        if resources.get(unknown):
            raise invalid(
                f"The embedded AWS does not do ResourceConfig.{unknown}: give InstanceType and InstanceCount."
            )
    check_warm_pool(resources.get("KeepAlivePeriodInSeconds", 0), spot=bool(request.get("EnableManagedSpotTraining")))
    if request.get("RetryStrategy"):
        raise invalid("The embedded AWS does not try failed jobs again: leave RetryStrategy out.")
    if request.get("ServerlessJobConfig"):
        raise invalid("The embedded AWS does not do serverless training jobs.")
    if "InstanceType" not in resources or resources.get("InstanceCount", 0) < 1:
        raise invalid("ResourceConfig must have an InstanceType and an InstanceCount of at least 1.")


def check_warm_pool(seconds: int, *, spot: bool) -> None:
    """Raises ValidationException for a KeepAlivePeriodInSeconds that AWS does not take."""
    if seconds and spot:
        raise invalid("KeepAlivePeriodInSeconds cannot be used together with EnableManagedSpotTraining.")
    if seconds > LONGEST_WARM_SECONDS:
        raise invalid(f"Invalid KeepAlivePeriodInSeconds {seconds}. It must be at most {LONGEST_WARM_SECONDS}.")


def _check_network(request: Json, *, isolated: bool) -> None:
    if not request.get("EnableNetworkIsolation"):
        return
    if not isolated:
        raise invalid("The embedded AWS can isolate a job from the network only where it has namespaces.")
    if request["ResourceConfig"]["InstanceCount"] > 1:
        raise invalid("The embedded AWS isolates jobs of one instance only: several could not reach each other.")


def _check_stopping(request: Json) -> None:
    condition = request.get("StoppingCondition", {})
    runtime = condition.get("MaxRuntimeInSeconds", DEFAULT_RUNTIME_SECONDS)
    wait = condition.get("MaxWaitTimeInSeconds")
    if runtime > MAX_RUNTIME_SECONDS:
        raise invalid(f"Invalid MaxRuntimeInSeconds {runtime}. It must be at most {MAX_RUNTIME_SECONDS} (28 days).")
    if not request.get("EnableManagedSpotTraining"):
        if wait is not None:
            raise invalid(
                "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
            )
    elif wait is None or wait < runtime:
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )


def _check_channels(account: Account, request: Json) -> None:
    given = request.get("InputDataConfig", [])
    names = [channel["ChannelName"] for channel in given]
    if set(names) & {".", ".."}:  # its service model lets them pass, yet as folders they are others'
        raise invalid("ChannelName must name a folder below /opt/ml/input/data, not '.' or '..'.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(f"Channel names must be unique: {', '.join(twice)} given more than once in InputDataConfig.")
    for channel in given:
        _check_channel(account, channel, request)


def _check_channel(account: Account, channel: Json, request: Json) -> None:
    name = channel["ChannelName"]
    data = channel["DataSource"].get("S3DataSource")
    if data is None:
        raise invalid(f"Channel {name!r}: the embedded AWS reads S3DataSource only.")
    if data["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise invalid(f"Channel {name!r}: the embedded AWS does S3Prefix and ManifestFile, not {data['S3DataType']}.")
    if data.get("InstanceGroupNames"):
        raise invalid(f"Channel {name!r}: there are no instance groups for InstanceGroupNames.")
    mode = channel.get("InputMode", request["AlgorithmSpecification"]["TrainingInputMode"])
    if mode == "Pipe":
        raise invalid(f"Channel {name!r}: the embedded AWS does the input modes File and FastFile, not Pipe.")
    uri, role = data["S3Uri"], request["RoleArn"]
    location = _location(uri, f"channel {name!r}")
    try:
        found = account.s3.list_objects_v2(Bucket=location.bucket, Prefix=location.key, MaxKeys=1).get("Contents", [])
        if found and data["S3DataType"] == "ManifestFile":
            channels.read_manifest(account.s3, location)
    except channels.ManifestError as error:
        raise invalid(f"Channel {name!r}: {uri}: {error}") from None
    except ClientError:
        found = []
    if not found:
        raise invalid(
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in the '
            f"selected region ({account.region}), that objects exist under that S3 prefix, and that the role "
            f'"{role}" has "s3:ListBucket" permissions on bucket "{location.bucket}".'
        )


def _check_checkpoints(account: Account, config: Json) -> None:
    _check_bucket(account.s3, config["S3Uri"], "CheckpointConfig.S3Uri")
    path = config.get("LocalPath", "/opt/ml/checkpoints")
    if _below_ml(path, "CheckpointConfig.LocalPath")[0] in _RESERVED:
        raise invalid(f"CheckpointConfig.LocalPath {path} is reserved by SageMaker.")


def _below_ml(path: str, member: str) -> tuple[str, ...]:
    """The parts of a path below /opt/ml."""
    place = PurePosixPath(path)
    below = place.parts[3:] if place.is_relative_to("/opt/ml") else ()
    if not below or ".." in below:
        raise invalid(f"{member} {path}: the embedded AWS keeps what is below /opt/ml only.")
    return below


def _check_profiler(account: Account, config: Json) -> None:
    if config.get("DisableProfiler"):
        if set(config) != {"DisableProfiler"}:
            raise invalid("ProfilerConfig must hold nothing else when DisableProfiler is set.")
        return
    if config:
        if "S3OutputPath" not in config:
            raise invalid("ProfilerConfig must have an S3OutputPath unless DisableProfiler is set.")
        _check_bucket(account.s3, config["S3OutputPath"], "ProfilerConfig.S3OutputPath")
        every = config.get("ProfilingIntervalInMilliseconds", 500)
        if every not in (100, 200, 500, 1000, 5000, 60000):
            raise invalid(
                f"Invalid ProfilingIntervalInMilliseconds {every}: it must be one of 100, 200, 500, 1000, 5000 and 60000."
            )


def _check_bucket(s3: S3Client, uri: str, member: str) -> None:
    location = _location(uri, member)
    try:
        s3.head_bucket(Bucket=location.bucket)
    except ClientError as error:
        raise invalid(f'{member}: S3 bucket "{location.bucket}" of "{uri}" cannot be used: {error}') from None


def _location(uri: str, what: str) -> Location:
    try:
        return Location.parse(uri)
    except ValueError as error:
        raise invalid(f"{what}: {error}") from None
