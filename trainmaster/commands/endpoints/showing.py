"""Endpoints in words and in JSON, as `trainmaster endpoints` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic_core import to_jsonable_python

from trainmaster.budget.money import shown
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.endpoints import results
from trainmaster.endpoints.results import ServedModel
from trainmaster.endpoints.seen import SeenEndpoint, Serving, Version
from trainmaster.plain_words import printable

_SHORT = 12  # of a SHA-256


def listed(endpoints: Iterable[SeenEndpoint]) -> Iterator[str]:
    """A table; the endpoint's name, which may be long, comes last."""
    rows = [
        (
            f"{one.changed_at:%Y-%m-%d %H:%M}",
            one.status,
            _rate(one),
            one.variants[0].machines if one.variants else "",
            f"{one.expires:%Y-%m-%d %H:%M}" if one.expires else "",
            printable(one.name),
        )
        for one in endpoints
    ]
    return table([("CHANGED (UTC)", "STATUS", "AN HOUR", "MACHINES", "UNTIL (UTC)", "ENDPOINT"), *rows], frozenset({2}))


def of_endpoint(one: SeenEndpoint, versions: Sequence[Version], url: str) -> Iterator[str]:
    """Everything worth knowing of an endpoint, and where its public API is; what nobody knows is left out."""
    yield f"Endpoint {one.name}: {one.status}."
    yield from labelled(
        {
            "config": one.config,
            "why": one.failure,
            "created": _at(one.created_at),
            "changed": _at(one.changed_at),
            "deployed": _at(one.version.deployed_at),
            "proof": one.version.proof,
            "cost": f"{_rate(one)} an hour" if one.hourly is not None else _rate(one),
            "until": _at(one.expires),
            "when idle": f"{one.idle_minutes} minutes without a call: {one.when_over}" if one.idle_minutes else "",
            "captured": one.capture_uri,
            "public": f"POST {url}" if url else "",
            "package": one.version.package,
        }
    )
    for variant in one.variants:
        yield from labelled({variant.variant[:11]: _variant(variant)})
    kept = [version for version in versions if version.config != one.config]
    if kept:
        yield ""
        yield from table([("DEPLOYED (UTC)", "PROOF", "SHA-256", "KEPT VERSION"), *map(_version_row, kept)])
        if any(version.is_proven for version in kept):
            yield f"Back to a proven one of these: trainmaster endpoints rollback {one.name} --to VERSION"


def facts_of_endpoint(one: SeenEndpoint) -> dict[str, Any]:
    """Of an endpoint for machines. Money is text, with every digit."""
    found: dict[str, Any] = to_jsonable_python({**asdict(one), "hourly": _exact(one.hourly)})
    return found


def deployed(served: ServedModel) -> Iterator[str]:
    """What serves now, what it answered, and what to do with it."""
    tested = served.smoke_test
    yield served.sentence()
    yield from labelled(
        {
            "config": served.config_name,
            "artifact": served.model_uri,
            "steps": f"{len(served.steps)} taken" if served.steps else "none needed, it served this already",
            "asked": results.listed(tested.inputs),
            "answered": results.listed(tested.answer),
            "latency": f"{min(tested.milliseconds)} ms",
            "agreement": tested.agreement.sentence(),
            "ask it": f"trainmaster endpoints invoke {served.endpoint_name} --example",
            "remove it": f"trainmaster endpoints remove {served.endpoint_name} --yes",
        }
    )


def _variant(one: Serving) -> str:
    share = f"{one.share:.0%} of the traffic" if one.share else "a copy of the traffic"
    return f"{share} on {one.machines}: {one.model_uri or one.model}"


def _version_row(one: Version) -> tuple[str, ...]:
    at = f"{one.deployed_at:%Y-%m-%d %H:%M}" if one.deployed_at else ""
    return (at, one.proof, one.sha256[:_SHORT], one.config)


def _rate(one: SeenEndpoint) -> str:
    if one.hourly is not None:
        return shown(one.hourly)
    return "by use" if any(not variant.instance_type for variant in one.variants) else "not known"


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
