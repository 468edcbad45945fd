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
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from studio_parts import Studio

BASE = "/jupyterlab/default/"


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self) -> None:
        self._jar = http.cookiejar.CookieJar()
        cookies = urllib.request.HTTPCookieProcessor(self._jar)
        self._opener = urllib.request.build_opener(cookies, urllib.request.ProxyHandler({}))

    def open(self, url: str) -> tuple[int, str, str]:
        """Status, the address it ended at, the text."""
        try:
            with self._opener.open(url, timeout=60) as answer:
                return answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.url, refused.read().decode()

    def post(self, url: str, body: Any) -> Any:
        """As JupyterLab's own page does: with the token against forged requests."""
        [forged] = [cookie.value for cookie in self._jar if cookie.name == "_xsrf"]
        headers = {"X-XSRFToken": forged or "", "Content-Type": "application/json"}
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def studio(embedded: Any) -> Studio:
    return Studio(embedded)


@pytest.fixture(scope="module")
def domain(studio: Studio) -> str:
    """With the profiles ada and bob, and a space of ada's whose JupyterLab runs."""
    idle = {"LifecycleManagement": "ENABLED", "IdleTimeoutInMinutes": 120, "MinIdleTimeoutInMinutes": 60}
    domain = studio.domain(JupyterLabAppSettings={"AppLifecycleManagement": {"IdleSettings": idle}})
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


def jupyterlab_processes(folder: Path) -> dict[int, str]:
    """The command lines of those that run in the folder, by their ids."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder.resolve():
                found[int(process.name)] = (process / "cmdline").read_text()
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
    ticket, token = url.rpartition("/")[2], parse_qs(urlsplit(landed).query)["token"][0]
    logs = [embedded.log, Path(embedded.state) / "embedded.log", *Path(embedded.state, "studio-servers").rglob("*.log")]
    said = "".join(log.read_text() for log in logs)
    assert "JupyterLab" in said
    assert not {secret for secret in (ticket, token) if secret in said}


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


def test_what_does_not_run_is_told_on_a_page_and_canvas_says_what_it_is_not(
    studio: Studio, domain: str, embedded: Any
) -> None:
    studio.space(domain, "asleep", owner="ada")
    status, _, page = Browser().open(presigned(studio, domain, SpaceName="asleep"))
    assert (status, "JupyterLab is not there" in page) == (409, True)
    canvas = {"DomainId": domain, "UserProfileName": "ada", "AppType": "Canvas", "AppName": "default"}
    studio.sagemaker.create_app(**canvas)
    studio.until_app(canvas, "InService")
    status, _, page = Browser().open(presigned(studio, domain, landing="app:Canvas:"))
    assert (status, "no such program" in page) == (200, True)
    assert "notes" in Browser().open(presigned(studio, domain, landing="studio::"))[2]
    whose = [{"Name": "DomainId", "Value": domain}, {"Name": "UserProfileName", "Value": "ada"}]
    cloudwatch, told = embedded.client("cloudwatch"), "/aws/sagemaker/Canvas/AppActivity"
    studio.until(lambda: cloudwatch.list_metrics(Namespace=told, Dimensions=whose)["Metrics"])


def test_an_app_fails_runs_and_is_ended_when_idle_while_the_files_of_its_space_stay_until_the_space_goes(
    studio: Studio, domain: str, embedded: Any
) -> None:
    name = f"short-{domain}"  # the control call knows it by this name alone
    studio.space(domain, name, owner="ada")
    app, folder = lab(domain, name), Path(embedded.state) / "studio" / domain / name
    embedded.control(
        "POST", "faults", {"operation": f"LaunchingMLInstances:{name}", "error": "CapacityError", "count": 1}
    )
    try:
        studio.sagemaker.create_app(**app)
        studio.until(lambda: studio.sagemaker.describe_app(**app)["Status"] == "Failed")
    finally:
        embedded.control("DELETE", "faults")
    assert "requested ML compute capacity" in studio.sagemaker.describe_app(**app)["FailureReason"]
    with pytest.raises(ClientError, match=r"ValidationException.*previously failed and was automatically deleted"):
        studio.sagemaker.delete_app(**app)

    studio.sagemaker.create_app(**app)
    described = studio.until_app(app, "InService")
    assert described["ResourceSpec"]["InstanceType"] == "ml.t3.medium"
    browser = Browser()
    landed = browser.open(presigned(studio, domain, SpaceName=name))[1]
    browser.post(f"{landed[: landed.index(BASE)]}{BASE}api/kernels", {"name": "python3"})
    studio.until(lambda: any("ipykernel" in command for command in jupyterlab_processes(folder).values()))
    (folder / "kept.txt").touch()
    bigger = {"JupyterLabAppSettings": {"DefaultResourceSpec": {"InstanceType": "ml.m5.large"}}}
    with pytest.raises(ClientError, match="ResourceInUse"):
        studio.sagemaker.update_space(DomainId=domain, SpaceName=name, SpaceSettings=bigger)

    embedded.control("POST", "idle", {"app_of": name, "minutes": 110})
    # AWS's own health checks move it on as well: it does not tell of users.
    first = described["LastUserActivityTimestamp"]
    studio.until(lambda: studio.sagemaker.describe_app(**app)["LastUserActivityTimestamp"] > first)
    assert studio.sagemaker.describe_app(**app)["Status"] == "InService"

    def is_ended() -> bool:
        # The kernel still starting is somebody's doing, which ends the absence of before.
        embedded.control("POST", "idle", {"app_of": name, "minutes": 125})
        return bool(studio.sagemaker.describe_app(**app)["Status"] == "Deleted")

    studio.until(is_ended)
    assert "No app of" in embedded.control("POST", "idle", {"app_of": name, "minutes": 1})["error"]
    assert not jupyterlab_processes(folder)
    assert (folder / "kept.txt").exists()

    studio.sagemaker.update_space(DomainId=domain, SpaceName=name, SpaceSettings=bigger)
    studio.until_space(domain, name, "InService")
    studio.sagemaker.delete_space(DomainId=domain, SpaceName=name)
    studio.until_gone(studio.sagemaker.describe_space, DomainId=domain, SpaceName=name)
    assert not folder.exists()


def test_jupyterlab_dies_with_the_embedded_aws_and_runs_again_after_a_restart_and_one_that_ends_by_itself_has_failed(
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

    studio.until(lambda: not jupyterlab_processes(folder))
    studio = Studio(start_embedded())
    assert studio.until_domain(domain, "InService")["HomeEfsFileSystemId"].startswith("fs-")
    studio.until_app(lab(domain, "notes"), "InService")
    status, landed, _ = Browser().open(presigned(studio, domain))
    assert (status, BASE in landed) == (200, True)
    assert (folder / "kept.txt").exists()

    [server] = [process for process, command in jupyterlab_processes(folder).items() if "guard.py" not in command]
    os.kill(server, signal.SIGKILL)
    studio.until(lambda: studio.sagemaker.describe_app(**lab(domain, "notes"))["Status"] == "Failed")
    assert "exit code 137" in studio.sagemaker.describe_app(**lab(domain, "notes"))["FailureReason"]
