"""The servers on both sides, fresh for each workload, with all they keep in memory."""

from __future__ import annotations

import http.client
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from benchmarks.migrating.ends import REGION, End, S3End, SupabaseEnd
from benchmarks.migrating.workloads import Made
from trainmaster.embedded import processes
from trainmaster.embedded.launch import running
from trainmaster.embedded.seaweedfs import SeaweedFS
from trainmaster.embedded.state import State

SOURCE_BUCKET = "training-datasets"
_READY_WITHIN = 90.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Servers:
    """`source` holds the objects; `destination` is asked for a bucket of its own for every run."""

    source: End
    destination: S3End

    @contextmanager
    def emptied(self, name: str) -> Iterator[S3End]:
        """A destination with nothing in it that is ready to take something; gone afterwards, unless the whole benchmark ends."""
        end = replace(self.destination, bucket=name)
        s3 = end.client()
        s3.create_bucket(Bucket=name)
        # SeaweedFS makes a bucket's volumes when it is first written to.
        s3.put_object(Bucket=name, Key="first", Body=b"first")
        s3.delete_object(Bucket=name, Key="first")
        yield end
        empty(end)
        s3.delete_bucket(Bucket=name)


def empty(end: S3End) -> None:
    s3 = end.client()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=end.bucket):
        if found := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            s3.delete_objects(Bucket=end.bucket, Delete={"Objects": found, "Quiet": True})


@contextmanager
def seaweedfs_to_seaweedfs(folder: Path, origin: Path, made: Sequence[Made]) -> Iterator[Servers]:
    """Two processes of SeaweedFS."""
    with _seaweedfs(folder / "from") as source, _seaweedfs(folder / "to") as destination:
        _load_s3(source, origin, made)
        yield Servers(source, destination)


@contextmanager
def supabase_to_seaweedfs(folder: Path, origin: Path, made: Sequence[Made]) -> Iterator[Servers]:
    """The embedded Supabase, and a SeaweedFS beside that of the embedded AWS."""
    with running(folder / "embedded", stop_grace=1) as environment, _seaweedfs(folder / "to") as destination:
        source = SupabaseEnd(environment["SUPABASE_URL"], environment["SUPABASE_SERVICE_ROLE_KEY"], SOURCE_BUCKET)
        _load(made, lambda each: _upload(source, origin, each))
        yield Servers(source, destination)


@contextmanager
def rclone_to_rclone(folder: Path, origin: Path, made: Sequence[Made], *, rclone: Path) -> Iterator[Servers]:
    """Two processes of `rclone serve s3`, which check neither checksums nor whether an object is there already."""
    with _rclone(rclone, folder / "from") as source, _rclone(rclone, folder / "to") as destination:
        served = folder / "from" / "data" / SOURCE_BUCKET
        for each in made:
            (served / each.path).parent.mkdir(parents=True, exist_ok=True)
            (origin / each.path).rename(served / each.path)
        yield Servers(source, destination)


@contextmanager
def _seaweedfs(folder: Path) -> Iterator[S3End]:
    folder.mkdir()
    state = State(folder)
    credentials = state.credentials()
    server = SeaweedFS(state, credentials, None)
    try:
        server.wait_until_healthy(time.monotonic() + _READY_WITHIN)
        yield S3End(server.url, credentials.access_key_id, credentials.secret_access_key, SOURCE_BUCKET)
    finally:
        server.stop()


@contextmanager
def _rclone(rclone: Path, folder: Path) -> Iterator[S3End]:
    (folder / "data").mkdir(parents=True)
    port = State(folder).ports(["s3"], {})["s3"]
    end = S3End(f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20), SOURCE_BUCKET)
    # Without the limits a directory listed once would be believed for minutes.
    command = [
        str(rclone), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{end.access_key_id},{end.secret_access_key}",
        "--config", "/dev/null", "--dir-cache-time", "1s", str(folder / "data"),
    ]  # fmt: skip
    with (folder / "rclone.log").open("wb") as log:
        child = processes.start(command, stdout=log, stderr=log)
    try:
        _wait(end.url, child)
        yield end
    finally:
        child.kill()


def _wait(url: str, child: processes.Child) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    address = urlsplit(url)
    while True:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


def _load_s3(end: S3End, origin: Path, made: Sequence[Made]) -> None:
    end.client().create_bucket(Bucket=end.bucket)
    store = S3Store(
        end.bucket, endpoint=end.url, region=REGION, access_key_id=end.access_key_id,
        secret_access_key=end.secret_access_key, client_options={"allow_http": True, "timeout": "300s"},
    )  # fmt: skip
    _load(made, lambda each: obstore.put(store, each.path, origin / each.path, chunk_size=16 << 20, max_concurrency=2))


def _load(made: Sequence[Made], put: Callable[[Made], object]) -> None:
    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(put, made):
            pass


def _upload(end: SupabaseEnd, origin: Path, each: Made) -> None:
    address = urlsplit(end.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=300, blocksize=_BLOCK)
    try:
        with (origin / each.path).open("rb") as file:
            headers = {"Authorization": f"Bearer {end.key}", "apikey": end.key, "Content-Type": "application/gzip"}
            headers["Content-Length"] = str(each.size)
            connection.request("POST", f"/storage/v1/object/{end.bucket}/{each.path}", file, headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise RuntimeError(
                    f"The embedded Supabase did not take {each.path}: {answer.status} {answer.read()[:200]!r}"
                )
    finally:
        connection.close()


def version_of(rclone: Path) -> str:
    return subprocess.run([rclone, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
