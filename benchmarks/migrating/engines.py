"""Who copies: the commands of each engine, set for speed on the servers at hand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from benchmarks.migrating.ends import REGION, End, S3End, SupabaseEnd, written
from benchmarks.migrating.workloads import FROM, TO, USER, Made
from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.catalog.tables import training_datasets
from trainmaster.embedded import processes

BOUND = "loopback bound"
RCLONE = "rclone"
ONE_STREAM = "rclone, one stream"
"""Large objects by one request each, which costs it a quarter of the processor, and time wherever one stream is slow."""
S5CMD = "s5cmd"
OURS = "trainmaster"
VOUCHED = "trainmaster, checksum known"
"""Of datasets that were uploaded through the library: their bytes are compared with that, not unpacked."""
CATALOGUED = "trainmaster, with catalogue"
PEERS = (RCLONE, ONE_STREAM, S5CMD)
OWN = (OURS, VOUCHED, CATALOGUED)
LARGE = 32 << 20
"""Bytes: from here on rclone is to copy an object by several streams at once."""

_HERE = Path(__file__).parent
_PLAIN = (sys.executable, "-I", "-S")


@dataclass(frozen=True)
class Errand:
    """Everything of a source to an empty bucket. `folder` is empty, and for what an engine keeps while it runs."""

    made: Sequence[Made]
    source: End
    destination: S3End
    folder: Path


@dataclass(frozen=True)
class Tools:
    """Where the programs of the peers are, and the ports of what gives and takes for the bound."""

    rclone: Path
    s5cmd: Path
    loopback: tuple[str, str]


@dataclass(frozen=True)
class Commands:
    """To be run one after the other. Keys are in the environment or in files, never in a line anybody could see."""

    lines: Sequence[Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def engines_for(source: End, made: Sequence[Made]) -> Sequence[str]:
    """Those that can copy from there, and differ for objects of that size: s5cmd speaks S3 only, one row of ours knows Supabase only."""
    peers = [RCLONE, *([ONE_STREAM] if _are_large(made) else []), *([S5CMD] if isinstance(source, S3End) else [])]
    return [BOUND, *peers, OURS, VOUCHED, *([CATALOGUED] if isinstance(source, SupabaseEnd) else [])]


def commands(engine: str, errand: Errand, tools: Tools) -> Commands:
    if engine == BOUND:
        return _bound(errand, tools.loopback)
    if engine in (RCLONE, ONE_STREAM):
        return _rclone(errand, tools.rclone, streams=4 if engine == RCLONE else 0)
    if engine == S5CMD:
        return _s5cmd(errand, tools.s5cmd)
    if engine == CATALOGUED:
        return _catalogued(errand)
    return _ours(errand, checksums_known=engine == VOUCHED)


@contextmanager
def loopback(folder: Path) -> Iterator[tuple[str, str]]:
    """What gives and what takes, for the bound; their ports."""
    with ExitStack() as stack:
        said = [folder / f"loopback-{role}" for role in ("give", "take")]
        for role, file in zip(("give", "take"), said, strict=True):
            with file.open("wb") as output:
                child = processes.start([*_PLAIN, str(_HERE / "loopback.py"), role], stdout=output)
            stack.callback(child.kill)
        deadline = time.monotonic() + 30
        while not all(file.read_text().endswith("\n") for file in said):
            if time.monotonic() > deadline:
                raise TimeoutError("What gives and takes for the loopback bound did not start.")
            time.sleep(0.02)
        yield said[0].read_text().strip(), said[1].read_text().strip()


def _bound(errand: Errand, ports: tuple[str, str]) -> Commands:
    sizes = errand.folder / "sizes.json"
    sizes.write_text(json.dumps([each.size for each in errand.made]))
    return Commands([[*_PLAIN, str(_HERE / "loopback.py"), "copy", *ports, str(sizes)]])


def _rclone(errand: Errand, rclone: Path, *, streams: int) -> Commands:
    """Nothing compared, looked for or asked again; the source is listed once, over HTTP each object is asked its size."""
    source, destination = errand.source, errand.destination
    line = [
        str(rclone), "copy", "--config", "", "--transfers", "32", "--checkers", "64", "--no-traverse", "--no-check-dest",
        "--ignore-checksum", "--s3-no-check-bucket", "--s3-disable-checksum", "--s3-use-unsigned-payload", "true", "--buffer-size", "0",
        "--s3-chunk-size", "16M", "--s3-upload-concurrency", "4", "--s3-upload-cutoff", "4G",
        "--multi-thread-streams", str(streams), "--multi-thread-cutoff", f"{LARGE}B",
    ]  # fmt: skip
    if not (streams and _are_large(errand.made)):
        line += [
            "--s3-no-head",
            "--s3-no-head-object",
        ]  # after an upload by several streams it would believe that nothing arrived
    if isinstance(source, S3End):
        from_where = [f"FROM:{source.bucket}/{FROM}", f"TO:{destination.bucket}/{TO}"]
    else:
        files = errand.folder / "files"
        files.write_text("".join(f"{each.id}.jsonl.gz\n" for each in errand.made))
        from_where = ["FROM:", f"TO:{destination.bucket}/{TO}", "--files-from-raw", str(files)]
    return Commands([[*line, *from_where]], _rclone_remote("FROM", source) | _rclone_remote("TO", destination))


def _are_large(made: Sequence[Made]) -> bool:
    return max(each.size for each in made) >= LARGE


def _rclone_remote(name: str, end: End) -> dict[str, str]:
    if isinstance(end, SupabaseEnd):
        options = {
            "TYPE": "http",
            "URL": f"{end.url}/storage/v1/object/authenticated/{end.bucket}/{FROM}/",
            "HEADERS": f"Authorization,Bearer {end.key},apikey,{end.key}",
        }
    else:
        options = {
            "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": end.url, "REGION": REGION,
            "ACCESS_KEY_ID": end.access_key_id, "SECRET_ACCESS_KEY": end.secret_access_key,
        }  # fmt: skip
    return {f"RCLONE_CONFIG_{name}_{option}": value for option, value in options.items()}


def _s5cmd(errand: Errand, s5cmd: Path) -> Commands:
    """It copies between an endpoint and files, so everything rests in files, in memory, for a while."""
    source, destination = errand.source, errand.destination
    assert isinstance(source, S3End)  # noqa: S101 - see engines_for
    between, keys = errand.folder / "between", errand.folder / "keys"
    between.mkdir()
    keys.write_text(_profile("from", source) + _profile("to", destination))
    line = [str(s5cmd), "--log", "error", "--numworkers", "64"]
    return Commands(
        [
            [*line, "--endpoint-url", source.url, "--profile", "from", "cp", f"s3://{source.bucket}/{FROM}/*", f"{between}/"],
            [*line, "--endpoint-url", destination.url, "--profile", "to", "cp", f"{between}/*", f"s3://{destination.bucket}/{TO}/"],
        ],
        {"AWS_REGION": REGION, "AWS_SHARED_CREDENTIALS_FILE": str(keys)},
    )  # fmt: skip


def _profile(name: str, end: S3End) -> str:
    return f"[{name}]\naws_access_key_id={end.access_key_id}\naws_secret_access_key={end.secret_access_key}\n"


def _ours(errand: Errand, *, checksums_known: bool) -> Commands:
    job = errand.folder / "job.json"
    transfers = [
        [each.path, each.copy_path, each.size, each.sha256 if checksums_known else None] for each in errand.made
    ]
    job.write_text(json.dumps({"ends": written(errand.source, errand.destination), "transfers": transfers}))
    return Commands([[sys.executable, "-m", "benchmarks.migrating.own", str(job)]])


def _catalogued(errand: Errand) -> Commands:
    """As a scheduled run copies, but for Prefect: from rows of the catalogue to rows of the catalogue."""
    source, destination = errand.source, errand.destination
    assert isinstance(source, SupabaseEnd)  # noqa: S101 - see engines_for
    now = datetime.now(UTC)
    rows = [
        {
            "id": each.id, "user_id": USER, "name": f"dataset {each.id}", "format": "jsonl", "storage_provider": "supabase",
            "storage_path": each.path, "file_size_bytes": each.size, "created_at": now, "updated_at": now,
        }
        for each in errand.made
    ]  # fmt: skip
    with closing(open_catalogue(None, errand.folder)) as catalogue, catalogue.database.writing() as connection:
        connection.execute(insert(training_datasets), rows)
    return Commands(
        [[sys.executable, "-m", "benchmarks.migrating.own_with_catalogue", str(len(rows))]],
        {
            "TRAINMASTER_STATE_DIR": str(errand.folder), "DATABASE_URL": "", "SUPABASE_URL": source.url,
            "SUPABASE_SERVICE_ROLE_KEY": source.key, "TRAINMASTER_DATASET_BUCKET": destination.bucket,
            "AWS_ENDPOINT_URL": destination.url, "AWS_ENDPOINT_URL_S3": destination.url, "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": destination.access_key_id, "AWS_SECRET_ACCESS_KEY": destination.secret_access_key,
        },
    )  # fmt: skip
