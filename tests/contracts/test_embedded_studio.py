"""Domains, user profiles, spaces and apps of Studio behave as AWS's do, through boto3."""

from __future__ import annotations

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
