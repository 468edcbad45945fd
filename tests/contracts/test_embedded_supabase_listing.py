"""Listings of Supabase Storage and their silent caps. With TEST_SUPABASE set, they run against Supabase's own server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from supabase_project import SupabaseProject

MANY = 1503
KEYS = ["B.txt", "a.txt", "c/1.txt", "c/2.txt", "c/d/3.txt", "e/4.txt"]


@pytest.fixture(scope="module")
def service(supabase_project: SupabaseProject) -> Iterator[httpx.Client]:
    with supabase_project.client() as client:
        yield client


@pytest.fixture(scope="module")
def bucket(service: httpx.Client) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    service.post("/bucket", json={"name": name}).raise_for_status()
    for key in KEYS:
        service.post(f"/object/{name}/{key}", content=key.encode()).raise_for_status()
    yield name
    service.post(f"/bucket/{name}/empty").raise_for_status()
    service.delete(f"/bucket/{name}")


@pytest.fixture(scope="module")
def full(service: httpx.Client) -> Iterator[str]:
    """A bucket with more objects in one folder than any listing gives at once."""
    name = f"test-{uuid.uuid4().hex}"
    service.post("/bucket", json={"name": name}).raise_for_status()

    def put(number: int) -> None:
        service.post(f"/object/{name}/many/{number:04}", content=b"").raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(MANY)))
    yield name
    service.post(f"/bucket/{name}/empty").raise_for_status()
    service.delete(f"/bucket/{name}")


def listed(service: httpx.Client, bucket: str, **asked: Any) -> list[Any]:
    answer = service.post(f"/object/list/{bucket}", json={"prefix": "", **asked})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()
    return found


def names(found: list[Any]) -> list[str]:
    return [each["name"] for each in found]


class TestAListing:
    def test_is_of_one_level_with_folders_that_have_no_id(self, service: httpx.Client, bucket: str) -> None:
        found = listed(service, bucket)
        assert sorted(names(found)) == ["B.txt", "a.txt", "c", "e"]
        assert {each["name"] for each in found if each["id"] is None} == {"c", "e"}
        file = next(each for each in found if each["name"] == "a.txt")
        assert file["metadata"]["size"] == 5
        assert file["metadata"]["mimetype"]
        assert file["created_at"]

    def test_is_of_a_folder_by_either_name_of_it(self, service: httpx.Client, bucket: str) -> None:
        for prefix in ("c", "c/"):
            assert sorted(names(listed(service, bucket, prefix=prefix))) == ["1.txt", "2.txt", "d"], prefix
        assert names(listed(service, bucket, prefix="c/d")) == ["3.txt"]
        assert listed(service, bucket, prefix="not-there") == []

    def test_searches_by_how_names_begin(self, service: httpx.Client, bucket: str) -> None:
        assert names(listed(service, bucket, prefix="c", search="1")) == ["1.txt"]
        assert names(listed(service, bucket, search="b")) == ["B.txt"]

    def test_is_sorted_as_asked(self, service: httpx.Client, bucket: str) -> None:
        by_time = {"column": "created_at", "order": "desc"}
        files = [each for each in listed(service, bucket, prefix="c", sortBy=by_time) if each["id"]]
        assert names(files) == ["2.txt", "1.txt"]
        by_name = {"column": "name", "order": "desc"}
        files = [each for each in listed(service, bucket, prefix="c", sortBy=by_name) if each["id"]]
        assert names(files) == ["2.txt", "1.txt"]

    def test_gives_a_hundred_unless_asked_and_fifteen_hundred_at_most(self, service: httpx.Client, full: str) -> None:
        assert len(listed(service, full, prefix="many")) == 100
        assert len(listed(service, full, prefix="many", limit=10_000)) == 1500
        rest = listed(service, full, prefix="many", limit=10_000, offset=1500)
        assert names(rest) == ["1500", "1501", "1502"]

    def test_of_a_malformed_request_is_refused(self, service: httpx.Client, bucket: str) -> None:
        for asked in ({}, {"prefix": "", "limit": 0}, {"prefix": 3, "limit": "x"}):
            assert service.post(f"/object/list/{bucket}", json=asked).status_code == 400, asked


class TestAListingByCursor:
    def pages(self, service: httpx.Client, bucket: str, **asked: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = service.post(f"/object/list-v2/{bucket}", json=asked).json()
            yield page
            if not page["hasNext"]:
                assert page.get("nextCursor") is None
                return
            asked["cursor"] = page["nextCursor"]

    def test_gives_full_keys_a_thousand_at_most_at_once(self, service: httpx.Client, full: str) -> None:
        pages = list(self.pages(service, full, prefix="many/", limit=5000))
        assert [len(page["objects"]) for page in pages] == [1000, 503]
        found = [each["name"] for page in pages for each in page["objects"]]
        assert found == [f"many/{number:04}" for number in range(MANY)]

    def test_is_in_the_order_of_bytes_and_of_every_level(self, service: httpx.Client, bucket: str) -> None:
        pages = list(self.pages(service, bucket, prefix="", limit=4))
        assert [[each["name"] for each in page["objects"]] for page in pages] == [KEYS[:4], KEYS[4:]]
        assert all(page["folders"] == [] for page in pages)

    def test_with_a_delimiter_has_folders_apart(self, service: httpx.Client, bucket: str) -> None:
        pages = list(self.pages(service, bucket, prefix="", with_delimiter=True, limit=3))
        assert [each["name"] for page in pages for each in page["objects"]] == ["B.txt", "a.txt"]
        assert [each["name"] for page in pages for each in page["folders"]] == ["c/", "e/"]
        page = next(self.pages(service, bucket, prefix="c/", with_delimiter=True))
        assert [each["name"] for each in page["objects"]] == ["c/1.txt", "c/2.txt"]
        assert [each["name"] for each in page["folders"]] == ["c/d/"]

    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("column", ["name", "created_at"])
    def test_goes_on_where_the_page_ended(self, service: httpx.Client, bucket: str, column: str, order: str) -> None:
        pages = self.pages(service, bucket, prefix="", limit=1, sortBy={"column": column, "order": order})
        found = [each["name"] for page in pages for each in page["objects"]]
        assert found == (KEYS if order == "asc" else KEYS[::-1])

    def test_with_a_cursor_it_never_gave_is_refused(self, service: httpx.Client, bucket: str) -> None:
        answer = service.post(f"/object/list-v2/{bucket}", json={"cursor": "bm9uc2Vuc2U="})
        assert answer.status_code == 400

    def test_misses_nothing_that_stays_while_other_objects_go(self, service: httpx.Client, bucket: str) -> None:
        for name in ("f/1", "f/2", "f/3"):
            service.put(f"/object/{bucket}/{name}", content=b"x").raise_for_status()
        pages = self.pages(service, bucket, prefix="f/", limit=2)
        assert [each["name"] for each in next(pages)["objects"]] == ["f/1", "f/2"]
        service.request("DELETE", f"/object/{bucket}", json={"prefixes": ["f/1", "f/2"]}).raise_for_status()
        assert [each["name"] for each in next(pages)["objects"]] == ["f/3"]
        service.delete(f"/object/{bucket}/f/3").raise_for_status()
