"""The audit of a soak finds every invariant that is broken, and none where all is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from benchmarks.soaking.audit import audit, bill_of
from benchmarks.soaking.errands import Errand, errands
from benchmarks.soaking.evidence import Entry, Evidence, Lines, Shown
from trainmaster.budget.budgets import ACCOUNT, Standing

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=40)
JOB = "soak-001-0123456789-1"
STREAM = "algo-1-1795262400"


def plain_errand() -> Errand:
    """One that completes after three lines, followed by one."""
    chosen = {"ending": "completes", "fate": "followed", "hosts": 1, "lines": 3, "spot": False, "followers": 1}
    return replace(errands(1, 1)[0], instance_type="ml.m5.large", **chosen)


def lines(*steps: int) -> Lines:
    return Counter((STREAM, f"start=1 epoch=0.10 step={step}/3 loss=1.0 learning_rate=0.001") for step in steps)


DESCRIPTION = {
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "TrainingStartTime": BEGAN,
    "TrainingEndTime": ENDED,
    "LastModifiedTime": ENDED,
    "BillableTimeInSeconds": 40,
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
}
BILL = bill_of(DESCRIPTION)


def standing(settled: Decimal = BILL, reserved: Decimal = Decimal(0)) -> Standing:
    return Standing(ACCOUNT, "2026-11", Decimal("2.00"), settled, reserved)


SOUND = Evidence(
    errands={"soak-001": plain_errand()},
    followed=frozenset({"soak-001-a"}),
    jobs={JOB: DESCRIPTION},
    rows=[Shown(JOB, "completed", BEGAN, ENDED, BILL)],
    entries=[
        Entry(JOB, "reserved", Decimal("0.13"), Decimal(0)),
        Entry(JOB, "settled", Decimal("-0.13"), BILL),
    ],
    standings=[standing()],
    written={JOB: lines(1, 2, 3)},
    kept={JOB: lines(1, 2, 3)},
    told={"soak-001-a": lines(1, 2, 3)},
)


def test_where_all_is_right_nothing_is_found() -> None:
    findings = audit(SOUND)
    assert findings.offenders == {}
    counted = ("jobs", "duplicates", "lost_log_lines", "doubled_log_lines", "unsettled", "ledger_minus_bill_usd")
    assert [findings.counts[name] for name in counted] == [1, 0, 0, 0, 0, "0.00"]


def test_the_bill_is_that_of_the_price_list_and_all_instances() -> None:
    two = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 30}
    an_hour = {**DESCRIPTION, "BillableTimeInSeconds": 3600, "ResourceConfig": two}
    assert bill_of(an_hour) == Decimal("0.242500")
    assert bill_of({**an_hour, "ResourceConfig": {**two, "InstanceCount": 1}}) == Decimal("0.121250")


def described(**changes: object) -> dict[str, dict[str, object]]:
    return {JOB: {**DESCRIPTION, **changes}}


def with_row(**changes: object) -> Evidence:
    return replace(SOUND, rows=[replace(SOUND.rows[0], **changes)])  # type: ignore[arg-type]


def with_lines(*steps: int) -> Evidence:
    """The same everywhere: what the job itself cannot have written so."""
    return replace(SOUND, written={JOB: lines(*steps)}, kept={JOB: lines(*steps)}, told={"soak-001-a": lines(*steps)})


def twice() -> Evidence:
    again = "soak-001-9876543210-1"
    entries = [*SOUND.entries, *(replace(entry, key=again) for entry in SOUND.entries)]
    everywhere = {JOB: lines(1, 2, 3), again: lines(1, 2, 3)}
    return replace(
        SOUND, jobs={JOB: DESCRIPTION, again: DESCRIPTION}, entries=entries, standings=[standing(BILL * 2)],
        rows=[*SOUND.rows, replace(SOUND.rows[0], job=again)], written=everywhere, kept=everywhere,
    )  # fmt: skip


WRONG = [
    ("duplicates", twice()),
    ("jobs", replace(SOUND, jobs={}, rows=[], entries=[], standings=[standing(Decimal(0))])),
    ("jobs", replace(SOUND, jobs=described(TrainingJobStatus="InProgress"))),
    ("endings", replace(SOUND, jobs=described(TrainingJobStatus="Failed", FailureReason="a bug"))),
    ("unsettled", replace(SOUND, entries=SOUND.entries[:1])),
    ("books", replace(SOUND, jobs=described(BillableTimeInSeconds=41))),
    ("books", replace(SOUND, entries=[*SOUND.entries, Entry(JOB, "settled", Decimal(0), BILL)])),
    ("balances", replace(SOUND, standings=[standing(reserved=Decimal("0.13"))])),
    ("balances", replace(SOUND, standings=[standing(settled=BILL * 2)])),
    ("rows", replace(SOUND, rows=[])),
    ("rows", replace(SOUND, rows=[*SOUND.rows, *SOUND.rows])),
    ("rows", with_row(status="failed")),
    ("rows", with_row(completed_at=None)),
    ("rows", with_row(actual_cost=BILL + Decimal("0.000001"))),
    ("rows", with_row(started_at=ENDED)),
    ("rows", replace(SOUND, rows=[*SOUND.rows, Shown("soak-002-0-1", "creating", None, None, None)])),
    ("lost log lines", replace(SOUND, told={"soak-001-a": lines(1, 3)})),
    ("lost log lines", replace(SOUND, kept={JOB: lines(1, 2)})),
    ("lost log lines", with_lines(1, 3)),
    ("lost log lines", with_lines(1, 2)),
    ("doubled log lines", replace(SOUND, told={"soak-001-a": lines(1, 2, 2, 3)})),
]


@pytest.mark.parametrize(("invariant", "evidence"), WRONG, ids=[f"{at}-{one[0]}" for at, one in enumerate(WRONG)])
def test_what_is_wrong_is_found(invariant: str, evidence: Evidence) -> None:
    assert audit(evidence).offenders[invariant]


def test_a_follower_that_was_never_there_at_the_end_loses_nothing_but_may_double_nothing() -> None:
    nobody = replace(SOUND, followed=frozenset(), told={"soak-001-a": lines(1)})
    assert audit(nobody).offenders == {}
    assert "doubled log lines" in audit(replace(nobody, told={"soak-001-a": lines(1, 1)})).offenders


def test_the_same_seed_draws_the_same_errands_however_many() -> None:
    assert errands(7, 5) == errands(7, 50)[:5]
    assert errands(7, 5) != errands(8, 5)
