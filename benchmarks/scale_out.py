"""A migration that outgrows one machine: the same flow in one process, on a Dask cluster of three worker processes, and as three runs.

All is real but the cloud: the embedded Supabase and S3, a Prefect server, the catalogue in SQLite, processes of their own. Between the
workers and Supabase stands a proxy that counts how often each dataset is fetched: once, whoever does it. Three processes on one
machine share its cores, so this shows that nothing is done twice and that all take part, more than it shows speed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
from sqlalchemy import func, insert, select

from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.tables import dataset_copies, pending_objects, training_datasets
from trainmaster.embedded import launch
from trainmaster.prefect_server import PrefectServer
from trainmaster.storage.library import dataset_path
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import SUPABASE_BUCKET

WORKERS = 3
DATASETS, KILOBYTES = 300, 20
WITHIN = 600
RUN = """
import sys
from flows.migrate_datasets import migrate_datasets
from trainmaster.migration.request import MigrateDatasetsRequest
if __name__ == "__main__":  # which a process of Dask's imports as well
    print(migrate_datasets(MigrateDatasetsRequest.model_validate_json(sys.argv[1])).model_dump_json())
"""
WAYS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "one process, three threads": [{"workers": WORKERS}],
    "Dask, three processes": [{"workers": WORKERS, "task_runner": "dask"}],
    "three runs, a process each": [{"workers": 1}] * WORKERS,
}
"""What each run of a way is asked for; they begin at once."""
_FETCHED = re.compile(rb"GET /storage/v1/object/(?:authenticated/)?" + SUPABASE_BUCKET.encode() + rb"/([^? ]+)")


@dataclass(frozen=True)
class Measured:
    """One way to copy: what the runs say, how often datasets were fetched, and how many processes took part."""

    way: str
    datasets: int
    copied: int
    failed: int
    fetches: int
    fetched_twice: int
    workers: int
    seconds: float
    megabytes_per_second: float
    datasets_per_second: float


class CountingProxy:
    """Passes bytes on to `upstream`, objects once `gate` is open, and counts how often each is asked for. GETs have no bodies."""

    def __init__(self, upstream: str, gate: threading.Event | None = None) -> None:
        target, self._gate = urlsplit(upstream), gate
        self._target = (target.hostname, target.port)
        self._lock, self.fetched = threading.Lock(), Counter[str]()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CountingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            for source, sink, asks in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, asks), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        said = b""
        with suppress(OSError), source:
            while piece := source.recv(1 << 16):
                if asks:
                    whole, _, said = (said + piece).rpartition(b"\r\n\r\n")
                    self._count(_FETCHED.findall(whole))
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def _count(self, paths: Sequence[bytes]) -> None:
        with self._lock:
            self.fetched.update(path.decode() for path in paths)
        if paths and self._gate:
            self._gate.wait(WITHIN)


def stock(environment: Mapping[str, str], state_dir: Path, count: int, size: int) -> UUID:
    """So many datasets of so many bytes in Supabase, of a user that is made up, with rows as the application writes them."""
    user, dice = uuid4(), random.Random(7)  # noqa: S311 - only to be incompressible
    ids = [uuid4() for _ in range(count)]
    paths = [dataset_path(StorageProvider.SUPABASE, user, id_) for id_ in ids]
    packed = [gzip.compress(dice.randbytes(size), 0) for _ in ids]
    key = environment["SUPABASE_SERVICE_ROLE_KEY"]
    base = f"{environment['SUPABASE_URL']}/storage/v1/object/{SUPABASE_BUCKET}/"
    headers = {"Authorization": f"Bearer {key}", "apikey": key, "Content-Type": "application/gzip"}
    with httpx.Client(base_url=base, headers=headers, timeout=60) as supabase, ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda path, data: supabase.post(path, content=data), paths, packed):
            answer.raise_for_status()
    now = datetime.now(UTC)
    rows = [
        {
            "id": id_, "user_id": user, "name": f"dataset {number}", "format": "jsonl", "storage_provider": "supabase",
            "storage_path": path, "file_size_bytes": len(data), "created_at": now, "updated_at": now,
        }
        for number, (id_, path, data) in enumerate(zip(ids, paths, packed, strict=True))
    ]  # fmt: skip
    with catalogue_in(state_dir) as catalogue, catalogue.database.writing() as connection:
        connection.execute(insert(training_datasets), rows)
    return user


def measure(environment: Mapping[str, str], way: str, datasets: int, size: int) -> Measured:
    """So many datasets copied in one of the `WAYS`; `environment` is what a run needs, the Prefect server's included.

    Supabase answers once three batches are held: what takes long to start takes part as well, and its start is not measured.
    """
    state_dir = Path(environment["TRAINMASTER_STATE_DIR"])
    user = stock(environment, state_dir, datasets, size)
    with (
        catalogue_in(state_dir) as catalogue,
        CountingProxy(environment["SUPABASE_URL"], gate := threading.Event()) as proxy,
    ):
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", RUN, json.dumps({"user_id": str(user), **asked})],
                env={**os.environ, **environment, "SUPABASE_URL": proxy.url}, stdout=subprocess.PIPE, text=True,
            )
            for asked in WAYS[way]
        ]  # fmt: skip
        opened = _open_when_all_hold_some(gate, catalogue, user, runs)
        results = [_result_of(run) for run in runs]
        copies = copies_of(catalogue, user)
    seconds = (max(ended for _, ended in copies) - opened).total_seconds()
    copied = sum(one["copied"] for one in results)
    fetched = [count for path, count in proxy.fetched.items() if path.startswith(f"{user}/")]
    return Measured(
        way=way,
        datasets=datasets,
        copied=copied,
        failed=sum(sum(one["failed"].values()) for one in results),
        fetches=sum(fetched),
        fetched_twice=sum(count > 1 for count in fetched),
        workers=len({process for process, _ in copies}),
        seconds=round(seconds, 2),
        megabytes_per_second=round(sum(one["bytes"] for one in results) / 1e6 / seconds, 2),
        datasets_per_second=round(copied / seconds, 1),
    )


def _open_when_all_hold_some(
    gate: threading.Event, catalogue: Catalogue, user: UUID, runs: Sequence[subprocess.Popen[str]]
) -> datetime:
    column, deadline = pending_objects.c, time.monotonic() + WITHIN
    holders = select(func.count(column.holder.distinct())).where(column.user_id == user)
    while True:
        with catalogue.database.reading() as connection:
            if connection.execute(holders).scalar_one() >= WORKERS:
                break
        if time.monotonic() > deadline or any(run.poll() is not None for run in runs):
            raise RuntimeError(f"fewer than {WORKERS} batches were ever at work; the log of the runs is above")
        time.sleep(0.05)
    gate.set()
    return datetime.now(UTC)


def copies_of(catalogue: Catalogue, user: UUID) -> list[tuple[str, datetime]]:
    """Of each of a user's copies in S3, which process made it, and when it was verified."""
    column = dataset_copies.c
    of_user = column.dataset_id.in_(select(training_datasets.c.id).where(training_datasets.c.user_id == user))
    with catalogue.database.reading() as connection:
        rows = connection.execute(
            select(column.verified_by, column.verified_at).where(of_user, column.provider == "s3")
        )
        return [(by.rpartition(" on ")[2], at) for by, at in rows]


@contextmanager
def catalogue_in(state_dir: Path) -> Iterator[Catalogue]:
    """The one in SQLite."""
    catalogue = open_catalogue(None, state_dir)
    try:
        yield catalogue
    finally:
        catalogue.close()


def _result_of(run: subprocess.Popen[str]) -> dict[str, Any]:
    said = run.communicate(timeout=WITHIN)[0]
    if run.returncode:
        raise RuntimeError(f"a run ended with code {run.returncode}; its log is above")
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


@contextmanager
def stack(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of an embedded AWS, Supabase and Prefect server that live as long as the block."""
    with ExitStack() as opened:
        server = PrefectServer(folder)
        opened.callback(server.close)
        aws = opened.enter_context(launch.running(folder / "state"))
        server.wait_until_healthy()
        yield {**aws, **server.environment, "PREFECT_LOGGING_LEVEL": "WARNING"}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--datasets", type=int, default=DATASETS, help="of each way (default %(default)s)")
    options.add_argument("--kilobytes", type=int, default=KILOBYTES, help="of each dataset (default %(default)s)")
    given = options.parse_args()
    temporary = tempfile.TemporaryDirectory(prefix="bench-scale-out-", ignore_cleanup_errors=True)
    with temporary as folder, stack(Path(folder)) as environment:
        measured = []
        for way in WAYS:
            print(f"{way} …", file=sys.stderr, flush=True)
            measured.append(measure(environment, way, given.datasets, given.kilobytes * 1000))
    print_table(measured)
    return 0


def print_table(measured: Sequence[Measured]) -> None:
    columns = ("datasets", "copied", "failed", "fetches", "twice", "workers", "seconds", "MB/s", "datasets/s")
    print(f"\n{'':<28}" + "".join(f"{name:>12}" for name in columns))
    for one in measured:
        way, *figures = asdict(one).values()
        print(f"{way:<28}" + "".join(f"{figure:>12,}" for figure in figures))
    ways = {one.way: {name: figure for name, figure in asdict(one).items() if name != "way"} for one in measured}
    print(json.dumps({"cores": os.cpu_count(), "ways": ways}))


if __name__ == "__main__":
    sys.exit(main())
