"""Stores of which calls can be watched, or replaced, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from library_shelves import Shelves

from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores


class Watched:
    """A store, or a source, so watched."""

    def __init__(self, store: Any, **instead: Callable[..., Any]) -> None:
        self._store, self._instead = store, instead

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in self._instead:
            return real
        return lambda *args, **kwargs: self._instead[name](real, *args, **kwargs)


class WatchedStores:
    """All stores, so watched."""

    def __init__(self, stores: Stores, instead: dict[str, Callable[..., Any]]) -> None:
        self._stores, self._instead = stores, instead

    def at(self, provider: StorageProvider, bucket: str) -> Any:
        return Watched(self._stores.at(provider, bucket), **self._instead)

    def home(self, provider: StorageProvider, user_id: Any) -> Any:
        return Watched(self._stores.home(provider, user_id), **self._instead)

    def source(self, provider: StorageProvider, bucket: str) -> Any:
        return Watched(self._stores.source(provider, bucket), **self._instead)


def watched(shelves: Shelves, **instead: Callable[..., Any]) -> Library:
    """The library, its stores so watched."""
    return replace(shelves.library, stores=WatchedStores(shelves.library.stores, instead))  # type: ignore[arg-type]
