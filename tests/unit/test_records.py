"""What the embedded SageMaker remembers, under concurrency and over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainmaster.embedded.sagemaker.records import AlreadyRecordedError, Records

ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/cats"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "records.db")
    yield records
    records.close()


def test_a_record_is_there_with_its_tags_after_a_restart(tmp_path: Path) -> None:
    first = Records(tmp_path / "records.db")
    first.create("model", "cats", ARN, {"n": 1}, [{"Key": "user", "Value": "anna"}])
    second = Records(tmp_path / "records.db")  # the first was not closed: a killed process closes nothing
    assert second.get("model", "cats") == {"n": 1}
    assert second.tags(ARN) == {"user": "anna"}
    first.close()
    second.close()


def test_of_racing_creators_exactly_one_succeeds(records: Records) -> None:
    def create(n: int) -> bool:
        try:
            records.create("model", "cats", ARN, {"n": n}, [{"Key": "n", "Value": str(n)}])
        except AlreadyRecordedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(64))) == 1
    winner = records.get("model", "cats")
    assert winner
    assert records.tags(ARN) == {"n": str(winner["n"])}


def test_racing_changes_are_all_kept(records: Records) -> None:
    records.create("model", "cats", ARN, {"n": 0})

    def count(_: int) -> None:
        with records.changing("model", "cats") as body:
            body["n"] += 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(count, range(200)))
    assert records.get("model", "cats") == {"n": 200}


def test_a_change_that_fails_leaves_the_record_as_it_was(records: Records) -> None:
    def change() -> None:
        with records.changing("model", "cats") as body:
            body["n"] = 2
            raise RuntimeError

    records.create("model", "cats", ARN, {"n": 1})
    with pytest.raises(RuntimeError):
        change()
    assert records.get("model", "cats") == {"n": 1}


def test_changes_in_one_transaction_happen_together_or_not_at_all(records: Records) -> None:
    def both() -> None:
        with records.transaction():
            records.create("model", "cats", ARN, {})
            records.create("model", "cats", ARN, {})

    with pytest.raises(AlreadyRecordedError):
        both()
    assert records.get("model", "cats") is None


def test_changing_what_is_not_there_is_a_key_error(records: Records) -> None:
    with pytest.raises(KeyError), records.changing("model", "cats"):
        pass


def test_kinds_do_not_share_names(records: Records) -> None:
    records.create("model", "cats", ARN, {"kind": "model"})
    records.create("endpoint", "cats", ARN.replace("model", "endpoint"), {"kind": "endpoint"})
    assert [body["kind"] for body in records.all("model")] == ["model"]


def test_tags_go_with_the_record(records: Records) -> None:
    records.create("model", "cats", ARN, {}, [{"Key": "user", "Value": "anna"}])
    assert records.delete("model", "cats")
    assert not records.delete("model", "cats")
    assert records.tags(ARN) == {}
    assert not records.has_arn(ARN)


def test_a_tag_is_replaced_and_removed_by_its_key(records: Records) -> None:
    records.create("model", "cats", ARN, {}, [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}])
    records.tag(ARN, {"a": "2", "c": "3"})
    records.untag(ARN, ["b", "never there"])
    assert records.tags(ARN) == {"a": "2", "c": "3"}
