"""Makes the image of a template for Studio: in CodeBuild, ECR and SageMaker, step by step, each safe to repeat and to race."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.clients import renew
from trainmaster.aws.failures import code_of
from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.budgets import Payer
from trainmaster.budget.prices import BUILDER
from trainmaster.errors import ImageFailedError, WaitTimedOutError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.current import attach, described_version
from trainmaster.workspaces.images.paying import Cost, reserved, settled
from trainmaster.workspaces.images.plan import (
    BUILD_MINUTES,
    BUILDER_ROLE,
    QUEUED_MINUTES,
    RESERVATION,
    TAG,
    Described,
    Place,
    Wanted,
    plan,
    policy_name,
    role_policy,
    role_request,
)
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.studio.domains import domain_named
from trainmaster.workspaces.studio.plan import Found
from trainmaster.workspaces.templates.template import Template

_GONE = {
    "RepositoryNotFoundException", "ImageNotFoundException", "NoSuchEntity", "ResourceNotFound", "ResourceNotFoundException",
    "404", "NoSuchKey",
}  # fmt: skip
_TAKEN = {
    "RepositoryAlreadyExistsException", "EntityAlreadyExists", "ResourceAlreadyExistsException", "ResourceInUse",
    "ConflictException",
}  # fmt: skip
_POLL, _MOST_MINUTES = 15.0, BUILD_MINUTES + QUEUED_MINUTES + 5
_ROLE_SECONDS = 120.0
"""How long it may take until CodeBuild may act as a role that was just made."""
_NEWEST = 100  # builds of a project that are looked through

Note = Callable[[str], None]


def wanted_image(desk: Desk, template: Template) -> Wanted:
    """Of a template of Studio that has an image. Raises NotConfiguredError."""
    settings = desk.settings
    role = settings.required("execution_role_arn")
    domain = template.service_config.domain or settings.studio_domain
    return Wanted.of(template, Place(desk.account, settings.region, settings.required("bucket"), role, domain))


def build_cost(desk: Desk) -> Cost:
    """Of one build. Raises UnknownPriceError."""
    return Cost(desk.prices.instance(BUILDER, "build", desk.settings.region).usd, BUILD_MINUTES)


def described_image(desk: Desk, wanted: Wanted) -> Described:
    """What AWS has of it now."""
    sagemaker, ecr, name = desk.client("sagemaker"), desk.client("ecr"), wanted.name
    repository = {"repositoryName": wanted.repository["repositoryName"]}
    pushed = _found(ecr.describe_images, **repository, imageIds=[{"imageTag": wanted.fingerprint}])
    source = {"Bucket": wanted.place.bucket, "Key": f"{wanted.folder}Dockerfile"}
    under_way = (one for one in _builds(desk, wanted) if not is_over(one))
    return Described(
        repository=_found(ecr.describe_repositories, repositoryNames=[repository["repositoryName"]]) is not None,
        pushed=bool(pushed and pushed["imageDetails"]),
        role=_found(desk.client("iam").get_role_policy, **_policy(wanted)) is not None,
        project=bool(desk.client("codebuild").batch_get_projects(names=[wanted.project["name"]])["projects"]),
        source=_found(desk.client("s3").head_object, **source) is not None,
        building=next(under_way, None),
        image=_found(sagemaker.describe_image, ImageName=name),
        version=described_version(sagemaker, name, wanted.fingerprint),
        config=_found(sagemaker.describe_app_image_config, AppImageConfigName=name),
        domain=domain_named(desk, wanted.place.domain),
    )


def make_image(desk: Desk, wanted: Wanted, payer: Payer, note: Note) -> list[Step]:
    """Carry out what `plan` says, and wait for it; the steps that were taken. `note` is told each before it begins.

    Raises OverBudgetError before the build, ImageFailedError where AWS could not make it, WaitTimedOutError.
    """
    settle_builds(desk, wanted)
    steps = plan(wanted, described_image(desk, wanted))
    making = _Making(desk, wanted, payer)
    for step in steps:
        note(step.sentence())
        making.take(step)
    return steps


def settle_builds(desk: Desk, wanted: Wanted) -> None:
    """Bill the builds of the image that are over, whoever started them."""
    for build in _builds(desk, wanted):
        if is_over(build) and (key := reservation_of(build)):
            settled(desk, key, partial(build_bill, desk, build))


def build_bill(desk: Desk, build: Mapping[str, Any]) -> Decimal:
    """US dollars, of a build that is over. Raises UnknownPriceError."""
    return build_cost(desk).bill(build["startTime"], build.get("endTime") or build["startTime"])


def reservation_of(build: Mapping[str, Any]) -> str:
    """What the books call it; empty for a build that is none of ours."""
    return _variables(build).get(RESERVATION, "")


def builds_of(desk: Desk, project: str) -> Sequence[Mapping[str, Any]]:
    """The newest hundred of a project, as CodeBuild describes them; none where there is no such project."""
    codebuild = desk.client("codebuild")
    listed = _found(codebuild.list_builds_for_project, projectName=project, sortOrder="DESCENDING")
    ids = listed["ids"][:_NEWEST] if listed else []
    builds: Sequence[Mapping[str, Any]] = codebuild.batch_get_builds(ids=ids)["builds"] if ids else []
    return builds


def is_over(build: Mapping[str, Any]) -> bool:
    return bool(build["buildStatus"] != "IN_PROGRESS")


class _Making:
    def __init__(self, desk: Desk, wanted: Wanted, payer: Payer) -> None:
        self._desk, self._wanted, self._payer = desk, wanted, payer
        self._sagemaker = desk.client("sagemaker")

    def take(self, step: Step) -> None:
        actions: Mapping[tuple[str, str], Callable[[], Any]] = {
            ("create", "repository"): self._make_repository,
            ("create", "role"): self._make_role,
            ("create", "build project"): self._make_project,
            ("write", "Dockerfile"): self._write,
            ("build", "container image"): self._build,
            ("await", "build"): lambda: self._await_build(step.name),
            ("create", "image"): self._make_image,
            ("delete", "failed image version"): self._delete_version,
            ("create", "image version"): self._make_version,
            ("await", "image version"): self._make_version,
            ("create", "app image config"): self._make_config,
            ("update", "app image config"): self._update_config,
            ("attach", "image"): self._attach,
        }
        actions[step.verb, step.noun]()

    def _make_repository(self) -> None:
        with _may_be_taken():
            self._desk.client("ecr").create_repository(**self._wanted.repository)

    def _write(self) -> None:
        place, key = self._wanted.place, f"{self._wanted.folder}Dockerfile"
        self._desk.client("s3").put_object(Bucket=place.bucket, Key=key, Body=self._wanted.dockerfile.encode())

    def _make_image(self) -> None:
        with _may_be_taken():
            self._sagemaker.create_image(**self._wanted.image)
        made = self._until("image", "ImageStatus", self._find_image)
        if made["ImageStatus"] == "CREATE_FAILED":
            why = made.get("FailureReason") or "AWS gave no reason"
            raise ImageFailedError(
                f"SageMaker could not make image {self._wanted.name}: {why.rstrip('.')}. Delete it, and try again."
            )

    def _make_config(self) -> None:
        with _may_be_taken():
            self._sagemaker.create_app_image_config(**self._wanted.config)

    def _update_config(self) -> None:
        self._sagemaker.update_app_image_config(**self._wanted.config)

    def _make_role(self) -> None:
        iam = self._desk.client("iam")
        with _may_be_taken():
            iam.create_role(**role_request(self._wanted.tags))
        iam.put_role_policy(**_policy(self._wanted), PolicyDocument=role_policy(self._wanted.place))

    def _make_project(self) -> None:
        """CodeBuild takes a role for one it may not act as until IAM has told everybody of it."""
        codebuild, began = self._desk.client("codebuild"), self._desk.ledger.now()
        for refused in self._polled(lambda: self._project_refused(codebuild)):
            if refused is None:
                return
            if (self._desk.ledger.now() - began).total_seconds() > _ROLE_SECONDS:
                raise ImageFailedError(f"CodeBuild takes no project for the image of {self._wanted.template.name}: {refused}.") from refused  # fmt: skip

    def _project_refused(self, codebuild: Any) -> ClientError | None:
        try:
            with _may_be_taken():
                codebuild.create_project(**self._wanted.project)
        except ClientError as error:
            if code_of(error) != "InvalidInputException":
                raise
            return error
        return None

    def _build(self) -> None:
        wanted = self._wanted
        key = f"image-{wanted.template.name}-{wanted.fingerprint}"
        reservation = reserved(self._desk, key, wanted.project_arn, build_cost(self._desk), self._payer)
        build = self._desk.client("codebuild").start_build(**wanted.build(reservation.key))["build"]
        self._await_build(build["id"])

    def _await_build(self, build_id: str) -> None:
        codebuild = self._desk.client("codebuild")
        for answer in self._polled(lambda: codebuild.batch_get_builds(ids=[build_id])["builds"]):
            if answer and is_over(answer[0]):
                settle_builds(self._desk, self._wanted)
                if answer[0]["buildStatus"] != "SUCCEEDED":
                    raise ImageFailedError(_why(self._wanted, answer[0]))
                return
        raise WaitTimedOutError(f"Build {build_id} was still going on after {_MOST_MINUTES} minutes.")

    def _make_version(self) -> None:
        latest = _found(self._sagemaker.describe_image_version, ImageName=self._wanted.name)
        if self._find_version() is None:
            with _may_be_taken():
                self._sagemaker.create_image_version(**self._wanted.version(latest["Version"] if latest else 0))
        made = self._until("image version", "ImageVersionStatus", self._find_version)
        if made["ImageVersionStatus"] != "CREATED":
            why = made.get("FailureReason") or "AWS gave no reason"
            raise ImageFailedError(
                f"SageMaker could not take {self._wanted.base_image} as an image: {why.rstrip('.')}. Its role must be allowed to"
                f" pull it. The same again tries once more."
            )

    def _delete_version(self) -> None:
        found = self._find_version()
        if found is not None:
            self._sagemaker.delete_image_version(ImageName=self._wanted.name, Version=found["Version"])
        for found in self._polled(self._find_version):
            if found is None:
                return
        raise WaitTimedOutError(f"The failed version of image {self._wanted.name} is there still.")

    def _attach(self) -> None:
        domain = domain_named(self._desk, self._wanted.place.domain)
        if domain is not None:
            attach(self._desk, domain["DomainId"], self._wanted.template)

    def _find_image(self) -> Found:
        return _found(self._sagemaker.describe_image, ImageName=self._wanted.name)

    def _find_version(self) -> Found:
        return described_version(self._sagemaker, self._wanted.name, self._wanted.fingerprint)

    def _until(self, noun: str, member: str, find: Callable[[], Found]) -> Mapping[str, Any]:
        """Once it changes no more, whatever became of it."""
        for there in self._polled(find):
            if there is not None and there[member] not in ("CREATING", "UPDATING", "DELETING"):
                settled_as: Mapping[str, Any] = there
                return settled_as
        raise WaitTimedOutError(f"The {noun} {self._wanted.name} was still changing after {_MOST_MINUTES} minutes.")

    def _polled(self, ask: Callable[[], Any]) -> Iterator[Any]:
        settings = self._desk.settings
        patience = Patience(min(settings.poll_seconds, _POLL), settings.outage_seconds, _MOST_MINUTES * 60)
        return answers(ask, patience, renew=lambda: renew(self._desk.client))


def _policy(wanted: Wanted) -> dict[str, str]:
    return {"RoleName": BUILDER_ROLE, "PolicyName": policy_name(wanted.place)}


@contextmanager
def _may_be_taken() -> Iterator[None]:
    """Another made it a moment ago, from the same template: it is the same."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in _TAKEN:
            raise


def _found(describe: Callable[..., Mapping[str, Any]], **names: Any) -> Found:
    try:
        described: Mapping[str, Any] = describe(**names)
    except ClientError as error:
        if code_of(error) not in _GONE:
            raise
        return None
    return described


def _builds(desk: Desk, wanted: Wanted) -> Sequence[Mapping[str, Any]]:
    """Those of this very image, newest first."""
    ours = [one for one in builds_of(desk, wanted.project["name"]) if _variables(one).get(TAG) == wanted.fingerprint]
    return sorted(ours, key=lambda one: one["startTime"], reverse=True)


def _variables(build: Mapping[str, Any]) -> Mapping[str, str]:
    return {one["name"]: one["value"] for one in build.get("environment", {}).get("environmentVariables", [])}


def _why(wanted: Wanted, build: Mapping[str, Any]) -> str:
    contexts = [one["message"] for phase in build.get("phases", []) for one in phase.get("contexts", []) if one.get("message")]  # fmt: skip
    said = contexts[-1].rstrip(".") if contexts else "CodeBuild gave no reason"
    log = build.get("logs", {}).get("deepLink", "")
    return (
        f"The image of {wanted.template.name} could not be built ({build['buildStatus']}): {said}."
        f"{f' Its log: {log}' if log else ''} Put the template right, or run the same again."
    )
