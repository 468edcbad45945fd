"""What must be right when a migration's soak has ended: in the catalogue, in S3, and of what was read at the source."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from benchmarks.soaking.audit import Findings
from benchmarks.soaking.cargo import PART, Crate
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import (
    dataset_copies,
    dataset_hindrances,
    dataset_moves,
    pending_objects,
    training_datasets,
)

READS_AT_ONCE = 8


@dataclass(frozen=True)
class Places:
    """Where the cargo went: the catalogue, and a bucket that nothing else is in."""

    catalogue: Catalogue
    s3: Any
    bucket: str


def inspect(
    crates: Sequence[Crate], places: Places, read: Mapping[str, int], lost: Mapping[str, int], findings: Findings
) -> None:
    """Everything. `read` is how many bytes of each path were read at the source, `lost` how often a kill came between."""
    _rows(crates, places, findings)
    _objects(crates, places, findings)
    _downloads(crates, read, lost, findings)


def _rows(crates: Sequence[Crate], places: Places, findings: Findings) -> None:
    """Each dataset verified once, where readers are sent unchanged, nothing pending and nothing held against any."""
    with places.catalogue.database.reading() as connection:
        datasets = {row["id"]: row for row in _all(connection, training_datasets)}
        pending, hindrances = _all(connection, pending_objects), _all(connection, dataset_hindrances)
        copies, moves = defaultdict(list), defaultdict(list)
        for row in _all(connection, dataset_copies):
            copies[row["dataset_id"]].append(row)
        for row in _all(connection, dataset_moves):
            moves[row["dataset_id"]].append(row)
    verified = 0
    for crate in crates:
        at_s3 = [copy for copy in copies[crate.id] if copy["provider"] == "s3"]
        told = [(copy["path"], copy["size_bytes"], copy["sha256"]) for copy in at_s3]
        if told == [(crate.at_destination, crate.size, crate.sha256)] and at_s3[0]["verified_at"]:
            verified += 1
        else:
            findings.offend("copies", f"{crate.id}: {told}, not {crate.size} bytes with {crate.sha256}")
        if any((copy["size_bytes"], copy["sha256"]) != (crate.size, crate.sha256) for copy in copies[crate.id]):
            findings.offend("copies", f"{crate.id}: its copies differ")
        if [move["phase"] for move in moves[crate.id]] != ["copy"]:
            findings.offend("moves", f"{crate.id}: {[(move['phase'], move['by']) for move in moves[crate.id]]}")
        row = datasets[crate.id]
        if (row["storage_provider"], row["storage_path"]) != ("supabase", crate.at_source):
            findings.offend("rows", f"{crate.id} is said to be at {row['storage_provider']}://{row['storage_path']}")
    for row in pending:
        findings.offend("pending", f"{row['path']} held by {row['holder']} until {row['lease_until']}")
    for row in hindrances:
        findings.offend("hindrances", f"{row['dataset_id']}: {row['kind']}, {row['reason']}")
    findings.counts |= {"datasets": len(crates), "verified_once": verified, "pending": len(pending)}


def _objects(crates: Sequence[Crate], places: Places, findings: Findings) -> None:
    """The bytes of each, as they were at the source, and nothing besides them: no object, no upload."""

    def held(crate: Crate) -> tuple[int, str]:
        try:
            body = places.s3.get_object(Bucket=places.bucket, Key=crate.at_destination)["Body"].read()
        except places.s3.exceptions.NoSuchKey:
            return 0, ""
        return len(body), hashlib.sha256(body).hexdigest()

    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        for crate, found in zip(crates, threads.map(held, crates), strict=True):
            if found != (crate.size, crate.sha256):
                findings.offend("bytes", f"{crate.at_destination} is {found}, not {(crate.size, crate.sha256)}")
    strays = set(_keys(places)) - {crate.at_destination for crate in crates}
    uploads = places.s3.list_multipart_uploads(Bucket=places.bucket).get("Uploads", [])
    for key in strays:
        findings.offend("objects", f"no row vouches for {key}")
    for upload in uploads:
        findings.offend("uploads", f"{upload['Key']} was begun {upload['Initiated']}")
    findings.counts |= {"stray_objects": len(strays), "orphan_uploads": len(uploads)}


def _downloads(crates: Sequence[Crate], read: Mapping[str, int], lost: Mapping[str, int], findings: Findings) -> None:
    """Each once, and once more at most for each kill that came while it was being read or was not yet catalogued."""
    beyond, again, most = 0, 0, Counter[str]()
    for crate in crates:
        extra = read.get(crate.at_source, 0) - crate.size
        again += max(extra, 0)
        most[crate.at_source] = crate.size * lost.get(crate.at_source, 0)
        if extra > most[crate.at_source]:
            beyond += 1
            said = f"{extra} bytes more than its {crate.size}; {lost.get(crate.at_source, 0)} kills came between"
            findings.offend("downloads", f"{crate.at_source}: {said}")
        elif extra < 0:
            findings.offend("downloads", f"{crate.at_source}: {-extra} of its {crate.size} bytes were never read")
    findings.counts |= {
        "bytes": sum(crate.size for crate in crates),
        "of_several_parts": sum(crate.size > PART for crate in crates),
        "bytes_read_again": again,
        "bytes_in_flight_at_kills": sum(most.values()),
        "downloads_beyond_those_in_flight": beyond,
    }


def _all(connection: Connection, table: Table) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(select(table))]


def _keys(places: Places) -> Iterator[str]:
    for page in places.s3.get_paginator("list_objects_v2").paginate(Bucket=places.bucket):
        yield from (found["Key"] for found in page.get("Contents", []))
