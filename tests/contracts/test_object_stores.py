"""One contract for all stores: SeaweedFS, moto, the embedded Supabase and, where its address is given, a real one."""

from __future__ import annotations

import gzip
import io
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cutting_proxy import CuttingProxy, silent_server
from object_stores import HOSTED, LARGE, Server, content, folder, put, read, sha256

from trainmaster.errors import (
    CorruptedUploadError,
    NameConflictError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.store import ObjectStore

SERVERS = ["seaweedfs", "moto", "supabase", *(["hosted_supabase"] if HOSTED else [])]
GROWTH = 25 << 10
"""KiB: a part of 5 or 6 MiB in the hands of one library after another, and what Python keeps of it."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: Server) -> ObjectStore:
    return server.store()


class TestObjectStore:
    @pytest.mark.parametrize("size", [0, 1, 300_000, LARGE])
    def test_what_was_put_comes_back_byte_for_byte(self, store: ObjectStore, size: int) -> None:
        key, data = folder() + "a.jsonl.gz", content(size)

        assert put(store, key, data)

        assert read(store, key) == data
        found = store.stat(key)
        assert found
        assert (found.key, found.size, found.sha256) == (key, size, sha256(data))
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_gzip_is_handed_out_as_it_was_stored(self, store: ObjectStore) -> None:
        key, data = folder() + "a.jsonl.gz", gzip.compress(b'{"messages": []}\n' * 1000)
        put(store, key, data)

        assert read(store, key) == data

    def test_no_chunk_is_larger_than_a_mebibyte(self, store: ObjectStore) -> None:
        key = folder() + "a.jsonl.gz"
        put(store, key, content(LARGE))

        with store.get(key) as chunks:
            assert max(map(len, chunks)) <= 1 << 20

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_reading_begins_where_it_is_told(self, store: ObjectStore, size: int) -> None:
        key, data = folder() + "a.jsonl.gz", content(size)
        put(store, key, data)

        assert read(store, key, start=size // 3) == data[size // 3 :]
        assert read(store, key, start=size) == b""

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_the_same_bytes_are_stored_once(self, store: ObjectStore, size: int) -> None:
        key, data = folder() + "a.jsonl.gz", content(size)
        put(store, key, data)
        first = store.stat(key)

        assert not put(store, key, data)

        assert store.stat(key) == first

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_other_bytes_under_the_same_key_are_refused_and_replace_nothing(
        self, store: ObjectStore, size: int
    ) -> None:
        key = folder() + "a.jsonl.gz"
        put(store, key, b"first")

        with pytest.raises(NameConflictError, match=f"5 bytes .* not the {size} bytes"):
            put(store, key, content(size))

        assert read(store, key) == b"first"

    @pytest.mark.parametrize("size", [1000, LARGE])
    @pytest.mark.parametrize("wrong", ["shorter", "longer", "other"])
    def test_a_stream_that_is_not_what_was_announced_leaves_nothing(
        self, store: ObjectStore, size: int, wrong: str
    ) -> None:
        key, data = folder() + "a.jsonl.gz", content(size)
        given = {"shorter": data[:-1], "longer": data + b"x", "other": b"x" + data[1:]}[wrong]

        with pytest.raises(CorruptedUploadError):
            store.put(key, io.BytesIO(given), size=size, sha256=sha256(data), content_type="application/gzip")

        assert store.stat(key) is None

    def test_what_is_not_there_is_said_to_be_missing(self, store: ObjectStore) -> None:
        key = folder() + "a.jsonl.gz"

        assert store.stat(key) is None
        assert not store.delete(key)
        assert list(store.list(key.removesuffix("a.jsonl.gz"))) == []
        with pytest.raises(ObjectMissingError, match=r"a\.jsonl\.gz is not there"), store.get(key):
            pass
        with pytest.raises(ObjectMissingError, match=r"a\.jsonl\.gz is not there"):
            store.sign(key, timedelta(hours=1))

    def test_what_was_deleted_is_gone_and_can_be_stored_again(self, store: ObjectStore) -> None:
        key = folder() + "a.jsonl.gz"
        put(store, key, b"first")

        assert store.delete(key)

        assert store.stat(key) is None
        assert not store.delete(key)
        assert put(store, key, b"second")
        assert read(store, key) == b"second"

    def test_a_listing_has_all_below_its_prefix_in_the_order_of_their_keys(self, store: ObjectStore) -> None:
        within = folder()
        # Not "a" and "a/x", which SeaweedFS cannot keep both, nor "a-1" and "a/x", which it lists the other way round.
        names = ["B", "a", "b/x", "b/y/z", "c-1", "c0"]
        for name in reversed(names):
            put(store, within + name, name.encode())
        put(store, within.removesuffix("/") + "-other/a", b"not below it")

        found = list(store.list(within))

        assert [each.key for each in found] == [within + name for name in names]
        assert [each.size for each in found] == [len(name) for name in names]

    def test_a_prefix_without_a_slash_at_its_end_is_not_listed(self, store: ObjectStore) -> None:
        with pytest.raises(ValueError, match="slash"):
            list(store.list("user"))

    def test_a_link_gives_the_bytes_to_who_has_nothing_else(self, store: ObjectStore) -> None:
        key, data = folder() + "a.jsonl.gz", gzip.compress(content(1000))
        put(store, key, data)

        with urllib.request.urlopen(store.sign(key, timedelta(hours=2)), timeout=90) as answer:
            assert answer.read() == data

    @pytest.mark.parametrize("name", ["cats.jsonl.gz", 'my "best" cats, 100 %; ü.jsonl.gz'])
    def test_a_link_names_the_file_a_browser_saves(self, store: ObjectStore, name: str) -> None:
        key = folder() + "a.jsonl.gz"
        put(store, key, b"cats")

        with urllib.request.urlopen(store.sign(key, timedelta(hours=2), download_as=name), timeout=90) as answer:
            disposition = answer.headers["Content-Disposition"]

        assert disposition.startswith("attachment; filename=")
        assert f"filename*=UTF-8''{urllib.request.quote(name, safe=chr(39) + '()*!')}" in disposition

    @pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=7, seconds=1)])
    def test_a_link_is_valid_for_a_second_to_seven_days(self, store: ObjectStore, lifetime: timedelta) -> None:
        with pytest.raises(ValueError, match="7 days"):
            store.sign("any/key", lifetime)

    def test_a_bucket_that_is_not_there_is_said_with_what_to_do(self, server: Server) -> None:
        store = server.store(bucket="nowhere-to-be-found")

        for use in (
            lambda: store.stat("a/b"),
            lambda: put(store, "a/b", b"x"),
            lambda: store.get("a/b").__enter__(),
            lambda: store.delete("a/b"),
        ):
            with pytest.raises(NotConfiguredError, match=r"nowhere-to-be-found.*Create it"):
                use()

    def test_writers_at_the_same_time_leave_one_whole_object_and_say_who_lost(self, server: Server) -> None:
        key, stores = folder() + "a.jsonl.gz", [server.store() for _ in range(6)]
        given = [bytes([n]) * 200_000 for n in range(6)]
        together = threading.Barrier(6)

        def race(number: int) -> bool | None:
            together.wait()
            try:
                return put(stores[number], key, given[number])
            except NameConflictError:
                return None

        with ThreadPoolExecutor(6) as threads:
            outcomes = list(threads.map(race, range(6)))

        assert set(outcomes) <= {True, None}
        assert True in outcomes
        assert read(stores[0], key) in {data for data, won in zip(given, outcomes, strict=True) if won}

    def test_reading_goes_on_where_the_connection_was_cut(self, server: Server) -> None:
        key, data = folder() + "a.jsonl.gz", content(LARGE)
        put(server.store(), key, data)

        with CuttingProxy(server.url, cut_down=[2 << 20, 3 << 20]) as proxy:
            assert read(server.store(proxy.url), key) == data
            assert proxy.cuts == 2

    def test_an_object_replaced_while_it_is_read_is_not_mixed_with_its_successor(self, server: Server) -> None:
        key, store, replaced = folder() + "a.jsonl.gz", server.store(), threading.Event()
        put(store, key, content(LARGE))

        with (
            CuttingProxy(server.url, cut_down=[2 << 20], cut_down_on=replaced) as proxy,
            server.store(proxy.url).get(key) as chunks,
        ):
            first = next(chunks)
            store.delete(key)
            put(store, key, bytes(LARGE))
            replaced.set()
            with pytest.raises(ObjectChangedError, match="replaced"):
                list(chunks)

        assert content(LARGE).startswith(first)

    def test_storing_goes_on_after_a_cut(self, server: Server) -> None:
        key, data = folder() + "a.jsonl.gz", content(LARGE)

        with CuttingProxy(server.url, cut_up=[3 << 20, 2 << 20]) as proxy:
            assert put(server.store(proxy.url), key, data)
            assert proxy.cuts == 2

        assert read(server.store(), key) == data

    @pytest.mark.parametrize("use", ["put", "get", "stat", "list", "sign", "delete"])
    def test_a_server_that_never_answers_is_given_up_soon(self, server: Server, use: str) -> None:
        with silent_server() as url:
            store = server.store(url, seconds=0.2, tries=2)
            began = time.monotonic()

            with pytest.raises(StorageUnavailableError):
                {
                    "put": lambda: put(store, "a/b", b"x"),
                    "get": lambda: store.get("a/b").__enter__(),
                    "stat": lambda: store.stat("a/b"),
                    "list": lambda: list(store.list("a/")),
                    "sign": lambda: store.sign("a/b", timedelta(hours=1)),
                    "delete": lambda: store.delete("a/b"),
                }[use]()

            assert time.monotonic() - began < 30

    def test_a_process_killed_while_storing_leaves_no_object_and_nothing_in_the_way(self, server: Server) -> None:
        key, data = folder() + "a.jsonl.gz", content(LARGE)
        with CuttingProxy(server.url, hold_up=LARGE - (1 << 20)) as proxy:
            child = subprocess.Popen(server.child(proxy.url, key, LARGE))
            assert proxy.held.wait(60)
            child.kill()
            child.wait(90)

        store = server.store()
        assert store.stat(key) is None
        assert list(store.list(key.removesuffix("a.jsonl.gz"))) == []
        assert put(store, key, data)
        assert read(store, key) == data

    def test_storing_and_reading_take_no_more_memory_than_a_few_parts(self, server: Server) -> None:
        key = folder() + "a.jsonl.gz"

        command = server.child("", key, 64 << 20)
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)

        assert int(done.stdout) < GROWTH
        assert server.store().delete(key)
