"""Two runs migrate many datasets at the same time, and are killed again and again: afterwards each is verified once in the catalogue, its
bytes in S3 are the source's, nothing was downloaded again but what was in flight, and nothing half is left. A table for people, and as the
last line one JSON object; the exit code says whether all of it held."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import boto3
from sqlalchemy import select

from benchmarks.soaking.audit import Findings
from benchmarks.soaking.cargo import load
from benchmarks.soaking.inspection import Places, inspect
from benchmarks.soaking.passage import Passage
from benchmarks.soaking.voyage import READING, Run, Voyage
from trainmaster.aws.clients import client_config
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.tables import dataset_copies
from trainmaster.embedded.launch import running
from trainmaster.storage.library import dataset_path
from trainmaster.storage.store import StorageProvider

USERS = 5
TOLD_EVERY = 10.0
FIRST = ["datasets", "verified_once", "kills", "downloads_beyond_those_in_flight", "orphan_uploads", "pending"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="given up after so many (default: by what is to do)")
    parser.add_argument("--keep", type=Path, help="folder to keep everything in, new or empty")
    asked = parser.parse_args()
    longest = 60 * (asked.minutes or 5 + asked.datasets / 200 + asked.kills / 5)
    with _folder(asked.keep) as kept, running(kept / "embedded") as environment:
        findings = soak(environment, kept, Ordered(asked.datasets, asked.kills, asked.seed, longest))
    report(findings)
    return 1 if findings.offenders else 0


@dataclass(frozen=True)
class Ordered:
    """How many datasets are moved and how often somebody is killed meanwhile, by which dice, and after how many seconds it is given up."""

    datasets: int
    kills: int
    seed: int
    longest: float


def soak(environment: Mapping[str, str], folder: Path, ordered: Ordered) -> Findings:
    """From loading the datasets to looking at what became of them."""
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=client_config(),
    )
    bucket = f"soak-{uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    own = {
        **environment,
        "TRAINMASTER_BUCKET": bucket,
        "TRAINMASTER_STATE_DIR": str(folder / "state"),
        "DATABASE_URL": "",
    }
    began, findings = time.monotonic(), Findings()
    with ExitStack() as stack:
        catalogue = open_catalogue(None, folder / "state")
        stack.callback(catalogue.close)
        crates = load(catalogue, environment, [uuid4() for _ in range(USERS)], ordered.datasets, ordered.seed)
        loaded = time.monotonic()
        runs = [Run(name, stack.enter_context(Passage(environment["SUPABASE_URL"]))) for name in ("one", "two")]
        voyage = Voyage(
            runs, own, folder, kills=ordered.kills, objects=ordered.datasets, seed=ordered.seed,
            catalogued=lambda: _at_s3(catalogue),
        )  # fmt: skip
        try:
            _sail(voyage, loaded + ordered.longest)
        finally:
            voyage.dismiss()
        for what in voyage.broken:
            findings.offend("runs", what)
        if not voyage.is_over:
            findings.offend("time", f"not done: {voyage.sentence()}")
        sailed = time.monotonic()
        inspect(crates, Places(catalogue, s3, bucket), _read(runs), voyage.lost, findings)
    if findings.counts["verified_once"] and voyage.counts["kills"] < ordered.kills:
        findings.offend(
            "kills", f"{voyage.counts['kills']} of {ordered.kills}: the work was done before the others were due"
        )
    findings.counts |= {
        "kills": voyage.counts["kills"],
        "lives": voyage.counts["lives"],
        "seconds_loading": round(loaded - began, 1),
        "seconds_migrating": round(sailed - loaded, 1),
    }
    return findings


def report(findings: Findings) -> None:
    counts = findings.counts
    for name, value in counts.items():
        print(f"{name.replace('_', ' '):<34} {value:>15,}")
    print("\nNot one invariant is broken." if not findings.offenders else "\nBroken:")
    for sentence in findings.sentences():
        print(sentence)
    print(json.dumps({name: counts[name] for name in [*FIRST, *sorted(counts.keys() - set(FIRST))]}))


def _sail(voyage: Voyage, until: float) -> None:
    told = time.monotonic()
    while not voyage.is_over and not voyage.broken and time.monotonic() < until:
        voyage.step()
        if time.monotonic() - told > TOLD_EVERY:
            told = time.monotonic()
            print(voyage.sentence(), file=sys.stderr, flush=True)


def _at_s3(catalogue: Catalogue) -> Set[str]:
    """Paths at the source of what is catalogued at the destination."""
    copy = dataset_copies.c
    with catalogue.database.reading() as connection:
        rows = connection.execute(select(copy.dataset_id, copy.path).where(copy.provider == StorageProvider.S3)).all()
    return {dataset_path(StorageProvider.SUPABASE, UUID(path.split("/")[0]), id_) for id_, path in rows}


def _read(runs: list[Run]) -> Counter[str]:
    read = Counter[str]()
    for run in runs:
        for path, size in run.passage.sent().items():
            if READING in path:
                read[path.partition(READING)[2]] += size
    return read


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="soak-migration-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


if __name__ == "__main__":
    sys.exit(main())
