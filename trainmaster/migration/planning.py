"""From a request to a plan: the catalogue is read a page at a time, each user's bucket looked for once, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.moves import Phase
from trainmaster.catalog.pace import recent_pace
from trainmaster.errors import CredentialsMissingError, NotConfiguredError
from trainmaster.migration.plan import Draft, MigrationPlan, Pace, Prospect, prospect_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores

PAGE = 2_000
LOOKED_AT_ONCE = 16


def plan_migration(library: Library, request: MigrateDatasetsRequest, *, now: datetime | None = None) -> MigrationPlan:
    """What copying would do, from a pass over all selected datasets; nothing is changed, and no object looked at.

    Raises NotConfiguredError where datasets are to go into one bucket for all users and that cannot be used, or where there are
    no credentials to use any with.
    """
    homes = Homes(library.stores)
    draft = Draft(request, pace_of(library), now or datetime.now(UTC))
    for page in pages(library, request):
        homeless = homes.missing(who_needs_one(page, request))
        for candidate in page:
            draft.add(candidate, homeless)
    return draft.plan()


def selection_of(request: MigrateDatasetsRequest) -> Selection:
    """The datasets that a request is about."""
    return Selection(
        user_id=UUID(request.user_id) if request.user_id else None,
        dataset_ids=[UUID(one) for one in request.dataset_ids],
        older_than=request.older_than,
        format=None if request.format == "any" else request.format,
    )


def pages(
    library: Library, request: MigrateDatasetsRequest, *, only: Phase | None = None
) -> Iterator[Sequence[Candidate]]:
    """The selected datasets by id, some at a time; one that is added meanwhile may be among them or not."""
    selection, after = selection_of(request), None
    while page := library.catalogue.migrations.candidates(selection, after=after, limit=PAGE, only=only):
        yield page
        after = page[-1].id


def who_needs_one(page: Iterable[Candidate], request: MigrateDatasetsRequest) -> set[UUID]:
    """The users for whose datasets a bucket is needed."""
    return {
        candidate.user_id
        for candidate in page
        if prospect_of(candidate, {}, retry_given_up=request.retry_given_up) is Prospect.COPY
    }


def pace_of(library: Library) -> Pace:
    """How fast datasets were copied lately."""
    found = recent_pace(library.catalogue.database)
    return Pace(found.bytes_per_second, found.copies) if found else Pace()


class Homes:
    """Which users have a bucket in S3 that may be used. Each is looked for once, and kept in mind."""

    def __init__(self, stores: Stores) -> None:
        self._stores, self._found = stores, dict[UUID, str]()

    def missing(self, users: Iterable[UUID]) -> Mapping[UUID, str]:
        """All known so far to have none, and why; these are looked for first.

        Raises NotConfiguredError where one bucket is everybody's or there are no credentials, StorageUnavailableError.
        """
        unknown = [user for user in users if user not in self._found]
        if self._stores.is_shared:
            unknown = unknown[:1] if not self._found else []
        # The first alone: it makes the client of all others.
        self._found.update((user, self._why_not(user)) for user in unknown[:1])
        with ThreadPoolExecutor(LOOKED_AT_ONCE, thread_name_prefix="look-for-bucket") as threads:
            self._found.update(zip(unknown[1:], threads.map(self._why_not, unknown[1:]), strict=True))
        return {user: why for user, why in self._found.items() if why}

    def _why_not(self, user: UUID) -> str:
        try:
            self._stores.home(StorageProvider.S3, user)
        except NotConfiguredError as error:
            if self._stores.is_shared or isinstance(error, CredentialsMissingError):
                raise
            return str(error)
        return ""
