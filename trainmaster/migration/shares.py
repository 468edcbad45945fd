"""What each of several copies at work at once may take of what they have in common."""

from __future__ import annotations

from dataclasses import replace

from trainmaster.storage.copy import CopyLimits

LEAST_IN_FLIGHT, LEAST_PART = 32 << 20, 5 << 20
"""Bytes. Of a multipart upload all parts but the last have at least 5 MiB (AWS, "Amazon S3 multipart upload limits")."""


def shared(limits: CopyLimits, among: int) -> CopyLimits:
    """What each of so many may take of bandwidth, memory and requests at once; each gets enough for one large object."""
    if among == 1:
        return limits
    in_flight = max(limits.in_flight_bytes // among, LEAST_IN_FLIGHT)
    return replace(
        limits,
        in_flight_bytes=in_flight,
        most_at_once=max(limits.most_at_once // among, 1),
        first_at_once=max(limits.first_at_once // among, 1),
        large_at_once=max(limits.large_at_once // among, 1),
        part_bytes=min(limits.part_bytes, max(in_flight // 4, LEAST_PART)),
        bytes_per_second=max(limits.bytes_per_second // among, 1) if limits.bytes_per_second else None,
    )
