"""Commanded faults befall the calls they name, as often as they say."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainmaster.embedded.faults import Fault, Faults, Rule


def commanded(**rule: object) -> Faults:
    faults = Faults()
    faults.add(Rule.model_validate(rule))
    return faults


def test_a_fault_befalls_only_the_operation_it_names() -> None:
    faults = commanded(operation="CreateTrainingJob", error="ResourceLimitExceeded", message="quota")
    assert faults.take("DescribeTrainingJob") is None
    assert faults.take("CreateTrainingJob") == Fault("ResourceLimitExceeded", "quota", 400, 0.0, reset=False)


def test_a_pattern_reaches_every_operation_it_matches() -> None:
    faults = commanded(operation="Create*", error="ThrottlingException")
    assert faults.take("CreateModel")
    assert faults.take("CreateEndpoint")
    assert faults.take("DeleteModel") is None


def test_a_step_inside_a_job_fails_only_when_it_is_named() -> None:
    assert commanded(operation="*", error="ThrottlingException").take("LaunchingMLInstances") is None
    assert commanded(operation="LaunchingMLInstances", error="CapacityError").take("LaunchingMLInstances")


def test_a_counted_fault_ends_after_so_many_calls() -> None:
    faults = commanded(operation="*", error="ThrottlingException", count=2)
    assert [bool(faults.take("X")) for _ in range(4)] == [True, True, False, False]
    assert faults.rules() == []


def test_concurrent_calls_take_a_counted_fault_no_more_often_than_its_count() -> None:
    faults, taken = commanded(operation="*", error="ThrottlingException", count=100), []
    threads = [
        threading.Thread(target=lambda: taken.extend(filter(None, (faults.take("X") for _ in range(50)))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 100


@given(rate=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_a_share_of_calls_is_the_same_for_the_same_seed(rate: float, seed: int) -> None:
    def run() -> list[bool]:
        faults = Faults(seed)
        faults.add(Rule(operation="*", error="ThrottlingException", rate=rate))
        return [bool(faults.take("X")) for _ in range(30)]

    assert run() == run()


def test_a_share_of_calls_is_about_the_rate() -> None:
    faults = commanded(operation="*", error="ThrottlingException", rate=0.3)
    assert 230 < sum(bool(faults.take("X")) for _ in range(1000)) < 370


def test_the_first_rule_that_strikes_is_the_one() -> None:
    faults = commanded(operation="X", error="First", count=1)
    faults.add(Rule(operation="*", error="Second"))
    assert [fault.error for fault in (faults.take("X"), faults.take("X")) if fault] == ["First", "Second"]


def test_clearing_ends_all_faults() -> None:
    faults = commanded(operation="*", reset=True)
    faults.clear()
    assert faults.take("X") is None


@pytest.mark.parametrize(
    ("error", "status"), [("InternalFailure", 500), ("ServiceUnavailable", 503), ("Throttling", 400)]
)
def test_an_error_has_the_status_of_its_kind_unless_told(error: str, status: int) -> None:
    plain = commanded(operation="*", error=error).take("X")
    told = commanded(operation="*", error=error, status=429).take("X")
    assert plain
    assert told
    assert (plain.status, told.status) == (status, 429)


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "X"},
        {"error": "E"},
        {"operation": "", "error": "E"},
        {"operation": "X", "error": "E", "rate": 0},
        {"operation": "X", "error": "E", "rate": 1.1},
        {"operation": "X", "error": "E", "count": 0},
        {"operation": "X", "error": "E", "status": 200},
        {"operation": "X", "latency": -1},
        {"operation": "X", "latency": 301},
        {"operation": "X", "reset": "yes"},
        {"operation": "X", "reset": True, "lost": True},
        {"operation": "X", "error": "E", "lost": True},
        {"operation": "supabase:PutObject", "lost": True},
        {"operation": "X", "error": "E", "typo": 1},
    ],
)
def test_a_rule_that_could_do_nothing_or_is_misspelt_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(rule)


def test_capacity_that_is_not_there_is_told_in_aws_own_words() -> None:
    fault = commanded(operation="LaunchingMLInstances", error="CapacityError").take("LaunchingMLInstances")
    assert fault
    assert fault.message.startswith("Unable to provision requested ML compute capacity.")
