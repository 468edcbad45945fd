"""What is lacking until SageMaker has the image of a template: repository, build, image version, configuration, domain. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainmaster.workspaces.images.dockerfile import GID, UID, dockerfile
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.images.names import image_name, is_attached
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.studio.plan import Found
from trainmaster.workspaces.tags import TEMPLATE_TAG, tag_list
from trainmaster.workspaces.templates.template import Template

BUILDER_ROLE = "trainmaster-image-builder"
REPOSITORIES = "trainmaster-workspaces"
FOLDER = "workspaces/images"
"""In the bucket, where the Dockerfiles are kept."""
BUILD_MINUTES, QUEUED_MINUTES = 60, 30
"""At most: CodeBuild itself ends a build then."""
IMAGE_FINGERPRINT_TAG = "trainmaster:image-fingerprint"
RESERVATION, TAG = "TRAINMASTER_RESERVATION", "IMAGE_TAG"
"""Variables of a build: what the books call it, and the fingerprint its image is tagged with."""
_HOME = "/home/sagemaker-user"
_BUILDSPEC = """\
version: 0.2
env:
  shell: bash
phases:
  pre_build:
    commands:
      - aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"
      - base=$(awk '$1 == "FROM" {print $2; exit}' Dockerfile); base=${base%%/*}
      - case "$base" in *.amazonaws.com) aws ecr get-login-password | docker login --username AWS --password-stdin "$base";; esac
  build:
    commands:
      - if aws ecr describe-images --repository-name "$IMAGE_REPOSITORY" --image-ids imageTag="$IMAGE_TAG"; then exit 0; fi
      - docker buildx create --use --driver docker-container --driver-opt image=moby/buildkit:v0.23.2
      - >-
        docker buildx build --provenance=false --build-arg SOURCE_DATE_EPOCH=0
        --output "type=image,name=$REGISTRY/$IMAGE_REPOSITORY:$IMAGE_TAG,push=true,rewrite-timestamp=true" .
"""


@dataclass(frozen=True)
class Place:
    """Where images are made: of which account and region, with which bucket and execution role, for which domain."""

    account: str
    region: str
    bucket: str
    role: str
    domain: str

    @property
    def registry(self) -> str:
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"


@dataclass(frozen=True)
class Wanted:
    """The requests AWS would be asked with. All follow from the template and the place, so the same asks for nothing new."""

    template: Template
    fingerprint: str
    place: Place
    dockerfile: str

    @classmethod
    def of(cls, template: Template, place: Place) -> Wanted:
        return cls(template, fingerprint_of(template), place, dockerfile(template))

    @property
    def name(self) -> str:
        return image_name(self.template)

    @property
    def tags(self) -> dict[str, str]:
        return {TEMPLATE_TAG: self.template.name}

    @property
    def repository(self) -> dict[str, Any]:
        return {
            "repositoryName": f"{REPOSITORIES}/{self.template.name}",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfiguration": {"encryptionType": "AES256"},
            "tags": tag_list(self.tags),
        }

    @property
    def folder(self) -> str:
        """Of the bucket: what CodeBuild takes its source from."""
        return f"{FOLDER}/{self.template.name}/{self.fingerprint}/"

    @property
    def base_image(self) -> str:
        return f"{self.place.registry}/{self.repository['repositoryName']}:{self.fingerprint}"

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.place.account}:role/{BUILDER_ROLE}"

    @property
    def project(self) -> dict[str, Any]:
        """Named after what it is, so that another way of building is another project."""
        project: dict[str, Any] = {
            "description": "Makes images of workspace templates. Made by Trainmaster.",
            "source": {"type": "S3", "location": f"{self.place.bucket}/{FOLDER}/", "buildspec": _BUILDSPEC},
            "artifacts": {"type": "NO_ARTIFACTS"},
            "environment": {
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/standard:7.0",
                "computeType": "BUILD_GENERAL1_LARGE",
                "privilegedMode": True,
            },
            "serviceRole": self.role_arn,
            "timeoutInMinutes": BUILD_MINUTES,
            "queuedTimeoutInMinutes": QUEUED_MINUTES,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        digest = hashlib.sha256(json.dumps(project, sort_keys=True).encode()).hexdigest()[:8]
        return {"name": f"{self.name}-{digest}", **project}

    @property
    def project_arn(self) -> str:
        return f"arn:aws:codebuild:{self.place.region}:{self.place.account}:project/{self.project['name']}"

    def build(self, reservation: str) -> dict[str, Any]:
        """The request to start one, paid for by a reservation; twice the same within minutes is one build."""
        variables = {
            "REGISTRY": self.place.registry,
            "IMAGE_REPOSITORY": self.repository["repositoryName"],
            TAG: self.fingerprint,
            RESERVATION: reservation,
        }
        return {
            "projectName": self.project["name"],
            "sourceLocationOverride": f"{self.place.bucket}/{self.folder}",
            "environmentVariablesOverride": [{"name": key, "value": value} for key, value in variables.items()],
            "idempotencyToken": hashlib.sha256(reservation.encode()).hexdigest(),
        }

    @property
    def image(self) -> dict[str, Any]:
        return {
            "ImageName": self.name,
            "DisplayName": self.template.name,
            "Description": self.template.description[:512],
            "RoleArn": self.place.role,
            "Tags": tag_list(self.tags),
        }

    def version(self, latest: int) -> dict[str, Any]:
        """The request for the version after the latest there is; twice the same is one version."""
        return {
            "ImageName": self.name,
            "BaseImage": self.base_image,
            "Aliases": [self.fingerprint],
            "ClientToken": f"{self.fingerprint}-{latest}",
            "ReleaseNotes": f"{self.template.name} {self.fingerprint}",
        }

    @property
    def config(self) -> dict[str, Any]:
        """The application's: as the user and in the home folder that Studio's own images have."""
        app = self.template.service_config.app
        files = {"DefaultUid": UID, "DefaultGid": GID, "MountPath": _HOME}
        return {"AppImageConfigName": self.name, f"{app}AppImageConfig": {"FileSystemConfig": files}}


@dataclass(frozen=True)
class Described:
    """What AWS has of it; None and False for what is not there. `role` is the builder's with what it may do here; `building` is the build of this fingerprint that is under way."""

    repository: bool = False
    pushed: bool = False
    role: bool = False
    project: bool = False
    source: bool = False
    building: Found = None
    image: Found = None
    version: Found = None
    config: Found = None
    domain: Found = None


def plan(wanted: Wanted, there: Described) -> list[Step]:
    """What is done, in order, until spaces can start from the image; empty when they can. A version that is made is never built again."""
    return list(_steps(wanted, there))


def _steps(wanted: Wanted, there: Described) -> Iterator[Step]:
    version = (there.version or {}).get("ImageVersionStatus", "")
    if version not in ("CREATED", "CREATING"):
        if not there.pushed:
            yield from _build_steps(wanted, there)
        if there.image is None:
            yield Step("create", "image", wanted.name, wanted.image)
        if version == "CREATE_FAILED":
            yield Step("delete", "failed image version", wanted.fingerprint)
        yield Step("create", "image version", wanted.fingerprint, {"BaseImage": wanted.base_image})
    elif version == "CREATING":
        yield Step("await", "image version", wanted.fingerprint)
    if there.config is None:
        yield Step("create", "app image config", wanted.name, wanted.config)
    elif not wanted.config.items() <= there.config.items():
        yield Step("update", "app image config", wanted.name, wanted.config)
    if there.domain is not None and not is_attached(there.domain, wanted.template):
        yield Step("attach", "image", f"{wanted.name} to domain {there.domain['DomainName']}")


def _build_steps(wanted: Wanted, there: Described) -> Iterator[Step]:
    if there.building is not None:
        yield Step("await", "build", there.building["id"])
        return
    if not there.repository:
        yield Step("create", "repository", wanted.repository["repositoryName"], wanted.repository)
    if not there.role:
        yield Step("create", "role", BUILDER_ROLE, role_request(wanted.tags))
    if not there.project:
        yield Step("create", "build project", wanted.project["name"], wanted.project)
    if not there.source:
        yield Step("write", "Dockerfile", f"s3://{wanted.place.bucket}/{wanted.folder}Dockerfile")
    yield Step("build", "container image", wanted.base_image)


def role_request(tags: Mapping[str, str]) -> dict[str, Any]:
    """The role that CodeBuild acts as: of nobody else."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    return {
        "RoleName": BUILDER_ROLE,
        "AssumeRolePolicyDocument": json.dumps(trust),
        "Description": "CodeBuild makes images of workspace templates. Made by Trainmaster.",
        "Tags": tag_list(tags),
    }


def policy_name(place: Place) -> str:
    """Of the policy that lets the builder work in a place: every account, region and bucket has one of its own."""
    return f"{place.region}-{hashlib.sha256(role_policy(place).encode()).hexdigest()[:8]}"


def role_policy(place: Place) -> str:
    """What the builder may: read its Dockerfile, write its log, pull any base and push to our repositories alone."""
    here = f"{place.region}:{place.account}"
    repositories = f"arn:aws:ecr:{here}:repository/{REPOSITORIES}/*"
    bucket = f"arn:aws:s3:::{place.bucket}"
    rules = [
        (["s3:GetObject", "s3:GetObjectVersion"], [f"{bucket}/{FOLDER}/*"]),
        (["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketAcl"], [bucket]),
        (
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            [f"arn:aws:logs:{here}:log-group:/aws/codebuild/trainmaster-*"],
        ),
        (["ecr:GetAuthorizationToken"], ["*"]),
        (["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], ["*"]),
        (
            [
                "ecr:CompleteLayerUpload", "ecr:DescribeImages", "ecr:InitiateLayerUpload", "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            [repositories],
        ),
    ]  # fmt: skip
    statements = [{"Effect": "Allow", "Action": actions, "Resource": of} for actions, of in rules]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
