"""A long wait is told: at once when something changes, and now and then while nothing does."""

from tasks.progress import AGAIN_SECONDS, Teller


def test_it_is_told_when_it_changes_and_again_after_a_minute_without_change() -> None:
    told: list[str] = []
    now = [0.0]
    teller = Teller(told.append, clock=lambda: now[0])
    for seconds, standing in [
        (0, "Starting"),
        (1, "Starting"),
        (2, "Training"),
        (30, "Training"),
        (2 + AGAIN_SECONDS, "Training"),
        (63, "Training"),
    ]:
        now[0] = seconds
        teller.tell(standing, f"{standing} at {seconds:g}")
    assert told == ["Starting at 0", "Training at 2", f"Training at {2 + AGAIN_SECONDS:g}"]
