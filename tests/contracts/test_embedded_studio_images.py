"""Images of Studio, their versions and aliases, and the configurations they are attached by, behave as AWS's do."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from studio_parts import Studio

ACCOUNT = "123456789012"
ELSEWHERE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.7"


@pytest.fixture(scope="module")
def studio(embedded: Any) -> Studio:
    return Studio(embedded)


@pytest.fixture
def image(studio: Studio) -> str:
    """The name of one that is there."""
    name = f"image-{uuid4().hex[:8]}"
    studio.sagemaker.create_image(ImageName=name, RoleArn=studio.role, Tags=[{"Key": "a", "Value": "b"}])
    Studio.until(lambda: studio.sagemaker.describe_image(ImageName=name)["ImageStatus"] == "CREATED")
    return name


def version_of(studio: Studio, image: str, base: str = ELSEWHERE, **more: Any) -> dict[str, Any]:
    """A new version's description, once it has become what it will be."""
    token = uuid4().hex
    arn = studio.sagemaker.create_image_version(ImageName=image, BaseImage=base, ClientToken=token, **more)
    number = int(arn["ImageVersionArn"].rpartition("/")[2])
    asked = {"ImageName": image, "Version": number}
    Studio.until(lambda: studio.sagemaker.describe_image_version(**asked)["ImageVersionStatus"] != "CREATING")
    described: dict[str, Any] = studio.sagemaker.describe_image_version(**asked)
    return described


def refusal(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    return str(refused.value.response["Error"]["Code"])


def test_versions_count_up_for_ever_and_are_found_by_number_alias_and_as_the_newest(studio: Studio, image: str) -> None:
    aws = studio.sagemaker
    first, second = version_of(studio, image, Aliases=["v1"]), version_of(studio, image, Aliases=["v2", "latest"])
    assert (first["Version"], second["Version"], second["ImageVersionStatus"]) == (1, 2, "CREATED")
    assert aws.describe_image_version(ImageName=image)["Version"] == 2
    assert aws.describe_image_version(ImageName=image, Alias="v1")["Version"] == 1
    assert aws.list_aliases(ImageName=image)["SageMakerImageVersionAliases"] == ["latest", "v1", "v2"]
    assert refusal(aws.update_image_version, ImageName=image, Version=1, AliasesToAdd=["latest"]) == "ResourceInUse"
    aws.update_image_version(ImageName=image, Version=2, AliasesToDelete=["latest"])
    aws.update_image_version(ImageName=image, Version=1, AliasesToAdd=["latest"])
    assert aws.list_aliases(ImageName=image, Version=1)["SageMakerImageVersionAliases"] == ["latest", "v1"]
    assert refusal(aws.delete_image, ImageName=image) == "ResourceInUse"
    aws.delete_image_version(ImageName=image, Alias="v2")
    Studio.until(lambda: len(aws.list_image_versions(ImageName=image)["ImageVersions"]) == 1)
    assert version_of(studio, image)["Version"] == 3
    pages = [aws.list_image_versions(ImageName=image, MaxResults=1, SortBy="VERSION", SortOrder="ASCENDING")]
    pages.append(aws.list_image_versions(ImageName=image, MaxResults=1, SortBy="VERSION", SortOrder="ASCENDING", NextToken=pages[0]["NextToken"]))  # fmt: skip
    assert [page["ImageVersions"][0]["Version"] for page in pages] == [1, 3]
    for number in (1, 3):
        aws.delete_image_version(ImageName=image, Version=number)
    Studio.until(lambda: not aws.list_image_versions(ImageName=image)["ImageVersions"])
    aws.delete_image(ImageName=image)
    Studio.until(lambda: image not in [each["ImageName"] for each in aws.list_images(NameContains=image)["Images"]])
    assert refusal(aws.describe_image, ImageName=image) == "ResourceNotFound"


def test_the_same_token_makes_one_version(studio: Studio, image: str) -> None:
    asked = {"ImageName": image, "BaseImage": ELSEWHERE, "ClientToken": uuid4().hex}
    Studio.until(lambda: studio.sagemaker.describe_image(ImageName=image)["ImageStatus"] == "CREATED")
    once, again = (studio.sagemaker.create_image_version(**asked)["ImageVersionArn"] for _ in range(2))
    assert once == again


def test_a_version_of_what_is_not_in_ecr_fails_and_one_of_what_is_there_stands(
    studio: Studio, embedded: Any, image: str
) -> None:
    ecr, repository = embedded.client("ecr"), f"ours/{uuid4().hex[:8]}"
    base = f"{ecr.create_repository(repositoryName=repository)['repository']['repositoryUri']}:1"
    failed = version_of(studio, image, base)
    assert (failed["ImageVersionStatus"], "1" in failed["FailureReason"]) == ("CREATE_FAILED", True)
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="1")
    assert version_of(studio, image, base)["ImageVersionStatus"] == "CREATED"


def test_a_domain_takes_only_images_and_configurations_that_are_there_and_apps_only_what_is_attached(
    studio: Studio, image: str
) -> None:
    aws, config = studio.sagemaker, f"config-{uuid4().hex[:8]}"
    version = version_of(studio, image)
    attached = {"ImageName": image, "ImageVersionNumber": 1, "AppImageConfigName": config}
    asked = studio.domain_request(CodeEditorAppSettings={"CustomImages": [attached]})
    assert refusal(aws.create_domain, **asked) == "ResourceNotFound"
    aws.create_app_image_config(AppImageConfigName=config, CodeEditorAppImageConfig={})
    assert refusal(aws.create_app_image_config, AppImageConfigName=config) == "ResourceInUse"
    files = {"DefaultUid": 1000, "DefaultGid": 100, "MountPath": "/home/sagemaker-user"}
    aws.update_app_image_config(AppImageConfigName=config, CodeEditorAppImageConfig={"FileSystemConfig": files})
    assert aws.describe_app_image_config(AppImageConfigName=config)["CodeEditorAppImageConfig"] == {"FileSystemConfig": files}  # fmt: skip

    domain = studio.domain()
    studio.profile(domain, "ada")
    spec = {"InstanceType": "ml.t3.medium", "SageMakerImageVersionArn": version["ImageVersionArn"]}
    studio.space(domain, "code", owner="ada", AppType="CodeEditor")
    app = {"DomainId": domain, "SpaceName": "code", "AppType": "CodeEditor", "AppName": "default"}
    assert refusal(aws.create_app, **app, ResourceSpec=spec) == "ValidationException"
    aws.update_domain(DomainId=domain, DefaultUserSettings={"CodeEditorAppSettings": {"CustomImages": [attached]}})
    described = studio.until_domain(domain, "InService")["DefaultUserSettings"]
    assert described["ExecutionRole"] == studio.role  # what was not given stays
    aws.create_app(**app, ResourceSpec=spec)
    assert studio.until_app(app, "InService")["ResourceSpec"] == spec
    aws.delete_app(**app)
    studio.until_app(app, "Deleted")


def test_a_lifecycle_configuration_is_not_deleted_while_it_is_attached(studio: Studio) -> None:
    aws, name = studio.sagemaker, f"start-{uuid4().hex[:8]}"
    made = {
        "StudioLifecycleConfigName": name,
        "StudioLifecycleConfigContent": base64.b64encode(b"echo hello").decode(),
        "StudioLifecycleConfigAppType": "JupyterLab",
    }
    arn = aws.create_studio_lifecycle_config(**made)["StudioLifecycleConfigArn"]
    assert refusal(aws.create_studio_lifecycle_config, **made) == "ResourceInUse"
    assert arn == f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:studio-lifecycle-config/{name}"
    listed = aws.list_studio_lifecycle_configs(NameContains=name, AppTypeEquals="JupyterLab")["StudioLifecycleConfigs"]
    assert [each["StudioLifecycleConfigArn"] for each in listed] == [arn]
    domain = studio.domain(JupyterLabAppSettings={"LifecycleConfigArns": [arn]})
    assert refusal(aws.delete_studio_lifecycle_config, StudioLifecycleConfigName=name) == "ResourceInUse"
    aws.delete_domain(DomainId=domain)
    studio.until_gone(aws.describe_domain, DomainId=domain)
    aws.delete_studio_lifecycle_config(StudioLifecycleConfigName=name)
    assert refusal(aws.describe_studio_lifecycle_config, StudioLifecycleConfigName=name) == "ResourceNotFound"
