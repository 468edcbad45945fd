"""A JupyterLab space really opens: by a presigned address, in its own folder, which is kept when the app ends."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from studio_parts import Studio
from waiting import until

BASE = "/jupyterlab/default/"


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))

    def open(self, url: str) -> tuple[int, str, str]:
        """Status, the address it ended at, the text."""
        try:
            with self._opener.open(url, timeout=60) as answer:
                return answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.url, refused.read().decode()


@pytest.fixture(scope="module")
def studio(embedded: Any) -> Studio:
    return Studio(embedded)


@pytest.fixture(scope="module")
def domain(studio: Studio) -> str:
    """With the profiles ada and bob, and a space of ada's whose JupyterLab runs."""
    domain = studio.domain()
    studio.profile(domain, "ada")
    studio.profile(domain, "bob")
    studio.space(domain, "notes", owner="ada")
    studio.sagemaker.create_app(**lab(domain, "notes"))
    studio.until_app(lab(domain, "notes"), "InService")
    return domain


def lab(domain: str, space: str) -> dict[str, str]:
    return {"DomainId": domain, "SpaceName": space, "AppType": "JupyterLab", "AppName": "default"}


def presigned(studio: Studio, domain: str, profile: str = "ada", landing: str = "app:JupyterLab:", **more: Any) -> str:
    url: str = studio.sagemaker.create_presigned_domain_url(
        DomainId=domain, UserProfileName=profile, LandingUri=landing, **{"SpaceName": "notes", **more}
    )["AuthorizedUrl"]
    return url


def jupyterlab_processes(folder: Path) -> list[int]:
    """The ids of those that run in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def test_a_presigned_address_leads_into_a_real_jupyterlab_in_the_spaces_folder_and_only_once(
    studio: Studio, domain: str, embedded: Any
) -> None:
    folder = Path(embedded.state) / "studio" / domain / "notes"
    (folder / "hello.md").write_text("# Hello")
    browser, url = Browser(), presigned(studio, domain)
    assert url.startswith(f"{embedded.environment['AWS_ENDPOINT_URL']}/_studio/")
    status, landed, page = browser.open(url)
    assert (status, BASE in landed, "JupyterLab" in page) == (200, True, True)
    root = landed[: landed.index(BASE) + len(BASE)]
    assert "last_activity" in json.loads(browser.open(f"{root}api/status")[2])
    assert [each["name"] for each in json.loads(browser.open(f"{root}api/contents")[2])["content"]] == ["hello.md"]
    assert Browser().open(f"{root}api/contents")[0] == 403  # without the session
    status, _, page = browser.open(url)
    assert (status, "once" in page) == (403, True)


def test_a_private_space_opens_to_its_owner_only(studio: Studio, domain: str) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*bob is not its owner"):
        presigned(studio, domain, profile="bob")


def test_a_domain_of_identity_center_has_no_presigned_addresses(studio: Studio) -> None:
    asked = studio.domain_request() | {"AuthMode": "SSO"}
    domain = studio.sagemaker.create_domain(**asked)["DomainId"]
    studio.until_domain(domain, "InService")
    studio.profile(domain, "ada")
    studio.space(domain, "notes", owner="ada")
    with pytest.raises(ClientError, match=r"ValidationException.*does not use IAM authentication"):
        presigned(studio, domain)


@pytest.mark.parametrize("seconds", [4, 301])
def test_a_presigned_address_lasts_from_five_seconds_to_five_minutes(studio: Studio, domain: str, seconds: int) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*expiresInSeconds"):
        presigned(studio, domain, ExpiresInSeconds=seconds)


def test_what_does_not_run_is_told_on_a_page_and_canvas_says_what_it_is_not(studio: Studio, domain: str) -> None:
    studio.space(domain, "asleep", owner="ada")
    status, _, page = Browser().open(presigned(studio, domain, SpaceName="asleep"))
    assert (status, "JupyterLab is not there" in page) == (409, True)
    canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
    studio.sagemaker.create_app(**canvas)
    studio.until_app(canvas, "InService")
    status, _, page = Browser().open(presigned(studio, domain, landing="app:Canvas:"))
    assert (status, "no such program" in page) == (200, True)
    assert "notes" in Browser().open(presigned(studio, domain, landing="studio::"))[2]


def test_an_app_fails_runs_and_ends_while_the_files_of_its_space_stay_until_the_space_goes(
    studio: Studio, domain: str, embedded: Any
) -> None:
    studio.space(domain, "short", owner="ada")
    app, folder = lab(domain, "short"), Path(embedded.state) / "studio" / domain / "short"
    embedded.control(
        "POST", "faults", {"operation": "LaunchingMLInstances:short", "error": "CapacityError", "count": 1}
    )
    try:
        studio.sagemaker.create_app(**app)
        until(lambda: studio.sagemaker.describe_app(**app)["Status"] == "Failed")
    finally:
        embedded.control("DELETE", "faults")
    assert "requested ML compute capacity" in studio.sagemaker.describe_app(**app)["FailureReason"]
    with pytest.raises(ClientError, match=r"ValidationException.*previously failed and was automatically deleted"):
        studio.sagemaker.delete_app(**app)

    studio.sagemaker.create_app(**app)
    assert studio.until_app(app, "InService")["ResourceSpec"]["InstanceType"] == "ml.t3.medium"
    assert jupyterlab_processes(folder)
    (folder / "kept.txt").touch()
    bigger = {"JupyterLabAppSettings": {"DefaultResourceSpec": {"InstanceType": "ml.m5.large"}}}
    with pytest.raises(ClientError, match="ResourceInUse"):
        studio.sagemaker.update_space(DomainId=domain, SpaceName="short", SpaceSettings=bigger)
    studio.sagemaker.delete_app(**app)
    studio.until_app(app, "Deleted")
    assert not jupyterlab_processes(folder)
    assert (folder / "kept.txt").exists()

    studio.sagemaker.update_space(DomainId=domain, SpaceName="short", SpaceSettings=bigger)
    studio.until_space(domain, "short", "InService")
    studio.sagemaker.delete_space(DomainId=domain, SpaceName="short")
    studio.until_gone(studio.sagemaker.describe_space, DomainId=domain, SpaceName="short")
    assert not folder.exists()


def test_an_app_that_nobody_uses_for_as_long_as_its_settings_allow_is_ended(studio: Studio, embedded: Any) -> None:
    hours = {"LifecycleManagement": "ENABLED", "IdleTimeoutInMinutes": 120, "MinIdleTimeoutInMinutes": 60}
    domain = studio.domain(JupyterLabAppSettings={"AppLifecycleManagement": {"IdleSettings": hours}})
    studio.profile(domain, "ada")
    name = f"idle-{domain}"
    studio.space(domain, name, owner="ada")
    studio.sagemaker.create_app(**lab(domain, name))
    first = studio.until_app(lab(domain, name), "InService")["LastUserActivityTimestamp"]
    embedded.control("POST", "idle", {"app_of": name, "minutes": 110})
    # AWS's own health checks move it on as well: it does not tell of users.
    studio.until(lambda: studio.sagemaker.describe_app(**lab(domain, name))["LastUserActivityTimestamp"] > first)
    assert studio.sagemaker.describe_app(**lab(domain, name))["Status"] == "InService"
    embedded.control("POST", "idle", {"app_of": name, "minutes": 125})
    studio.until(lambda: studio.sagemaker.describe_app(**lab(domain, name))["Status"] == "Deleted")
    assert "No app of" in embedded.control("POST", "idle", {"app_of": name, "minutes": 1})["error"]


def test_a_jupyterlab_that_ends_by_itself_has_failed(studio: Studio, domain: str, embedded: Any) -> None:
    studio.space(domain, "dying", owner="ada")
    app, folder = lab(domain, "dying"), Path(embedded.state) / "studio" / domain / "dying"
    studio.sagemaker.create_app(**app)
    studio.until_app(app, "InService")
    for process in jupyterlab_processes(folder):
        os.kill(process, signal.SIGKILL)
    studio.until(lambda: studio.sagemaker.describe_app(**app)["Status"] == "Failed")
    assert "exit code 137" in studio.sagemaker.describe_app(**app)["FailureReason"]


def test_jupyterlab_dies_with_the_embedded_aws_and_runs_again_after_a_restart_with_all_that_was_made(
    start_embedded: Callable[..., Any],
) -> None:
    embedded = start_embedded()
    studio = Studio(embedded)
    domain = studio.domain()
    studio.profile(domain, "ada")
    studio.space(domain, "notes", owner="ada")
    studio.sagemaker.create_app(**lab(domain, "notes"))
    studio.until_app(lab(domain, "notes"), "InService")
    folder = Path(embedded.state) / "studio" / domain / "notes"
    (folder / "kept.txt").touch()

    embedded.kill()

    until(lambda: not jupyterlab_processes(folder))
    studio = Studio(start_embedded())
    assert studio.until_domain(domain, "InService")["HomeEfsFileSystemId"].startswith("fs-")
    studio.until_app(lab(domain, "notes"), "InService")
    status, landed, _ = Browser().open(presigned(studio, domain))
    assert (status, BASE in landed) == (200, True)
    assert (folder / "kept.txt").exists()
