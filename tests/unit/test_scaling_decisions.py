"""How many instances a variant is to have, by what its last minutes were like."""

from __future__ import annotations

import pytest

from trainmaster.embedded.autoscaling import Target, change

TARGET = Target("house-prices", "all-traffic", 1, 4, "policy", 100.0)


@pytest.mark.parametrize(
    ("instances", "minutes", "rested", "wanted"),
    [
        (1, [250.0, None, None, None], 999, 3),
        (1, [2500.0, None, None, None], 999, 4),
        (1, [100.0, None, None, None], 999, None),
        (2, [250.0, 90.0, 90.0, 90.0], 10, None),
        (4, [300.0, 90.0, 90.0, 90.0], 999, None),
        (4, [10.0, 20.0, 30.0, 20.0], 999, 2),
        (4, [10.0, 20.0, 30.0, 20.0], 10, None),
        (4, [None, 20.0, 95.0, 20.0], 999, None),
        (4, [None, None, None, None], 999, None),
        (4, [50.0, 1.0, 1.0, 1.0], 999, 2),
        (4, [0.5, 0.5, 0.5, 0.5], 999, 1),
        (0, [None] * 4, 0, 1),
        (6, [None] * 4, 0, 4),
    ],
    ids=[
        "more than its share", "never more than the most", "as much as its share", "still resting", "at the most already",
        "less than its share for long", "quiet but resting", "not quiet for long enough", "nothing known",
        "quiet until now", "hardly anything", "below the least", "above the most",
    ],
)  # fmt: skip
def test_instances_follow_the_invocations_each_gets(
    instances: int, minutes: list[float | None], rested: float, wanted: int | None
) -> None:
    decided = change(TARGET, instances, minutes, rested)

    assert (decided.instances if decided else None) == wanted


def test_a_policy_may_forbid_to_take_instances_away() -> None:
    kept = Target("house-prices", "all-traffic", 1, 4, "policy", 100.0, scales_in=False)

    assert change(kept, 4, [0.5] * 4, 999) is None


def test_a_variant_without_a_policy_is_only_kept_within_its_limits() -> None:
    assert change(Target("house-prices", "all-traffic", 1, 4), 2, [1e9] * 4, 999) is None
