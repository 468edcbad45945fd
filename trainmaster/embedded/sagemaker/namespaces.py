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
from dataclasses import dataclass
from pathlib import Path

SETTING = "TRAINMASTER_NAMESPACES"
"""Set to `off` in the environment to do without namespaces where they would work."""

PROBE_SECONDS = 10

# The image's Python is not a container's to change, were it only by a pip of it called by its path.
_READ_ONLY = tuple(dict.fromkeys(map(os.path.realpath, (sys.prefix, sys.base_prefix))))

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

# Without an /opt/ml to bind to, and nothing of the machine's may be created, /opt becomes a copy made of binds: a bare tmpfs would
# hide what else lives there, Python itself on some machines.
_ENTER = """
set -eu
folder=$1 offline=$2; shift 2
ml=$folder/ml opt=$folder/opt
until [ "$1" = -- ]; do
  mount --rbind "$1" "$1"
  mount -o remount,bind,ro,nosuid,nodev "$1"
  shift
done
shift
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
if [ -e /etc/hosts ]; then mount --bind "$folder/hosts" /etc/hosts; fi
if [ "$offline" ]; then ip link set lo up 2> /dev/null || :; fi
# Each hidden folder is replaced by one of the container's own, in which what is kept of it has its place.
until [ "$1" = -- ]; do
  hidden=$1 instead=$2; shift 2
  until [ "$1" = -- ]; do
    place=$instead${1#"$hidden"}
    mkdir -p "$place"
    mount --rbind "$1" "$place"
    shift
  done
  shift
  mount --rbind "$instead" "$hidden"
done
shift
cd /opt/ml/code
exec "$@"
"""


@dataclass(frozen=True)
class Container:
    """What is known of a container to be run: its folder, the names that resolve to this machine, and what it is to see.

    Of the embedded AWS's `state` it sees its own folder and what is `kept`; `offline` it has no network.
    """

    folder: Path
    hosts: Sequence[str]
    state: Path | None = None
    kept: Sequence[Path] = ()
    offline: bool = False


class Namespaces:
    """Processes see their host's folder at /opt/ml, a /tmp of their own, and nothing of the embedded AWS's state."""

    sentence = "Training jobs run at /opt/ml, each host in user, mount and PID namespaces of its own."
    isolated = True

    def base(self, folder: Path) -> Path:  # noqa: ARG002
        """The path a process of the host at `folder` knows its /opt/ml by."""
        return Path("/opt/ml")

    def command(self, container: Container, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` with the container's folder `ml` at /opt/ml."""
        folder = container.folder.resolve()
        for name in ("opt", "tmp", "state", "ml/code"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(_hosts_file() + f"127.0.0.1 {' '.join(container.hosts)}\n")
        unshare = [*_UNSHARE, *(["--net"] if container.offline else [])]
        enter = ["/bin/sh", "-c", _ENTER, "enter", str(folder), "yes" if container.offline else ""]
        return [*unshare, "--", *enter, *_READ_ONLY, "--", *_hidden(container, folder), "--", *command]

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

    def command(self, container: Container, command: Sequence[str]) -> list[str]:  # noqa: ARG002
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
            Container(Path(scratch), ["algo-1"]), ["/bin/sh", "-c", "test -w /opt/ml/code && test $$ = 1"]
        )
        try:
            trial = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return EnvironmentOnly("unshare does not answer")
    if trial.returncode != 0:
        said = trial.stderr.decode("utf-8", "replace").strip().splitlines()
        return EnvironmentOnly(said[-1] if said else "unshare failed")
    return namespaces


def _hidden(container: Container, folder: Path) -> list[str]:
    """Each folder to hide, what to show in its place, and what of it to keep: state first, as it may lie in /tmp."""
    ours = Path(__file__).resolve().parent  # the model server's own code
    temporary = Path(os.path.realpath("/tmp"))  # noqa: S108 - the container's own takes its place
    kept = [folder, ours, *map(Path, _READ_ONLY), *(path.resolve() for path in container.kept)]
    hidden = {temporary: folder / "tmp"}
    if container.state is not None and not container.state.resolve().is_relative_to(temporary):
        hidden = {container.state.resolve(): folder / "state"} | hidden
    return [
        str(word)
        for path, instead in hidden.items()
        for word in (path, instead, *(each for each in kept if each.is_relative_to(path)), "--")
    ]


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
