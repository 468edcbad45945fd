"""The parts of a production installation on loopback: each a process of its own that can be killed and started again where it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psycopg

from trainmaster.embedded import processes
from trainmaster.prefect_server import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv" / "production" / "bin"
"""Of requirements-production.lock, as the image has it."""
COMPOSE = ROOT / "deployments" / "compose"
READY_WITHIN = 120.0


class Part:
    """A command that is at work as soon as `is_ready`; what it says goes to a log of its name."""

    def __init__(self, name: str, folder: Path, command: Sequence[str], environment: Mapping[str, str], is_ready: Callable[[], bool]) -> None:  # fmt: skip
        self.name, self._command, self._environment, self._is_ready = name, command, environment, is_ready
        self.log = folder / f"{name}.log"
        self._child: processes.Child | None = None

    @property
    def pid(self) -> int:
        """Of what all its processes descend from."""
        assert self._child
        return self._child.pid

    def start(self) -> None:
        """At once; it is ready later."""
        with self.log.open("ab") as log:
            self._child = processes.start(self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)  # fmt: skip

    def wait(self) -> None:
        """Until it is ready. Raises RuntimeError with the end of its log."""
        deadline = time.monotonic() + READY_WITHIN
        while not self._is_ready():
            ended = self._child is None or self._child.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(f"{self.name} {'ended' if ended else 'is not ready'}:\n{tail}")
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL to it and all it started, as when its machine is gone."""
        assert self._child
        self._child.kill()

    def close(self) -> None:
        """Bounded."""
        if self._child:
            self._child.stop(5)


def program(name: str, package: str, *folders: str) -> str:
    """Where it lies. Raises RuntimeError naming the package of Debian's that has it."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    if not found:
        raise RuntimeError(f"{name} is not installed: `apt-get install {package}`, or your system's package of it.")
    return found


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def postgres(folder: Path) -> tuple[Part, Callable[[str], str]]:
    """A PostgreSQL of the system, and the address of each of its databases. Its data survive it.

    That of the wheel other tests use lacks pg_trgm, without which Prefect cannot migrate.
    """
    debian = sorted(str(one) for one in Path("/usr/lib/postgresql").glob("*/bin"))
    binaries = Path(program("initdb", "postgresql", *reversed(debian))).resolve().parent
    data, port = folder / "postgres", free_port()
    data.mkdir()
    as_nobody: list[str] = []
    if os.geteuid() == 0:  # as root it refuses to run
        os.chown(data, 65534, 65534)
        as_nobody = [program("setpriv", "util-linux"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    subprocess.run(
        [*as_nobody, str(binaries / "initdb"), "--pgdata", str(data), "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"],
        check=True, capture_output=True, timeout=120, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip

    def address(database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/{database}"

    def is_ready() -> bool:
        try:
            psycopg.connect(address("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [*as_nobody, str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(data), "-c", "max_connections=200"]  # fmt: skip
    return Part("postgres", folder, command, {"PATH": os.environ["PATH"]}, is_ready), address


def redis(folder: Path) -> tuple[Part, str]:
    """Kept on disk as in the Compose file; and its address."""
    data, port = folder / "redis", free_port()
    data.mkdir()
    command = [
        program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--save", "",
        "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
    return Part(
        "redis", folder, command, {"PATH": os.environ["PATH"]}, lambda: listens(port)
    ), f"redis://127.0.0.1:{port}"


def shared_settings() -> dict[str, str]:
    """What the servers of the Compose file have."""
    lines = (COMPOSE / "prefect-server.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def server(name: str, folder: Path, environment: Mapping[str, str]) -> tuple[Part, int]:
    """A Prefect server with its services; and its port."""
    port = free_port()
    command = [str(ENVIRONMENT / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    own = {**environment, "PREFECT_HOME": str(folder / name), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    return Part(name, folder, command, own, lambda: is_healthy(port)), port


def is_healthy(port: int) -> bool:
    """Whether a Prefect server says so."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def proxy(folder: Path, servers: Sequence[int]) -> tuple[Part, int]:
    """The proxy of the Compose file, before these; and its port."""
    port, home = free_port(), folder / "nginx"
    home.mkdir()
    text = (COMPOSE / "nginx.conf").read_text(encoding="utf-8").replace("/tmp/", f"{home}/")
    for number, each in enumerate(servers, 1):
        text = text.replace(f"prefect-{number}:4200", f"127.0.0.1:{each}")
    config = home / "nginx.conf"
    config.write_text(text.replace("listen 4200", f"listen 127.0.0.1:{port}"), encoding="utf-8")
    command = [program("nginx", "nginx-light"), "-e", "stderr", "-c", str(config), "-g", "daemon off;"]
    return Part("proxy", folder, command, {"PATH": os.environ["PATH"]}, lambda: is_healthy(port)), port


def worker(name: str, folder: Path, environment: Mapping[str, str]) -> Part:
    """A process worker of our pool that takes four runs at once."""
    command = [str(ENVIRONMENT / "prefect"), "worker", "start", "--pool", "trainmaster", "--name", name, "--limit", "4"]
    own = {**environment, "PREFECT_HOME": str(folder / name)}
    return Part(name, folder, command, own, lambda: True)
