"""What a run would do, before it does anything: datasets counted as they are looked at, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from uuid import UUID

from trainmaster.budget.money import CENT, shown
from trainmaster.catalog.candidates import Candidate
from trainmaster.migration.deadline import Deadline, deadline_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import LISTED, Failure, said, words
from trainmaster.migration.showing import Listing, Page, duration, markdown, text
from trainmaster.migration.window import Window
from trainmaster.plain_words import counted, size
from trainmaster.storage.store import StorageProvider

GB = 10**9
EGRESS_USD_PER_GB, EGRESS_INCLUDED_GB = Decimal("0.09"), 250
"""What Supabase bills for uncached egress, and how much of it a month is included in Pro and Team:
https://supabase.com/docs/guides/platform/manage-your-usage/egress (August 2026)."""
ASSUMED_BYTES_PER_SECOND = 20e6
"""Where nothing was copied yet. Less than one connection to a small project usually gives."""
SECONDS_PER_DATASET = 0.02
"""What a dataset costs however small it is: requests at both ends, some at a time."""
COPIED_BEFORE = (
    "What is in S3 already is not copied again. Where Supabase's object was replaced since, run phase rollback for that dataset"
    " (its id in dataset_ids) with take_newer, then phase copy."
)

MAKE_A_BUCKET = "Make the bucket, and let the worker use it; then run this again."
GIVEN_UP = "Given up until its row changes, or retry_given_up (--retry-given-up) is asked for."


class Prospect(StrEnum):
    """What a run that copies would do with a dataset."""

    COPY = "copy"
    COPIED = "copied"
    """It is in S3; no byte of it is moved."""
    GIVEN_UP = "given_up"
    """Its source was missing or unsound too often, and its row has not changed since."""
    FOREIGN = "foreign"
    """Its row names no object of its user."""
    NOT_SET_UP = "not_set_up"
    """There is no bucket for its user in S3."""


def prospect_of(candidate: Candidate, homeless: Mapping[UUID, str], *, retry_given_up: bool = False) -> Prospect:
    """`homeless` are users without a bucket, and why."""
    if candidate.s3 is not None or candidate.storage_provider == StorageProvider.S3:
        return Prospect.COPIED
    if candidate.supabase is None and not candidate.names_its_own:
        return Prospect.FOREIGN
    if candidate.given_up and not retry_given_up:
        return Prospect.GIVEN_UP
    return Prospect.NOT_SET_UP if candidate.user_id in homeless else Prospect.COPY


@dataclass(frozen=True)
class Amount:
    """So many datasets, and the bytes of those whose size is known; of `unknown` many it is not."""

    datasets: int = 0
    bytes: int = 0
    unknown: int = 0

    def with_one(self, size_bytes: int | None) -> Amount:
        """And one more."""
        return Amount(self.datasets + 1, self.bytes + (size_bytes or 0), self.unknown + (size_bytes is None))

    def __str__(self) -> str:
        more = f" and {self.unknown:,} of unknown size" if self.unknown else ""
        return f"{counted(self.datasets, 'dataset')}, {size(self.bytes)}{more}"


@dataclass(frozen=True)
class Pace:
    """Bytes a second at which `copies` datasets were copied lately; assumed where there are none."""

    bytes_per_second: float = ASSUMED_BYTES_PER_SECOND
    copies: int = 0

    def seconds(self, amount: Amount, cap: float | None) -> float:
        """About how long it takes, at no more than `cap` bytes a second."""
        return amount.bytes / min(self.bytes_per_second, cap or float("inf")) + amount.datasets * SECONDS_PER_DATASET

    def __str__(self) -> str:
        about = f"{self.bytes_per_second / 1e6:,.1f} MB/s"
        if not self.copies:
            return f"{about}, which is assumed: too little was copied yet to tell"
        return f"{about}, as the last {counted(self.copies, 'dataset')} were copied"


class Allowance:
    """What a run may still take. The dataset with which the bytes run out is taken, so that none is ever too large."""

    def __init__(self, datasets: int | None, size_bytes: float | None) -> None:
        self._datasets, self._bytes = datasets, size_bytes
        self._taken = Amount()

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be taken."""
        of_datasets = self._datasets is not None and self._taken.datasets >= self._datasets
        return of_datasets or (self._bytes is not None and self._taken.bytes >= self._bytes)

    def take(self, size_bytes: int | None) -> bool:
        """True when one of this size may be taken, which it then is."""
        if self.is_spent:
            return False
        self._taken = self._taken.with_one(size_bytes)
        return True


def allowance_of(request: MigrateDatasetsRequest, most_bytes: float | None = None) -> Allowance:
    """What a request allows, and no more bytes than `most_bytes`."""
    limits = [request.max_gigabytes * GB] if request.max_gigabytes is not None else []
    limits += [most_bytes] if most_bytes is not None else []
    return Allowance(request.limit, min(limits, default=None))


@dataclass(frozen=True)
class Listed:
    """Datasets of one kind: how much there is of it, and the first 100 of them."""

    amount: Amount = Amount()
    first: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Homeless:
    """Users without a bucket in S3, how many datasets they have; the first 100 users, each with why and how many, and the first 100
    datasets."""

    users: int = 0
    amount: Amount = Amount()
    first: tuple[tuple[UUID, str, int], ...] = ()
    datasets: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class MigrationPlan:
    """What a run that copies would do. `to_copy` is all that is to be copied, `now` what of it this run takes.

    `seconds` and the costs are of `now`: estimates, without what has no known size.
    """

    rehearsed: bool
    to_copy: Amount
    now: Amount
    copied: Amount
    failed_before: Listed
    given_up: Listed
    foreign: Listed
    homeless: Homeless
    pace: Pace
    seconds: float
    cap: float | None = None
    left_off: str = ""
    """Why `now` is less than all."""
    limits: str = ""
    """What was asked for at most, in words."""
    window: Window | None = None
    until: Deadline | None = None
    """When it is to be over, if it begins now."""
    notes: tuple[str, ...] = ()
    asked_for: bool = False
    """Whether datasets were named by id."""

    @property
    def left_out(self) -> tuple[Failure, ...]:
        """Those that nothing is tried for, the first 100 of each kind, each with what to do about it."""
        given_up = (replace(one, advice=f"{one.advice} {GIVEN_UP}") for one in self.given_up.first)
        return (*given_up, *self.foreign.first, *self.homeless.datasets)

    @property
    def datasets(self) -> int:
        """How many this run takes."""
        return self.now.datasets

    @property
    def bytes(self) -> int:
        """Of those it takes, as far as known."""
        return self.now.bytes

    @property
    def unknown_sizes(self) -> int:
        """How many of those it takes have no known size."""
        return self.now.unknown

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many are left out, by why; none of them counts among those to copy."""
        counts = {
            "given_up": self.given_up.amount.datasets,
            "foreign": self.foreign.amount.datasets,
            "not_set_up": self.homeless.amount.datasets,
        }
        return {kind: count for kind, count in counts.items() if count}

    @property
    def egress_usd(self) -> Decimal:
        """US dollars at Supabase's price for this run's bytes, to the cent above, nothing of them included in the month's 250 GB."""
        return (EGRESS_USD_PER_GB * self.now.bytes / GB).quantize(CENT, ROUND_UP)

    @property
    def least_egress_usd(self) -> Decimal:
        """The same when nothing of the included egress was used before."""
        beyond = max(self.now.bytes - EGRESS_INCLUDED_GB * GB, 0)
        return (EGRESS_USD_PER_GB * beyond / GB).quantize(CENT, ROUND_UP)

    def sentence(self) -> str:
        """What would be done, in one line."""
        left_out = "".join(f"; {count:,} left out ({words(kind)})" for kind, count in self.skipped.items())
        if not self.now.datasets:
            why = f": {self.left_off}" if self.left_off else ""
            return f"Nothing to copy now{why}; {counted(self.copied.datasets, 'dataset')} in S3 already{left_out}."
        cut = f" of {counted(self.to_copy.datasets, 'dataset')} ({self.left_off})" if self.left_off else ""
        return (
            f"To copy: {self.now}{cut}, in about {duration(self.seconds)}, for at most {shown(self.egress_usd)} of Supabase"
            f" egress; {self.copied.datasets:,} in S3 already{left_out}."
        )

    def text(self) -> str:
        """For a terminal."""
        return text(self._page())

    def markdown(self) -> str:
        """For an artifact in the Prefect UI; nothing a user wrote is markup in it."""
        return markdown(self._page())

    def _page(self) -> Page:
        remarks = [*self.notes, *(["A dry run: nothing was changed."] if self.rehearsed else [])]
        return Page("Plan: copy from Supabase to S3", list(self._facts()), list(self._listings()), remarks)

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "To copy", str(self.to_copy)
        if self.left_off:
            yield "In this run", f"{self.now}: {self.left_off}"
        yield "In S3 already", f"{self.copied}; no byte of them is moved"
        if self.failed_before.amount.datasets:
            yield "Failed before", f"{self.failed_before.amount}; among those to copy"
        if self.given_up.amount.datasets:
            yield "Given up", f"{self.given_up.amount}; left out until they change, or retry_given_up is asked for"
        if self.foreign.amount.datasets:
            yield "Refused", f"{self.foreign.amount}; their rows name no object of their user"
        if self.homeless.users:
            yield (
                "Not set up",
                f"{counted(self.homeless.users, 'user')} without a bucket: {self.homeless.amount}, left out",
            )
        capped = f", capped at {self.cap / 1e6:,.1f} MB/s" if self.cap else ""
        yield "Takes", f"about {duration(self.seconds)} at {self.pace}{capped}" if self.now.datasets else "no time"
        yield "Supabase egress", self._egress()

    def _egress(self) -> str:
        price = f"{shown(self.egress_usd)} at {shown(EGRESS_USD_PER_GB)} per GB"
        if not self.now.bytes:
            return "$0"
        included = f"the {EGRESS_INCLUDED_GB} GB a month that Pro and Team include"
        if self.least_egress_usd:
            return f"{price}; {shown(self.least_egress_usd)} if nothing of {included} is used yet"
        return f"{price}; nothing as long as {included} cover it"

    def _listings(self) -> Iterator[Listing]:
        for title, listed in (
            ("Failed before", self.failed_before), ("Given up", self.given_up), ("Refused", self.foreign),
        ):  # fmt: skip
            if listed.first:
                lines = [f"{one.name} ({one.dataset_id}): {said(one)}" for one in listed.first]
                yield Listing(title, listed.amount.datasets, lines)
        if self.homeless.first:
            lines = [f"User {user}: {counted(count, 'dataset')}. {why}" for user, why, count in self.homeless.first]
            yield Listing("Users without a bucket", self.homeless.users, lines)


@dataclass
class _Growing:
    """A list that keeps its first."""

    amount: Amount = field(default_factory=Amount)
    first: list[Failure] = field(default_factory=list)

    def add(self, candidate: Candidate, reason: str, advice: str, kind: str) -> None:
        self.amount = self.amount.with_one(candidate.size_bytes)
        if len(self.first) < LISTED:
            self.first.append(Failure(candidate.id, candidate.name, kind, reason, advice))

    def listed(self) -> Listed:
        return Listed(self.amount, tuple(self.first))


class Draft:
    """A plan in the making: `add` datasets in the order in which a run would take them, then take the `plan`.

    Keeps a count for each user without a bucket, 100 datasets of each other kind, and nothing of the rest.
    """

    def __init__(self, request: MigrateDatasetsRequest, pace: Pace, now: datetime) -> None:
        self._request, self._pace, self._window, self._began = request, pace, Window.of(request), now
        self._cap = request.megabytes_per_second * 1e6 if request.megabytes_per_second else None
        self._allowance = allowance_of(request)
        self._until = deadline_of(now, request.max_minutes, self._window)
        self._in_time = Allowance(None, self._bytes_in_time())
        self._to_copy, self._now, self._copied = Amount(), Amount(), Amount()
        self._failed, self._given_up, self._foreign = _Growing(), _Growing(), _Growing()
        self._homeless, self._of_homeless, self._why = Counter[UUID](), Amount(), dict[UUID, str]()
        self._without = list[Failure]()

    def add(self, candidate: Candidate, homeless: Mapping[UUID, str]) -> None:
        """One more; `homeless` as in `prospect_of`."""
        hindrance = candidate.hindrance
        known = (hindrance.reason, hindrance.advice, hindrance.kind) if hindrance else ("", "", "")
        match prospect_of(candidate, homeless, retry_given_up=self._request.retry_given_up):
            case Prospect.COPIED:
                self._copied = self._copied.with_one(candidate.size_bytes)
            case Prospect.GIVEN_UP:
                self._given_up.add(candidate, *known)
            case Prospect.FOREIGN:
                self._foreign.add(candidate, *foreign(candidate), "foreign")
            case Prospect.NOT_SET_UP:
                self._homeless[candidate.user_id] += 1
                self._of_homeless = self._of_homeless.with_one(candidate.size_bytes)
                if len(self._why) < LISTED:
                    self._why[candidate.user_id] = homeless[candidate.user_id]
                if len(self._without) < LISTED:
                    why = homeless[candidate.user_id]
                    self._without.append(Failure(candidate.id, candidate.name, "not_set_up", why, MAKE_A_BUCKET))
            case Prospect.COPY:
                self._to_copy = self._to_copy.with_one(candidate.size_bytes)
                if hindrance:
                    self._failed.add(candidate, *known)
                if not self._in_time.is_spent and self._allowance.take(candidate.size_bytes):
                    self._in_time.take(candidate.size_bytes)
                    self._now = self._now.with_one(candidate.size_bytes)

    def plan(self) -> MigrationPlan:
        """Of all that was added."""
        first = [(user, why, self._homeless[user]) for user, why in self._why.items()]
        return MigrationPlan(
            rehearsed=self._request.rehearsed,
            to_copy=self._to_copy,
            now=self._now,
            copied=self._copied,
            failed_before=self._failed.listed(),
            given_up=self._given_up.listed(),
            foreign=self._foreign.listed(),
            homeless=Homeless(len(self._homeless), self._of_homeless, tuple(first), tuple(self._without)),
            pace=self._pace,
            seconds=self._pace.seconds(self._now, self._cap),
            cap=self._cap,
            left_off=self._left_off(),
            limits=self._limits(),
            window=self._window,
            until=self._until,
            asked_for=bool(self._request.dataset_ids),
            notes=(COPIED_BEFORE,) if self._request.dataset_ids and self._copied.datasets else (),
        )

    def _bytes_in_time(self) -> float | None:
        """As many as are likely copied before the deadline; none while the window is closed."""
        if not self._window.is_open(self._began):
            return 0
        if self._until is None:
            return None
        rate = min(self._pace.bytes_per_second, self._cap or float("inf"))
        return rate * (self._until.at - self._began).total_seconds()

    def _left_off(self) -> str:
        if self._now.datasets == self._to_copy.datasets:
            return ""
        if not self._window.is_open(self._began):
            return (
                f"the time window {self._window} is closed until {self._window.opens(self._began):%Y-%m-%d %H:%M} UTC"
            )
        if self._until and self._in_time.is_spent:
            return f"about as much as there is time for until {self._until.at:%H:%M} UTC"
        return self._limits()

    def _limits(self) -> str:
        asked = [counted(self._request.limit, "dataset")] if self._request.limit is not None else []
        asked += [f"{self._request.max_gigabytes:g} GB"] if self._request.max_gigabytes is not None else []
        return f"the limit is {' and '.join(asked)}" if asked else ""


def foreign(candidate: Candidate) -> tuple[str, str]:
    """Why a row that names no object of its user is refused, and what to do."""
    return (
        f"Dataset {candidate.id} ({candidate.name!r}) names no object of its user: {candidate.storage_path!r}",
        f"Have storage_path name one below {candidate.user_id}/, or delete the row.",
    )
