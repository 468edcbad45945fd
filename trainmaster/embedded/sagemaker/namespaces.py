"""Where a training process runs: at /opt/ml in namespaces of its own, or told by SAGEMAKER_BASE_DIR where its folder is.

In namespaces (user, mount, PID; `unshare` needs no privilege for them on most Linux machines) a process sees the host's folder at
/opt/ml, the job's hosts in /etc/hosts, and is PID 1 of its tree as in AWS's container: a signal it does not handle is
ignored, and when it ends the kernel ends the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SETTING = "TRAINMASTER_NAMESPACES"
"""Set to `off` in the environment to do without namespaces where they would work."""

PROBE_SECONDS = 10

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

# Without an /opt/ml to bind to, and nothing of the machine's may be created, /opt becomes a copy made of binds: a bare tmpfs would
# hide what else lives there, Python itself on some machines.
_ENTER = """
set -eu
ml=$1 opt=$2 hosts=$3; shift 3
if [ -d /opt/ml ]; then
  mount --bind "$ml" /opt/ml
else
  mount -t tmpfs tmpfs "$opt"
  for entry in /opt/* /opt/.[!.]*; do
    copy=$opt/${entry##*/}
    if [ -L "$entry" ]; then cp -P "$entry" "$copy"
    elif [ -d "$entry" ]; then mkdir "$copy"; mount --rbind "$entry" "$copy"
    elif [ -e "$entry" ]; then : > "$copy"; mount --bind "$entry" "$copy"
    fi
  done
  mkdir "$opt/ml"
  mount --bind "$ml" "$opt/ml"
  mount --rbind "$opt" /opt
fi
if [ -e /etc/hosts ]; then mount --bind "$hosts" /etc/hosts; fi
cd /opt/ml/code
exec "$@"
"""


class Namespaces:
    """Processes see their host's folder at /opt/ml."""

    sentence = "Training jobs run at /opt/ml, each host in user, mount and PID namespaces of its own."
    isolated = True

    def base(self, folder: Path) -> Path:  # noqa: ARG002
        """The path a process of the host at `folder` knows its /opt/ml by."""
        return Path("/opt/ml")

    def command(self, folder: Path, hosts: Sequence[str], command: Sequence[str]) -> list[str]:
        """The command line that runs `command` with `folder`/ml at /opt/ml and `hosts` resolving to this machine."""
        opt = folder / "opt"
        opt.mkdir(exist_ok=True)
        (folder / "ml" / "code").mkdir(parents=True, exist_ok=True)
        names = folder / "hosts"
        names.write_text(_hosts_file() + f"127.0.0.1 {' '.join(hosts)}\n")
        return [*_UNSHARE, "--", "/bin/sh", "-c", _ENTER, "enter", str(folder / "ml"), str(opt), str(names), *command]

    def first_process(self, guard_pid: int) -> int | None:
        """The process under the guard that is PID 1 of its namespace: unshare itself holds signals back."""
        entered = [pid for unshare in _children(guard_pid) for pid in _children(unshare)]
        return entered[0] if entered else None


class EnvironmentOnly:
    """Processes find their host's folder by SAGEMAKER_BASE_DIR and the SM_… variables; /opt/ml itself does not exist."""

    isolated = False

    def __init__(self, reason: str) -> None:
        self.sentence = (
            f"Training jobs run without namespaces ({reason}): scripts must take their paths from the SM_… variables, "
            "/opt/ml does not exist for them."
        )

    def base(self, folder: Path) -> Path:
        return folder / "ml"

    def command(self, folder: Path, hosts: Sequence[str], command: Sequence[str]) -> list[str]:  # noqa: ARG002
        return list(command)

    def first_process(self, guard_pid: int) -> int | None:
        started = _children(guard_pid)
        return started[0] if started else None


Isolation = Namespaces | EnvironmentOnly


def detect() -> Isolation:
    """Namespaces where a trial of them succeeds, else EnvironmentOnly with the reason."""
    if os.environ.get(SETTING, "").lower() in ("off", "0", "false", "no"):
        return EnvironmentOnly(f"{SETTING} is off")
    if sys.platform != "linux":
        return EnvironmentOnly("they are Linux's")
    if shutil.which("unshare") is None:
        return EnvironmentOnly("there is no unshare command")
    namespaces = Namespaces()
    with tempfile.TemporaryDirectory() as scratch:
        command = namespaces.command(
            Path(scratch), ["algo-1"], ["/bin/sh", "-c", "test -w /opt/ml/code && test $$ = 1"]
        )
        try:
            trial = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return EnvironmentOnly("unshare does not answer")
    if trial.returncode != 0:
        said = trial.stderr.decode("utf-8", "replace").strip().splitlines()
        return EnvironmentOnly(said[-1] if said else "unshare failed")
    return namespaces


def _hosts_file() -> str:
    try:
        text = Path("/etc/hosts").read_text()
    except OSError:
        return ""
    return text if text.endswith("\n") or not text else text + "\n"


def _children(pid: int) -> list[int]:
    try:
        return [
            int(each)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text().split()
        ]
    except OSError:
        return []  # ended meanwhile
