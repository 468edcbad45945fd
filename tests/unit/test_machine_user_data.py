"""What an instance is told to do at its first start."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from trainmaster.workspaces.machines.user_data import user_data
from trainmaster.workspaces.studio.domains import SharedHome
from trainmaster.workspaces.templates.template import Template

HOME = SharedHome("fs-0123456789abcdef0", "/200007", 200007)


def template(connection_type: str = "ssh", packages: tuple[str, ...] = ("tmux", "git")) -> Template:
    return Template.model_validate(
        {
            "name": "box",
            "description": "A machine",
            "service_type": "ec2",
            "connection_type": connection_type,
            "service_config": {"ami_parameter": "/an/ami", "default_instance_type": "t3.large", "packages": packages},
        }
    )


def read(text: str) -> dict[str, Any]:
    assert text.startswith("#cloud-config\n")
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def script(text: str, path: str) -> str:
    return next(str(one["content"]) for one in read(text)["write_files"] if one["path"] == path)


def test_the_packages_of_the_template_are_installed_and_nothing_else_happens() -> None:
    told = read(user_data(template(), None, "us-east-1"))
    assert told["packages"] == ["git", "tmux"]
    assert "write_files" not in told
    assert "runcmd" not in told


def test_the_same_template_says_the_same() -> None:
    assert user_data(template(packages=("git", "tmux")), HOME, "us-east-1") == user_data(template(), HOME, "us-east-1")


def test_who_works_on_it_has_the_name_the_home_and_the_ids_of_studio() -> None:
    text = user_data(template(), HOME, "eu-west-1")
    user = read(text)["users"][1]
    assert (user["name"], user["uid"], user["lock_passwd"]) == ("sagemaker-user", 200007, True)
    assert "nfs-common" in read(text)["packages"]
    mounting = script(text, "/usr/local/sbin/mount-shared-home")
    assert "groupadd --gid 1001" in mounting
    assert "fs-0123456789abcdef0.efs.eu-west-1.amazonaws.com" in mounting
    assert "/home/sagemaker-user/user-default-efs" in mounting
    assert 'install -d -m 0700 -o 200007 -g 1001 "$root/200007"' in mounting


@pytest.mark.parametrize(
    ("is_open", "heard", "asks"),
    [(False, "['127.0.0.1:8443']", "none"), (True, "['0.0.0.0:8443', '[::]:8443']", "system")],
    ids=["through Session Manager", "from an address"],
)
def test_a_desktop_hears_only_the_machine_itself_unless_it_asks_for_a_password(
    is_open: bool, heard: str, asks: str
) -> None:
    text = user_data(template("dcv"), None, "us-east-1", is_open=is_open)
    settings = script(text, "/etc/dcv/dcv.conf")
    assert f"web-listen-endpoints={heard}" in settings
    assert f'authentication="{asks}"' in settings
    assert "--owner sagemaker-user" in script(text, "/etc/systemd/system/dcv-workspace.service")
    assert read(text)["runcmd"] == [["/usr/local/sbin/install-dcv"]]


@pytest.mark.parametrize("path", ["/usr/local/sbin/mount-shared-home", "/usr/local/sbin/install-dcv"])
def test_its_scripts_are_ones_that_bash_reads(path: str) -> None:
    text = user_data(template("dcv"), HOME, "us-east-1")
    checked = subprocess.run(
        ["bash", "-n"], check=False, input=script(text, path).encode(), capture_output=True, timeout=30
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_it_fits_into_what_ec2_takes() -> None:
    packages = tuple(f"package-number-{number}" for number in range(100))
    assert len(user_data(template("dcv", packages), HOME, "us-east-1", is_open=True).encode()) <= 16 * 1024
