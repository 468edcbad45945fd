"""How an instance sets itself up at its first start: cloud-config, made from the template alone. Pure."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from trainmaster.workspaces.studio.domains import SharedHome
from trainmaster.workspaces.templates.template import Template

USER = "sagemaker-user"
"""Who people are on it: named as in Studio, with the same home, so that what names a path works in both."""
HOME = f"/home/{USER}"
SHARED = f"{HOME}/user-default-efs"
"""Where Studio's own spaces mount the user's folder of the shared file system."""
DCV_PORT = 8443
DCV_SESSION = "workspace"
_DCV = "https://d1uj6qtbmh3dt5.cloudfront.net/nice-dcv-ubuntu{release}-x86_64.tgz"
# Source: https://docs.aws.amazon.com/dcv/latest/adminguide/setting-up-installing-linux-server.html


def user_data(template: Template, home: SharedHome | None, region: str, *, is_open: bool = False) -> str:
    """A cloud-config, the same for the same. `is_open` says that people reach it by its address, without Session Manager."""
    has_desktop = template.connection_type == "dcv"
    packages = [*template.service_config.packages, *(["nfs-common"] if home else [])]
    config: dict[str, Any] = {
        "package_update": True,
        "packages": sorted(set(packages)),
        "users": ["default", _user(home)],
        "write_files": [
            *([_file("/usr/local/sbin/mount-shared-home", _mounting(home, region))] if home else []),
            *(_desktop_files(is_open=is_open) if has_desktop else []),
        ],
        "runcmd": [
            *([["/usr/local/sbin/mount-shared-home"]] if home else []),
            *([["/usr/local/sbin/install-dcv"]] if has_desktop else []),
        ],
    }
    # JSON is YAML, and quotes whatever stands in a package's name or a script.
    return f"#cloud-config\n{json.dumps({key: value for key, value in config.items() if value}, indent=1)}\n"


def _user(home: SharedHome | None) -> dict[str, Any]:
    who = {"name": USER, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": True}
    return {**who, "uid": home.uid} if home else who


def _file(path: str, content: str, permissions: str = "0755") -> dict[str, str]:
    return {"path": path, "permissions": permissions, "content": content}


def _mounting(home: SharedHome, region: str) -> str:
    """Makes the user's folder where there is none yet, and mounts it from now on, with TLS where the AMI has AWS's own mount."""
    options = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev,nofail"
    return dedent(f"""\
        #!/bin/bash
        set -euo pipefail
        getent group {home.gid} > /dev/null || groupadd --gid {home.gid} sagemaker-users
        usermod --gid {home.gid} {USER}
        chown -R {home.uid}:{home.gid} {HOME}
        if command -v mount.efs > /dev/null; then
          kind=efs from={home.file_system_id} options=tls,_netdev,nofail
        else
          kind=nfs4 from={home.file_system_id}.efs.{region}.amazonaws.com options={options}
        fi
        root=$(mktemp -d)
        for attempt in $(seq 30); do
          mount -t "$kind" -o "$options" "$from:/" "$root" && break
          sleep 10
        done
        mountpoint -q "$root"
        install -d -m 0700 -o {home.uid} -g {home.gid} "$root{home.path}"
        umount "$root"
        install -d -o {home.uid} -g {home.gid} {SHARED}
        grep -q " {SHARED} " /etc/fstab || echo "$from:{home.path} {SHARED} $kind $options 0 0" >> /etc/fstab
        mount {SHARED}
        """)


def _desktop_files(*, is_open: bool) -> list[dict[str, str]]:
    return [
        _file("/usr/local/sbin/install-dcv", _installing()),
        _file("/etc/dcv/dcv.conf", _dcv_settings(is_open=is_open), "0644"),
        _file("/etc/systemd/system/dcv-workspace.service", _SESSION, "0644"),
    ]


def _installing() -> str:
    """Of DCV's server, its web viewer and the display of virtual sessions; again at no harm."""
    archive = _DCV.format(release="$(. /etc/os-release; echo ${VERSION_ID/./})")
    return dedent(f"""\
        #!/bin/bash
        set -euo pipefail
        cd "$(mktemp -d)"
        curl --fail --silent --show-error --location --retry 5 --max-time 600 "{archive}" | tar -xz --strip-components=1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -o Dpkg::Options::=--force-confold \\
          ./nice-dcv-server_*.deb ./nice-dcv-web-viewer_*.deb ./nice-xdcv_*.deb
        systemctl enable --now dcvserver.service dcv-workspace.service
        """)


def _dcv_settings(*, is_open: bool) -> str:
    """Over Session Manager DCV hears nobody but the machine itself, and IAM has asked already who it is; else it asks for a password."""
    heard, asks = ("'0.0.0.0:{port}', '[::]:{port}'", "system") if is_open else ("'127.0.0.1:{port}'", "none")
    return dedent(f"""\
        [connectivity]
        web-listen-endpoints=[{heard.format(port=DCV_PORT)}]
        enable-quic-frontend=false
        [security]
        authentication="{asks}"
        """)


_SESSION = dedent(f"""\
    [Unit]
    Description=The desktop of the workspace
    After=dcvserver.service
    Requires=dcvserver.service
    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/usr/bin/dcv create-session --type virtual --owner {USER} --user {USER} {DCV_SESSION}
    Restart=on-failure
    RestartSec=10
    [Install]
    WantedBy=multi-user.target
    """)
