"""Copies read again as the schedule does it: what is sound is proven anew, what has rotted is said aloud."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from depot import Depot, artifacts, cells
from prefect.events.worker import EventsWorker

from flows.verify_copies import verify_copies
from tasks.migration_reports import DAMAGED
from trainmaster.errors import CopiesDamagedError
from trainmaster.migration.request import VerifyCopiesRequest

WITHIN = 90.0


@pytest.fixture
def depot(stack: Any) -> Depot:
    """With five datasets that were copied."""
    stocked = Depot(stack)
    stocked.stock(5)
    stocked.run()
    return stocked


def verify(depot: Depot, **asked: Any) -> Any:
    request = VerifyCopiesRequest.model_validate({"user_id": str(depot.user_id), **asked})
    return verify_copies(request, return_state=True)


def test_sound_copies_are_read_whole_those_first_that_were_not_read_for_longest(depot: Depot) -> None:
    before = depot.verified()
    first = verify(depot, sample=2)
    assert (first.name, first.result().read, first.result().damaged) == ("Completed", 2, ())
    then = depot.verified()
    assert sum(then[id_] > before[id_] for id_ in before) == 2
    verify(depot, sample=3)
    assert all(depot.verified()[id_] > before[id_] for id_ in before)
    assert artifacts(first) == {}


def test_a_copy_that_has_rotted_fails_the_run_with_what_and_where_and_what_to_do(depot: Depot) -> None:
    rotten, *_ = sorted(depot.in_s3())
    s3, bucket = depot.stack.client("s3"), depot.stack.bucket
    data = s3.get_object(Bucket=bucket, Key=rotten)["Body"].read()
    s3.put_object(Bucket=bucket, Key=rotten, Body=data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    dataset = rotten.rpartition("/")[2].removesuffix(".jsonl.gz")

    state = verify(depot, everything=True)
    assert state.type.value == "FAILED"
    assert "1 damaged" in str(state.message)
    with pytest.raises(CopiesDamagedError, match=dataset):
        state.result()
    [line] = cells(artifacts(state)["damaged-copies"])
    assert line["Dataset"].replace("\\", "") == dataset
    assert line["Why"]
    assert line["What to do"]
    EventsWorker.drain_all(timeout=10)
    [event] = events_of(depot, dataset)
    assert event["payload"]["dataset"] == dataset
    assert len([at for at in depot.verified().values() if at]) == 4


def events_of(depot: Depot, dataset: str) -> list[dict[str, Any]]:
    """Prefect writes them down a moment after it has them."""
    wanted = {"event": {"name": [DAMAGED]}, "resource": {"id": [f"trainmaster.dataset.{dataset}"]}}
    deadline = time.monotonic() + WITHIN
    while True:
        answer = httpx.post(f"{depot.stack.prefect.api_url}/events/filter", json={"filter": wanted}, timeout=60)
        if found := answer.raise_for_status().json()["events"]:
            return list(found)
        assert time.monotonic() < deadline, "nobody was told"
        time.sleep(0.1)
