"""Who copies: the commands of each engine, set for speed on the servers at hand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.migrating.ends import REGION, End, S3End, SupabaseEnd, written
from benchmarks.migrating.workloads import FOLDER, Made
from trainmaster.embedded import processes

BOUND = "loopback bound"
RCLONE = "rclone"
S5CMD = "s5cmd"
OURS = "trainmaster"
VOUCHED = "trainmaster, checksum known"
"""Of datasets that were uploaded through the library: their bytes are compared with that, not unpacked."""
CATALOGUED = "trainmaster, with catalogue"
PEERS = (RCLONE, S5CMD)
LARGE = 200 << 20
"""Bytes: from here on rclone uploads in parts."""

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


def engines_for(source: End) -> Sequence[str]:
    """Those that can copy from there: s5cmd speaks S3 only."""
    peers = PEERS if isinstance(source, S3End) else (RCLONE,)
    return (BOUND, *peers, OURS, VOUCHED)


def commands(engine: str, errand: Errand, tools: Tools) -> Commands:
    if engine == BOUND:
        return _bound(errand, tools.loopback)
    if engine == RCLONE:
        return _rclone(errand, tools.rclone)
    if engine == S5CMD:
        return _s5cmd(errand, tools.s5cmd)
    return _ours(engine, errand)


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


def _rclone(errand: Errand, rclone: Path) -> Commands:
    """Nothing compared, looked for or asked again; the source is listed once, over HTTP each object is asked its size."""
    source, destination = errand.source, errand.destination
    line = [
        str(rclone), "copy", "--config", "", "--transfers", "32", "--checkers", "64", "--no-traverse", "--no-check-dest",
        "--ignore-checksum", "--s3-no-check-bucket", "--s3-no-head-object", "--s3-disable-checksum", "--s3-use-unsigned-payload", "true",
        "--s3-chunk-size", "16M", "--s3-upload-concurrency", "4", "--buffer-size", "0", "--multi-thread-streams", "0",
    ]  # fmt: skip
    if max(each.size for each in errand.made) < LARGE:
        line += ["--s3-no-head"]  # after an upload in parts it would believe that nothing arrived
    if isinstance(source, S3End):
        from_where = [f"FROM:{source.bucket}/{FOLDER}", f"TO:{destination.bucket}/{FOLDER}"]
    else:
        files = errand.folder / "files"
        files.write_text("".join(f"{each.path}\n" for each in errand.made))
        from_where = ["FROM:", f"TO:{destination.bucket}", "--files-from-raw", str(files)]
    return Commands([[*line, *from_where]], _rclone_remote("FROM", source) | _rclone_remote("TO", destination))


def _rclone_remote(name: str, end: End) -> dict[str, str]:
    if isinstance(end, SupabaseEnd):
        options = {
            "TYPE": "http",
            "URL": f"{end.url}/storage/v1/object/authenticated/{end.bucket}/",
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
            [*line, "--endpoint-url", source.url, "--profile", "from", "cp", f"s3://{source.bucket}/{FOLDER}/*", f"{between}/"],
            [*line, "--endpoint-url", destination.url, "--profile", "to", "cp", f"{between}/*", f"s3://{destination.bucket}/{FOLDER}/"],
        ],
        {"AWS_REGION": REGION, "AWS_SHARED_CREDENTIALS_FILE": str(keys)},
    )  # fmt: skip


def _profile(name: str, end: S3End) -> str:
    return f"[{name}]\naws_access_key_id={end.access_key_id}\naws_secret_access_key={end.secret_access_key}\n"


def _ours(engine: str, errand: Errand) -> Commands:
    known = errand.made if engine == VOUCHED else [replace(each, sha256="") for each in errand.made]
    job = errand.folder / "job.json"
    ends = written(errand.source, errand.destination)
    job.write_text(json.dumps({"ends": ends, "made": [asdict(each) for each in known]}))
    return Commands([[sys.executable, "-m", "benchmarks.migrating.own", str(job)]])
