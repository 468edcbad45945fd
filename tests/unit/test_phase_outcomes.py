"""What is said of a phase: every dataset counted, the first hundred of each kind named."""

from __future__ import annotations

import pickle
from uuid import UUID

from trainmaster.migration.outcomes import LISTED, Ending, Fate, Tallied, Verdict, VerifiedCopies


def fate(number: int, verdict: Verdict, kind: str = "", reason: str = "") -> Fate:
    return Fate(UUID(int=number), f"set {number}", 10, verdict, kind, reason, "do this" if reason else "", read=3)


def test_all_are_counted_and_the_first_hundred_of_each_outcome_named() -> None:
    tallied = Tallied()
    tallied.add(fate(n, "done") for n in range(250))
    tallied.add(fate(n, "left", "grace_period", "too early") for n in range(130))
    tallied.add(fate(n, "failed", "damaged", "rotten") for n in range(120))
    tallied.add(fate(n, "found") for n in range(7))
    result = tallied.result("prune", rehearsed=False, seconds=1.5, ending=Ending(left_off="the window is closed"))
    assert (result.datasets, result.bytes, result.found, result.failed) == (250, 2500, 7, 120)
    assert dict(result.left) == {"grace_period": 130}
    assert [len(each) for each in (result.done, result.left_out, result.failures)] == [LISTED] * 3
    assert result.sentence() == (
        "prune: 250 datasets (2.5 kB) pruned, 7 already so, 130 left out (grace period), 120 failed, 1.5 kB read."
        " The next run goes on: the window is closed."
    )
    lines = result.table()
    assert [line["Outcome"] for line in lines] == ["failed"] * 100 + ["pruned"] * 100 + ["left out"] * 100
    assert lines[0]["What to do"] == "do this"
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own


def test_a_rehearsal_speaks_of_what_would_be() -> None:
    tallied = Tallied()
    tallied.add([fate(1, "done")])
    result = tallied.result("rollback", rehearsed=True, seconds=0.1, ending=Ending())
    assert (
        result.sentence()
        == "Rehearsal of rollback: 1 dataset (10 bytes) would be rolled back, 3 bytes would be read to prove them."
    )
    assert result.table()[0]["Outcome"] == "would be rolled back"


def test_why_it_ended_is_said() -> None:
    assert VerifiedCopies(1, 2_000_000, 0.5, 0, ending=Ending(ended_early="S3 is gone.")).sentence() == (
        "1 copy in S3 read again (2.0 MB, 4.0 MB/s), 0 damaged. Ended early: S3 is gone."
    )
    assert VerifiedCopies(0, 0, 0.0, 0, failed=2, ending=Ending(stopped=True)).sentence() == (
        "0 copies in S3 read again (0 bytes, 0.0 MB/s), 0 damaged, 2 could not be read. Stopped; the same request again goes on."
    )
