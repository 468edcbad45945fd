"""How datasets are gone over: several at a time, none held up by another, within a bandwidth, and no longer than it helps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from trainmaster.catalog.candidates import Candidate
from trainmaster.errors import (
    CatalogueUnavailableError,
    CorruptedUploadError,
    LeaseLostError,
    NotConfiguredError,
    ObjectChangedError,
    StorageUnavailableError,
    TrainmasterError,
    UploadUnderWayError,
)
from trainmaster.migration.advice import RUN_AGAIN, TRY_AGAIN
from trainmaster.migration.deadline import Deadline, Halt
from trainmaster.migration.hindering import advice_on, kind_of, reason_of
from trainmaster.migration.outcomes import Ending, Fate, Verdict
from trainmaster.migration.proving import Pace, StoppedError
from trainmaster.storage.library import Library

AT_ONCE = 8
"""Datasets worked on at the same time: of each a chunk of 1 MiB is held, and what that takes to unpack."""
IN_A_ROW = 10
"""So many failures of stores without a success in between are not those of datasets."""
LEFT: Mapping[type[TrainmasterError], str] = {
    UploadUnderWayError: "under_way",
    LeaseLostError: "under_way",
    ObjectChangedError: "changed_meanwhile",
}
"""What is no failure: somebody else was at the dataset."""


class Round:
    """Work on many datasets in the name of `by`. In a rehearsal nothing is changed.

    When the stores have failed ten times in a row nothing more is begun: `failed_altogether` says why. Nor is it from `until` on;
    what is being read then is broken off.
    """

    def __init__(
        self,
        library: Library,
        *,
        by: str,
        rehearsed: bool,
        megabytes_per_second: float | None = None,
        max_gigabytes: float | None = None,
        until: Deadline | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.library, self.by, self.rehearsed = library, by, rehearsed
        self.failed_altogether = ""
        self._stop, self._over, self._until = stop or threading.Event(), threading.Event(), until
        halt = Halt(self._stop, self._over, until=until)
        self.pace = Pace(megabytes_per_second * 1e6 if megabytes_per_second else None, halt)
        self._most, self._read = max_gigabytes, 0
        self._failures, self._lock = 0, threading.Lock()

    @property
    def ending(self) -> Ending | None:
        """Why no more is to be begun, if that is so."""
        if self._stop.is_set():
            return Ending(stopped=True)
        if self.failed_altogether:
            return Ending(ended_early=self.failed_altogether)
        if self._until and self._until.is_over:
            return Ending(left_off=self._until.why)
        return Ending(left_off=self.read_enough) if self.read_enough else None

    @property
    def read_enough(self) -> str:
        """Why no more is read, once that is so."""
        if self._most is None or self._read < self._most * 1e9:
            return ""
        return f"{self._read:,} bytes were read, {self._most} GB were asked for at most"

    def begin_reading(self, size: int) -> None:
        """Say so before an object is read, in a rehearsal instead. Raises StoppedError when enough was: what was begun is ended."""
        with self._lock:
            if self.read_enough:
                raise StoppedError
            self._read += size

    def each(self, chosen: Sequence[Candidate], do: Callable[[Candidate], Fate]) -> Iterator[tuple[Candidate, Fate]]:
        """What `do` comes to for each, in order, several at once; an error of ours is that dataset's fate alone.

        Those not begun when all is to stop, or interrupted then, are left out. Raises CatalogueUnavailableError and what is a bug.
        """
        with ThreadPoolExecutor(AT_ONCE, "migration") as threads:
            try:
                begun = [(candidate, threads.submit(self._one, candidate, do)) for candidate in chosen]
                for candidate, future in begun:
                    if fate := future.result():
                        yield candidate, fate
            except BaseException:
                self._over.set()  # or leaving this block would wait until all of them are done
                raise

    def _one(self, candidate: Candidate, do: Callable[[Candidate], Fate]) -> Fate | None:
        if self._over.is_set() or self.ending:
            return None
        try:
            fate = do(candidate)
        except StoppedError:
            return None
        except CatalogueUnavailableError:
            raise
        except TrainmasterError as error:
            return self._failed(candidate, error)
        self._store_answered()
        return fate

    def _failed(self, candidate: Candidate, error: TrainmasterError) -> Fate:
        if kind := LEFT.get(type(error)):
            return fate_of(candidate, "left", kind, str(error), RUN_AGAIN)
        if isinstance(error, StorageUnavailableError | NotConfiguredError):
            self._store_failed(error)
            kind = "not_configured" if isinstance(error, NotConfiguredError) else "unavailable"
            return fate_of(candidate, "failed", kind, str(error), TRY_AGAIN)
        # Bytes that are not what was sent are so where they were put: what is read is held against the catalogue.
        hindrance = kind_of(error, "destination" if isinstance(error, CorruptedUploadError) else None)
        if hindrance == "source_unsound":
            return fate_of(candidate, "failed", hindrance, f"{reason_of(error)}.", advice_on(hindrance))
        return fate_of(candidate, "failed", hindrance, str(error), TRY_AGAIN)

    def _store_answered(self) -> None:
        with self._lock:
            self._failures = 0

    def _store_failed(self, error: TrainmasterError) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= IN_A_ROW and not self.failed_altogether:
                self.failed_altogether = f"{IN_A_ROW} datasets in a row failed, the last because: {error}"


def fate_of(
    candidate: Candidate, verdict: Verdict, kind: str = "", reason: str = "", advice: str = "", *, read: int = 0
) -> Fate:
    """Of a dataset as it was found in the catalogue."""
    return Fate(candidate.id, candidate.name, candidate.size_bytes or 0, verdict, kind, reason, advice, read)
