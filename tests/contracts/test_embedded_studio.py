"""Domains, user profiles, spaces and apps of Studio behave as AWS's do, through boto3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from studio_parts import Studio


@pytest.fixture(scope="module")
def studio(embedded: Any) -> Studio:
    return Studio(embedded)


def refusal(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_what_is_made_is_pending_then_in_service_and_what_is_deleted_goes(studio: Studio) -> None:
    aws = studio.sagemaker
    domain = aws.create_domain(**studio.domain_request())["DomainId"]
    assert aws.describe_domain(DomainId=domain)["Status"] in ("Pending", "InService")
    described = studio.until_domain(domain, "InService")
    assert described["DomainArn"].endswith(f":domain/{domain}")
    assert described["HomeEfsFileSystemId"].startswith("fs-")

    aws.create_user_profile(DomainId=domain, UserProfileName="ada")
    profile = studio.until_profile(domain, "ada", "InService")
    assert profile["HomeEfsFileSystemUid"] == "200005"

    studio.create_space(domain, "notes", owner="ada")
    space = studio.until_space(domain, "notes", "InService")
    assert space["SpaceSettings"]["SpaceStorageSettings"]["EbsStorageSettings"] == {"EbsVolumeSizeInGb": 5}
    assert [each["SpaceName"] for each in aws.list_spaces(DomainIdEquals=domain)["Spaces"]] == ["notes"]

    aws.create_app(DomainId=domain, UserProfileName="ada", AppType="Canvas", AppName="default")
    canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
    assert studio.until_app(canvas, "InService")["ResourceSpec"] == {"InstanceType": "system"}

    aws.delete_app(**canvas)
    studio.until_app(canvas, "Deleted")
    assert [each["Status"] for each in aws.list_apps(DomainIdEquals=domain)["Apps"]] == ["Deleted"]
    aws.create_app(**canvas)
    studio.until_app(canvas, "InService")
    aws.delete_app(**canvas)
    studio.until_app(canvas, "Deleted")

    aws.delete_space(DomainId=domain, SpaceName="notes")
    studio.until_gone(aws.describe_space, DomainId=domain, SpaceName="notes")
    aws.delete_user_profile(DomainId=domain, UserProfileName="ada")
    studio.until_gone(aws.describe_user_profile, DomainId=domain, UserProfileName="ada")
    aws.delete_domain(DomainId=domain)
    studio.until_gone(aws.describe_domain, DomainId=domain)


def test_nothing_is_deleted_under_what_belongs_to_it(studio: Studio) -> None:
    aws = studio.sagemaker
    domain = studio.domain()
    studio.profile(domain, "ada")
    studio.space(domain, "notes", owner="ada")
    canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
    editor = {"DomainId": domain, "SpaceName": "code", "AppType": "CodeEditor", "AppName": "default"}
    studio.space(domain, "code", owner="ada", AppType="CodeEditor")
    aws.create_app(**canvas)
    aws.create_app(**editor)
    studio.until_app(canvas, "InService")
    studio.until_app(editor, "InService")
    for call, request in (
        (aws.delete_domain, {"DomainId": domain}),
        (aws.delete_user_profile, {"DomainId": domain, "UserProfileName": "ada"}),
        (aws.delete_space, {"DomainId": domain, "SpaceName": "code"}),
    ):
        code, message = refusal(call, **request)
        assert (code, "App(s) are associated with it" in message) == ("ResourceInUse", True)
    for app in (canvas, editor):
        aws.delete_app(**app)
        studio.until_app(app, "Deleted")
    code, message = refusal(aws.delete_app, **editor)
    assert (code, "has already been deleted" in message) == ("ValidationException", True)
    code, message = refusal(aws.delete_user_profile, DomainId=domain, UserProfileName="ada")
    assert (code, "Space(s) are associated with it" in message) == ("ResourceInUse", True)
    assert refusal(aws.delete_domain, DomainId=domain)[0] == "ResourceInUse"


def test_taken_names_and_missing_parts_are_refused_by_their_codes(studio: Studio) -> None:
    aws, request = studio.sagemaker, studio.domain_request()
    domain = aws.create_domain(**request)["DomainId"]
    studio.until_domain(domain, "InService")
    studio.profile(domain, "ada")
    studio.space(domain, "notes", owner="ada")
    missing = f"d-{uuid4().hex[:12]}"
    assert refusal(aws.create_domain, **request)[0] == "ResourceInUse"
    assert refusal(aws.create_user_profile, DomainId=domain, UserProfileName="ada")[0] == "ResourceInUse"
    assert refusal(studio.create_space, domain=domain, name="notes", owner="ada")[0] == "ResourceInUse"
    assert refusal(aws.describe_domain, DomainId=missing)[0] == "ResourceNotFound"
    assert refusal(aws.describe_user_profile, DomainId=domain, UserProfileName="bob")[0] == "ResourceNotFound"
    assert refusal(aws.describe_space, DomainId=domain, SpaceName="none")[0] == "ResourceNotFound"
    assert refusal(aws.create_user_profile, DomainId=missing, UserProfileName="ada")[0] == "ResourceNotFound"
    assert refusal(studio.create_space, domain=domain, name="more", owner="bob")[0] == "ResourceNotFound"
    lab = {"DomainId": domain, "AppType": "JupyterLab", "AppName": "default"}
    assert refusal(aws.describe_app, **lab, SpaceName="notes")[0] == "ResourceNotFound"
    assert refusal(aws.create_app, **lab, SpaceName="none")[0] == "ResourceNotFound"
    assert refusal(aws.create_app, **lab) == ("ValidationException", "Give either UserProfileName or SpaceName.")
    assert refusal(aws.create_app, **lab, UserProfileName="ada")[0] == "ValidationException"
    assert refusal(aws.create_user_profile, DomainId=domain, UserProfileName="a_b")[0] == "ValidationException"


def test_of_racing_creations_one_succeeds(studio: Studio) -> None:
    aws, request = studio.sagemaker, studio.domain_request()

    def created(make: Callable[..., Any], **asked: Any) -> str:
        try:
            make(**asked)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "made"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: created(aws.create_domain, **request), range(8))) == ["ResourceInUse"] * 7 + ["made"]  # fmt: skip
        [domain] = [each["DomainId"] for each in domains(studio) if each["DomainName"] == request["DomainName"]]
        studio.until_domain(domain, "InService")
        studio.profile(domain, "ada")
        canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
        assert sorted(pool.map(lambda _: created(aws.create_app, **canvas), range(8))) == ["ResourceInUse"] * 7 + ["made"]  # fmt: skip


def domains(studio: Studio) -> list[dict[str, Any]]:
    pages = studio.sagemaker.get_paginator("list_domains").paginate(PaginationConfig={"PageSize": 2})
    return [each for page in pages for each in page["Domains"]]


def test_lists_go_on_from_page_to_page_oldest_first_and_by_filters(studio: Studio) -> None:
    aws, domain = studio.sagemaker, studio.domain()
    studio.profile(domain, "ada")
    for number in range(5):
        studio.create_space(domain, f"space-{number}", owner="ada")
    pages = aws.get_paginator("list_spaces").paginate(DomainIdEquals=domain, PaginationConfig={"PageSize": 2})
    assert [each["SpaceName"] for page in pages for each in page["Spaces"]] == [f"space-{number}" for number in range(5)]  # fmt: skip
    [found] = aws.list_spaces(DomainIdEquals=domain, SpaceNameContains="ace-3")["Spaces"]
    assert (found["SpaceName"], found["OwnershipSettingsSummary"]) == ("space-3", {"OwnerUserProfileName": "ada"})
    newest = aws.list_spaces(DomainIdEquals=domain, SortBy="LastModifiedTime", SortOrder="Descending", MaxResults=1)
    assert newest["Spaces"][0]["DomainId"] == domain
    assert refusal(aws.list_spaces, NextToken="no-token")[0] == "ValidationException"


def test_settings_that_are_updated_leave_the_others_as_they_were(studio: Studio) -> None:
    aws = studio.sagemaker
    domain = studio.domain(JupyterLabAppSettings={"DefaultResourceSpec": {"InstanceType": "ml.m5.large"}})
    studio.profile(domain, "ada")
    idle = {"AppLifecycleManagement": {"IdleSettings": {"LifecycleManagement": "ENABLED", "IdleTimeoutInMinutes": 90}}}
    aws.update_domain(DomainId=domain, DefaultUserSettings={"JupyterLabAppSettings": idle})
    described = studio.until_domain(domain, "InService")["DefaultUserSettings"]["JupyterLabAppSettings"]
    assert described == {"DefaultResourceSpec": {"InstanceType": "ml.m5.large"}, **idle}
    studio.space(domain, "notes", owner="ada", SpaceStorageSettings={"EbsStorageSettings": {"EbsVolumeSizeInGb": 20}})
    for size, refused in ((10, True), (30, False)):
        volume = {"SpaceStorageSettings": {"EbsStorageSettings": {"EbsVolumeSizeInGb": size}}}
        asked = {"DomainId": domain, "SpaceName": "notes", "SpaceSettings": volume}
        if refused:
            assert "cannot be decreased from 20 to 10" in refusal(aws.update_space, **asked)[1]
        else:
            aws.update_space(**asked)
            space = studio.until_space(domain, "notes", "InService")
            assert space["SpaceSettings"] == {"AppType": "JupyterLab", **volume}


def test_parts_have_tags_that_can_be_changed(studio: Studio) -> None:
    aws, domain = studio.sagemaker, studio.domain()
    arn = aws.create_user_profile(DomainId=domain, UserProfileName="ada", Tags=[{"Key": "team", "Value": "a"}])["UserProfileArn"]  # fmt: skip
    aws.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}])
    assert aws.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "b"}]


def test_what_was_on_its_way_when_the_embedded_aws_was_killed_arrives_after_a_restart(
    start_embedded: Callable[..., Any],
) -> None:
    embedded = start_embedded(jupyterlab="none")
    studio = Studio(embedded)
    domain = studio.domain()
    for name in ("ada", "bob"):
        studio.profile(domain, name)
    studio.space(domain, "notes", owner="ada")
    lab = {"DomainId": domain, "SpaceName": "notes", "AppType": "JupyterLab", "AppName": "default"}
    studio.sagemaker.create_app(**lab)  # in name only: there is no JupyterLab
    studio.until_app(lab, "InService")
    assert not list((Path(embedded.state) / "studio" / domain / "notes").iterdir())
    canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
    studio.sagemaker.delete_app(**lab)
    studio.sagemaker.create_app(**canvas)
    studio.sagemaker.delete_user_profile(DomainId=domain, UserProfileName="bob")
    embedded.kill()

    studio = Studio(start_embedded(jupyterlab="none"))
    studio.until_app(lab, "Deleted")
    studio.until_app(canvas, "InService")
    studio.until_gone(studio.sagemaker.describe_user_profile, DomainId=domain, UserProfileName="bob")
    assert studio.until_domain(domain, "InService")["HomeEfsFileSystemId"].startswith("fs-")
