"""S3 by SeaweedFS: a child process that keeps objects durably on disk and checks signatures."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from trainmaster.embedded import processes
from trainmaster.embedded.state import Credentials, State

_SIGNING = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
PORTS = ("s3", "s3.grpc", "filer", "filer.grpc", "volume", "volume.grpc", "master", "master.grpc")


class NotHealthyError(Exception):
    """Raised when SeaweedFS ended or did not become ready; the message holds the end of its log."""


class SeaweedFS:
    """A running SeaweedFS. Objects survive its end, by SIGKILL too: it hands every write to the kernel first."""

    def __init__(self, state: State, credentials: Credentials, port: int | None) -> None:
        self._state, self._credentials = state, credentials
        self._folder = state.folder.resolve() / "s3"
        self._log = self._folder / "seaweedfs.log"
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        self._ports = state.ports(PORTS, {"s3": port})
        self._remove_sockets()  # left by one that was killed
        self._child = self._start(credentials)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def wait_until_healthy(self, deadline: float) -> None:
        """Returns once it answers; `deadline` is a time.monotonic(). Raises NotHealthyError."""
        while not self._answers():
            if self._lost_a_port():
                self._choose_others()
            self.check()
            if time.monotonic() > deadline:
                raise NotHealthyError(f"SeaweedFS did not become ready in time. {self._end_of_log()}")
            time.sleep(0.02)

    def check(self) -> None:
        """Raises NotHealthyError when it has ended."""
        if (code := self._child.poll()) is not None:
            raise NotHealthyError(f"SeaweedFS ended with exit code {code}. {self._end_of_log()}")

    def stop(self) -> None:
        """End it at once: asked politely it takes 25 seconds, and has nothing to save."""
        self._child.kill()
        self._remove_sockets()

    def _lost_a_port(self) -> bool:
        """Whether it ended since another program took one of its ports between their choice and now."""
        return self._child.poll() is not None and "already in use" in self._log.read_text(errors="replace")

    def _choose_others(self) -> None:
        """Start it on ports that are free now; that of S3, which others know by now, is kept or never."""
        self._remove_sockets()
        self._ports = self._state.ports(PORTS, {"s3": self._ports["s3"]})
        self._child = self._start(self._credentials)

    def _remove_sockets(self) -> None:
        for name, port in self._ports.items():
            for socket in Path("/tmp").glob(f"seaweedfs-{name.replace('.', '-')}-{port}.sock"):  # noqa: S108 — its choice
                with suppress(OSError):
                    socket.unlink()

    def _start(self, credentials: Credentials) -> processes.Child:
        config = self._folder / "identities.json"
        identity = {
            "name": "trainmaster",
            "credentials": [{"accessKey": credentials.access_key_id, "secretKey": credentials.secret_access_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"identities": [identity]}, file)
        weed = Path(sys.executable).with_name("weed")
        ports = self._ports
        command = [
            str(weed), "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-disableHttp",  # of filer and master, which would serve and delete objects for anybody
            f"-dir={self._folder / 'data'}",
            f"-master.port={ports['master']}", f"-master.port.grpc={ports['master.grpc']}",
            f"-volume.port={ports['volume']}", f"-volume.port.grpc={ports['volume.grpc']}",
            "-filer", f"-filer.port={ports['filer']}", f"-filer.port.grpc={ports['filer.grpc']}",
            "-s3", f"-s3.port={ports['s3']}", f"-s3.port.grpc={ports['s3.grpc']}", f"-s3.config={config}",
            "-s3.autoCreateBucket=false",  # AWS does not either
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            "-master.peers=none",  # alone, so that it need not wait 1.5 s or more for others to elect it
            # A bucket takes volumes of its own: small ones, and few to begin with, let thousands of buckets fit.
            "-master.volumeSizeLimitMB=64", "-volume.max=10000",
        ]  # fmt: skip
        # Without the limit an upload of some hundred megabytes leaves Go holding a gigabyte.
        environment = os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "2", "GOMEMLIMIT": "300MiB"}
        # What S3 alone can sign: volumes, and whatever the filer answers, give and take nothing without it.
        environment |= {f"WEED_JWT_{name}_KEY": secrets.token_urlsafe(32) for name in _SIGNING}
        with self._log.open("wb") as log:
            return processes.start(command, env=environment, cwd=self._folder, stdout=log, stderr=log)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["s3"], timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _end_of_log(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"The end of {self._log}:", *lines])
