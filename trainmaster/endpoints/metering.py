"""What endpoints cost by the hour, in the books: reserved before they are made, billed until they are found gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Reservation
from trainmaster.budget.entries import NOTHING
from trainmaster.budget.metering import Looked, Meter, Metered, Meters, Reading
from trainmaster.budget.money import shown
from trainmaster.budget.serverless import serverless_price
from trainmaster.endpoints.deploying import Found, find_config, find_endpoint, tags_of
from trainmaster.endpoints.plan import SETTLING, Desired
from trainmaster.endpoints.rates import instances_in, memory_in, most_hourly, running, running_hourly
from trainmaster.endpoints.watch.usage import LATE, Used, used
from trainmaster.errors import NotConfiguredError, TrainmasterError, UnknownPriceError
from trainmaster.training.desk import Desk

Finding = Literal["metered", "reserved", "settled", "adopted", "ended", "released", "exhausted", "waiting", "failed"]
"""Reserved, settled: its next or last hours, just now. Adopted: it runs on a configuration nobody reserved hours for. Ended: it is
gone, and billed until now. Released: it never came to be. Waiting: it may be about to. Failed: could not be looked at."""
UNEVENTFUL: frozenset[Finding] = frozenset({"metered", "waiting"})
GIVE_UP = timedelta(minutes=30)
"""After so long an endpoint that hours were reserved for and AWS does not know is not being made any more."""


@dataclass(frozen=True)
class EndpointHours:
    """What was found of the hours of an endpoint on one configuration, and the newest of what was booked for it just now."""

    endpoint: str
    config: str
    finding: Finding
    booked: Reservation | None = None
    why: str = ""
    wanted: str = ""
    """Of hours no budget has money for: their key."""

    def row(self) -> dict[str, str]:
        """For a table of what was reconciled."""
        amount = shown(self.booked.charge.amount) if self.booked else ""
        billed = shown(self.booked.bill) if self.booked and self.booked.bill is not None else ""
        job = f"endpoint {self.endpoint} ({self.config})"
        return {"job": job, "what": self.finding, "why": self.why, "reserved": amount, "billed": billed}


def endpoint_arn(desk: Desk, name: str) -> str:
    """Where an endpoint of that name is, in the account of the execution role. Raises NotConfiguredError."""
    _, partition, _ = desk.settings.required("execution_role_arn").split(":", 2)
    return f"arn:{partition}:sagemaker:{desk.settings.region}:{desk.account}:endpoint/{name}"


def reserve_hours(desk: Desk, desired: Desired, payer: Payer, *, whatever: bool = False) -> Meter:
    """Hours of the endpoint as it is to be, unless they are reserved already. Raises OverBudgetError when they do not fit.

    `whatever`, of one that serves already, counts them all the same.
    """
    arn = endpoint_arn(desk, desired.endpoint_name)
    metered = Metered(arn, desired.hourly_cost, desired.config_name, payer)
    return Meters(desk.ledger).start(metered, whatever=whatever)


def see_hours(desk: Desk, desired: Desired, payer: Payer, *, whatever: bool = False) -> Meter:
    """As `reserve_hours`, of what AWS is making or serving by now: from this moment on it is billed."""
    meter = reserve_hours(desk, desired, payer, whatever=whatever)
    endpoint = find_endpoint(desk.client("sagemaker"), desired.endpoint_name)
    reading = _reading(desk, meter, endpoint) if endpoint else None
    Meters(desk.ledger).look(meter, desired.hourly_cost, reading=reading)
    return meter


def meter_endpoint(desk: Desk, name: str, *, give_up: timedelta = timedelta(0)) -> list[EndpointHours]:
    """Bring the hours of one endpoint to what AWS says of it now. Raises botocore's errors and those of the ledger."""
    arn = endpoint_arn(desk, name)
    return list(_of_endpoint(desk, arn, Meters(desk.ledger).running(arn), give_up))


def meter_endpoints(desk: Desk, *, give_up: timedelta = GIVE_UP) -> Iterator[EndpointHours]:
    """Those of every endpoint of the desk's account and region that hours are reserved for, with one Describe each, and
    another where its next hours have to be priced, or where another number of instances runs than at the last look.

    Any number of these may run at once. What fails for one endpoint is a finding, and the others are looked at all the same.
    """
    here = endpoint_arn(desk, "")
    meters = [meter for meter in Meters(desk.ledger).running() if meter.resource.startswith(here)]
    for arn, of_it in groupby(sorted(meters, key=lambda meter: meter.resource), key=lambda meter: meter.resource):
        in_turn = sorted(of_it, key=lambda meter: meter.since)
        try:
            yield from _of_endpoint(desk, arn, in_turn, give_up)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            yield EndpointHours(_name(arn), in_turn[-1].part, "failed", why=str(error))


def regions_with_endpoints(desk: Desk) -> list[str]:
    """Where endpoints are that hours are reserved for."""
    return sorted(
        {arn.split(":")[3] for meter in Meters(desk.ledger).running() if ":endpoint/" in (arn := meter.resource)}
    )


def saved_hourly(desk: Desk, meter: Meter, fewer: Mapping[str, int] | None = None) -> Decimal:
    """What an hour of a meter's configuration costs less without it, or with fewer instances of some variants; 0 where nobody can say."""
    if fewer is None:
        return meter.hourly_now
    config = find_config(desk.client("sagemaker"), meter.part)
    if config is None or not meter.readings:
        return NOTHING
    counts = {**instances_in(meter.readings[-1][1].what), **fewer}
    left = ", ".join(f"{variant}={count}" for variant, count in counts.items())
    try:
        return meter.hourly_now - running_hourly(desk.prices, config, desk.settings.region, left)
    except UnknownPriceError:
        return NOTHING


def _of_endpoint(desk: Desk, arn: str, meters: Sequence[Meter], give_up: timedelta) -> Iterator[EndpointHours]:
    endpoint = find_endpoint(desk.client("sagemaker"), _name(arn))
    there, status = _there(endpoint), endpoint["EndpointStatus"] if endpoint else ""
    changing = status in SETTLING
    # one replaces another, or did halfway: the instances of both stand
    both = changing or status == "UpdateRollbackFailed"
    given_up_before = desk.ledger.now() - give_up
    for meter in meters:
        until = min((one.seen_at for one in meters if one.seen_at and one.since > meter.since), default=None)
        if meter.part in there or (both and meter.seen_at):
            looked = _look(desk, meter, endpoint, until)
        elif changing or (meter.seen_at is None and meter.since > given_up_before):
            yield EndpointHours(_name(arn), meter.part, "waiting")
            continue
        else:
            looked = _end(desk, meter, until)
            if looked is None:
                yield EndpointHours(_name(arn), meter.part, "waiting")
        if looked:
            yield _told(_name(arn), looked)
    strange = there - {meter.part for meter in meters}
    if meters and not changing:
        yield from (_adopted(desk, arn, config, endpoint, meters[-1].payer) for config in strange)


def _look(desk: Desk, meter: Meter, endpoint: Found, until: datetime | None) -> Looked | None:
    now = desk.ledger.now()
    over = [number for number in meter.over(now) if now >= meter.begins(number + 1) + LATE]
    measured = _measured(desk, meter, over, until or now)
    reading = _reading(desk, meter, endpoint) if endpoint else None
    return Meters(desk.ledger).look(
        meter, _price_now(desk, meter), reading=reading, measured=measured.cost if measured else None
    )


def _end(desk: Desk, meter: Meter, until: datetime | None) -> Looked | None:
    """None while CloudWatch may have requests of it still to show, and when it was ended meanwhile."""
    now = desk.ledger.now()
    measured = _measured(desk, meter, meter.begun(now), until or now)
    if measured and measured.newest and until is None and measured.newest > now - LATE:
        return None
    return Meters(desk.ledger).end(meter, measured=measured.cost if measured else None)


def _measured(desk: Desk, meter: Meter, numbers: Sequence[int], until: datetime) -> Used | None:
    """What was used in these tranches of what is paid by use; None of what is paid by the hour alone. The requests of the time in
    which one configuration replaces another are counted with the new one."""
    memory = memory_in(meter.readings[-1][1].what) if meter.readings else {}
    if not memory or meter.seen_at is None:
        return None
    ends = {number: min(meter.begins(number + 1), until) for number in numbers}
    spans = {number: (max(meter.begins(number), meter.seen_at), end) for number, end in ends.items()}
    price, now = serverless_price(desk.settings.region), desk.ledger.now()
    return used(desk.client("cloudwatch"), _name(meter.resource), memory, spans, price=price, now=now)


def _reading(desk: Desk, meter: Meter, endpoint: Mapping[str, Any]) -> Reading | None:
    """How much of it runs, if that is not what was read last: what that costs is another call. None where nobody can say."""
    what = running(endpoint, meter.part)
    if not what or (meter.readings and meter.readings[-1][1].what == what):
        return None
    try:
        priced = _priced(desk, meter.part)
        if priced is None:
            return None
        config, most = priced
        return Reading(running_hourly(desk.prices, config, desk.settings.region, what), most, what)
    except UnknownPriceError:
        return None


def _price_now(desk: Desk, meter: Meter) -> Decimal | None:
    """What an hour of a meter's configuration costs at most by now, when more hours are about to be booked: looking it up is a call.

    None where nobody can say, since the configuration is gone or of a type without a price.
    """
    if not meter.runs_out(desk.ledger.now()):
        return None
    try:
        priced = _priced(desk, meter.part)
    except UnknownPriceError:
        return None
    return priced[1] if priced else None


def _priced(desk: Desk, config_name: str) -> tuple[Mapping[str, Any], Decimal] | None:
    """A configuration and what an hour of it costs at most; None where it is gone. Raises UnknownPriceError."""
    sagemaker = desk.client("sagemaker")
    config = find_config(sagemaker, config_name)
    if config is None:
        return None
    tags = tags_of(sagemaker, config["EndpointConfigArn"])
    return config, most_hourly(desk.prices, config, tags, desk.settings.region)


def _there(endpoint: Found) -> set[str]:
    """The configurations whose instances run, or are being started. Of an endpoint that failed AWS has taken them away."""
    if endpoint is None or endpoint["EndpointStatus"] == "Failed":
        return set()
    pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    return {endpoint["EndpointConfigName"], *([pending] if pending else [])}


def _adopted(desk: Desk, arn: str, config_name: str, endpoint: Found, payer: Payer) -> EndpointHours:
    """Somebody gave the endpoint a configuration by other ways than ours: its hours are counted from now on."""
    priced = _priced(desk, config_name)
    if priced is None:
        raise NotConfiguredError(
            f"The hours of {config_name} cannot be counted: it is gone. Look at its cost in the AWS console."
        )
    books = Meters(desk.ledger)
    meter = books.start(Metered(arn, priced[1], config_name, payer), whatever=True)
    books.look(meter, reading=_reading(desk, meter, endpoint) if endpoint else None)
    return EndpointHours(_name(arn), config_name, "adopted", meter.first, "nobody had reserved hours for it")


def _told(name: str, looked: Looked) -> EndpointHours:
    config = looked.meter.part
    if looked.exhausted:
        booked = (looked.reserved or looked.settled or (None,))[-1]
        return EndpointHours(name, config, "exhausted", booked, str(looked.exhausted), looked.wanted)
    if looked.settled:
        return EndpointHours(name, config, "ended" if looked.ended else "settled", looked.settled[-1])
    if looked.released:
        return EndpointHours(name, config, "released", looked.released[-1], "it never came to be")
    return EndpointHours(name, config, "reserved" if looked.reserved else "metered", (looked.reserved or (None,))[-1])


def _name(arn: str) -> str:
    return arn.rsplit("/", 1)[1]
