"""How far training is, read from whatever a trainer prints; and never a crash, whatever it prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainmaster.training.curves import MOST_POINTS, Curve, picture, thinned
from trainmaster.training.log_sinks import Line
from trainmaster.training.progress import Course, Progress, reading


def course_of(*texts: str, seconds: float = 10.0, host: int = 1, course: Course | None = None) -> Course:
    """After these lines, each so many seconds after the one before."""
    lines = [
        Line(f"cats-1/algo-{host}-100", int(1e12 + number * seconds * 1000), text) for number, text in enumerate(texts)
    ]
    return (course or Course()).after(lines)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (
            "epoch=1.5; step=10/100; loss=1.25; eval_loss=1.5; learning_rate=1e-4; tokens_per_second=1234.5; progress=10.0%; eta=90;",
            {
                "epoch": 1.5, "step": 10, "steps": 100, "loss": 1.25, "eval_loss": 1.5, "learning_rate": 1e-4,
                "tokens_per_second": 1234.5, "percent": 10, "eta_seconds": 90,
            },
        ),
        (
            (
                "epoch=0.4444; step=4/18; loss=0.6756; learning_rate=0.00966236; grad_norm=0.186255; rewards/margins=-0.0358592;"
                " rewards/accuracies=0.5; tokens_per_second=107.951; gpu_memory_gb=20.1; progress=22.2; eta=19;"
            ),
            {
                "epoch": 0.4444, "step": 4, "steps": 18, "loss": 0.6756, "learning_rate": 0.00966236, "reward_margin": -0.0358592,
                "reward_accuracy": 0.5, "tokens_per_second": 107.951, "percent": 22.2, "eta_seconds": 19,
            },
        ),
        (
            "epoch=1.0000; step=9/18; eval_loss=0.528767; eval_rewards/margins=0.36; eval_rewards/accuracies=1; progress=50.0; eta=0;",
            {"epoch": 1, "step": 9, "steps": 18, "eval_loss": 0.528767, "percent": 50, "eta_seconds": 0},
        ),
        ("{'loss': 1.2, 'grad_norm': 3.1, 'learning_rate': 5e-05, 'epoch': 0.5}", {"loss": 1.2, "learning_rate": 5e-5, "epoch": 0.5}),
        ("{'eval_loss': '0.91', 'eval_runtime': 3.1, 'epoch': '1.0'}", {"eval_loss": 0.91, "epoch": 1}),
        ('{"step": 5, "loss": 0.25, "eta": "1:02:03"}', {"step": 5, "loss": 0.25, "eta_seconds": 3723}),
        (" 42%|####      | 42/100 [00:10<00:14,  4.05it/s]", {"step": 42, "steps": 100, "eta_seconds": 14}),
        ("  0%|          | 0/500 [00:00<?, ?it/s]", {"step": 0, "steps": 500}),
        ("\r 10%|#| 1/10 [00:01<00:09]\r 20%|##| 2/10 [00:02<00:08]", {"step": 2, "steps": 10, "eta_seconds": 8}),
        ("Epoch 3/10 - 12s - loss: 0.123 - val_loss: 0.2", {"epoch": 3, "epochs": 10, "loss": 0.123, "eval_loss": 0.2}),
        ("Epoch [2/5], Step [100/600], Loss: 0.5", {"epoch": 2, "epochs": 5, "step": 700, "steps": 3000, "loss": 0.5}),
        ("Epoch 0:  42%|████▏ | 42/100 [00:10<00:14, 4.05it/s, v_num=0, train_loss=0.123]", {"epoch": 0.42, "loss": 0.123}),
        ("Epoch 2/4:  50%|█████ | 50/100 [00:10<00:10]", {"epoch": 1.5, "epochs": 4}),
        ("42/100 ━━━━━ 3s 12ms/step - loss: 0.3", {"loss": 0.3}),
        ("Map: 100%|███| 1000/1000 [00:01<00:00, 900 examples/s]", {}),
        ("Loading checkpoint shards:  50%|█████ | 1/2 [00:10<00:10]", {}),
        ("global_step=100, train/loss: 0.3", {"step": 100, "loss": 0.3}),
        ("step 7 of 50", {"step": 7, "steps": 50}),
        ("[10]\ttrain-rmse:0.5", {}),
        ("my.loss: 3, gloss=4, loss_scale=5, /data/epoch 3/x, version 1.2.3", {}),
        ("loss=1.0.3, epoch=99999999999999999999, progress=250%, step=-3, learning_rate=-1", {}),
        ("the loss of a pet is hard; an epoch ended, step by step", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_a_line_says(line: str, values: dict[str, float]) -> None:
    assert dict(reading(line).values) == values


def test_a_loss_that_is_no_number_is_told_and_put_in_no_curve() -> None:
    course = course_of("step=1/4; loss=2.5;", "step=2/4; loss=nan;")
    assert (course.now.diverged, course.now.loss, course.now.step) == (True, None, 2)
    assert "not a number" in course.now.sentence()
    assert course.curve.series["loss"] == ((1.0, 2.5),)
    assert not course_of("loss=0.5;", course=course).now.diverged
    assert course_of("loss=-inf;").now.diverged


def test_percentage_and_time_left_are_reckoned_from_steps_where_they_are_not_said() -> None:
    course = course_of("step=0/100;", "step=25/100;", seconds=50)
    assert (course.now.percent, course.now.eta_seconds) == (25, 150)
    assert course.now.sentence() == "25 %, step 25 of 100, about 2 min left"


def test_they_are_taken_from_the_trainer_where_it_says_them() -> None:
    course = course_of("step=0/100; progress=1%;", "step=25/100; progress=40%; eta=7;", "step=30/100;", seconds=50)
    assert (course.now.percent, course.now.eta_seconds) == (40, 7)


def test_epochs_that_were_asked_for_make_a_percentage_of_hugging_faces_lines() -> None:
    course = Course().at({"HyperParameters": {"num_train_epochs": '"4"'}})
    assert course_of("{'loss': 2.0, 'epoch': 1.0}", course=course).now.percent == 25


def test_an_epoch_that_begins_is_not_one_that_has_ended() -> None:
    assert course_of("Epoch 1/4").now.percent == 0
    assert course_of("Epoch 1/4", "Epoch 1/4 loss: 2.0").now.percent == 25
    assert course_of("Epoch 4/4:  50%|█████ | 50/100 [00:10<00:10]").now.percent == 87.5


def test_the_bar_of_an_evaluation_in_between_is_not_the_trainings() -> None:
    course = course_of(" 10%|#| 50/500 [00:50<07:30]", "100%|##########| 63/63 [00:05<00:00]")
    assert (course.now.step, course.now.steps) == (50, 500)
    assert course_of("100%|#| 500/500 [08:20<00:00]", "1%|#| 7/700 [00:01<10:00]").now.steps == 700


def test_a_restart_from_a_checkpoint_reckons_anew_and_forgets_what_was_lost_of_the_curve() -> None:
    lines = [f"step={step}/100; loss={1 / (step + 1)};" for step in (10, 20, 30, 40, 20, 30)]
    course = course_of(*lines, seconds=10)
    assert [place for place, _ in course.curve.series["loss"]] == [10, 20, 30]
    assert course.now.percent == 30
    assert course.now.eta_seconds == 70


def test_lines_of_several_hosts_are_not_mixed_up() -> None:
    course = course_of("step=5/100; loss=9;", host=2)
    assert course.now.step == 5
    course = course_of("step=50/100; loss=1;", host=1, course=course)
    course = course_of("step=6/100; loss=8;", host=2, course=course)
    assert (course.now.step, course.now.loss) == (50, 1)


def test_metrics_of_describe_tell_what_lines_do_not() -> None:
    metrics = [
        {"MetricName": "train:loss", "Value": 0.25},
        {"MetricName": "validation:loss", "Value": math.nan},
        {"MetricName": "validation:rmse", "Value": 7.0},
        {"MetricName": "epoch", "Value": 3.0},
    ]
    now = course_of("loss=0.5;").at({"FinalMetricDataList": metrics}).now
    assert (now.loss, now.eval_loss, now.epoch) == (0.5, None, 3)
    assert Course().at({"FinalMetricDataList": metrics}).now.loss == 0.25
    assert Course().at({"TrainingJobStatus": "Completed"}).now.percent == 100


@pytest.mark.parametrize(
    ("lines", "axis", "places"),
    [
        (["step=1; loss=3;", "step=2; loss=2;"], "step", [1, 2]),
        (["{'loss': 3.0, 'epoch': 0.5}", "{'loss': 2.0, 'epoch': 1.0}"], "epoch", [0.5, 1.0]),
        (["loss: 3", "loss: 2"], "report", [1, 2]),
    ],
)
def test_a_curve_goes_by_what_the_trainer_counts(lines: Sequence[str], axis: str, places: list[float]) -> None:
    curve = course_of(*lines).curve
    assert (curve.axis, [place for place, _ in curve.series["loss"]]) == (axis, places)


def test_a_course_outlives_the_row_it_is_kept_in() -> None:
    course = course_of("step=1/9; loss=3; eval_loss=4;", "step=2/9; loss=2;", "loss=nan;")
    assert Course.of_json(json.loads(json.dumps(course.as_json()))) == course


Json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["curve", "axis", "series", "loss", "step", "reckoned", "began", "percent", "host"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(Json)
@example({"curve": {"axis": ["step"], "series": {}}})
@example({"curve": {"axis": "step", "series": {"loss": [[1, 10**400]]}}})
def test_whatever_a_row_holds_there_is_a_course(kept: Any) -> None:
    course = Course.of_json(kept)
    json.dumps(course_of("step=1; loss=3;", course=course).as_json(), allow_nan=False)
    course.now.sentence()


WORDS = st.sampled_from(
    ["epoch", "step", "loss", "=", ":", "/", "nan", "inf", "-", "1e999", "9" * 400, "0", "100", "%|", "|", "[00:10<", "]", "\r", " ",
     "eta", "progress", "'", "é", "\0", "1:99:99", "of", "eval_loss", "\ud800", "Epoch 0/0", "step=0/0;", "epoch=3;", "steps=0",
     "Epoch 1/3 ", "steps=5 ", "epoch=nan ", "epochs=nan ", "Step 1/2 ", "step=nan ", " 1%|#| 1/2 [00:01<00:02]"]
)  # fmt: skip


@given(st.lists(st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=200), max_size=8))
def test_no_line_brings_it_down_or_into_anything_that_is_no_json(lines: list[str]) -> None:
    course = course_of(*lines, seconds=0.5)
    assert json.loads(json.dumps(course.as_json(), allow_nan=False))
    assert isinstance(course.now.sentence(), str)
    assert course.now.percent is None or 0 <= course.now.percent <= 100


@pytest.mark.parametrize(
    "line",
    [
        "epoch " * 40_000,
        "1" * 250_000,
        "%|" * 100_000,
        "loss" + " " * 200_000 + "=1",
        "'" * 100_000,
        "[00:" * 60_000,
        "1%|" + "#" * 250_000,
    ],
)
def test_a_line_made_to_be_slow_is_read_as_fast_as_its_first_and_last_words(line: str) -> None:
    for _ in range(20):  # a second each would be the test's end
        reading(line)


class TestCurve:
    def test_it_stays_small_and_keeps_its_peaks_and_both_its_ends(self) -> None:
        curve = Curve()
        for first in range(0, 50_000, 100):
            curve = curve.with_points(
                ("loss", float(step), 99.0 if step == 12_345 else -7.0 if step == 777 else 1.0)
                for step in range(first, first + 100)
            )
        points = curve.series["loss"]
        assert len(points) <= MOST_POINTS
        assert {(0.0, 1.0), (12_345.0, 99.0), (777.0, -7.0), (49_999.0, 1.0)} <= set(points)
        assert [place for place, _ in points] == sorted({place for place, _ in points})

    @given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=400), st.integers(4, 60))
    def test_thinned_it_has_the_same_ends_and_extremes(self, values: list[float], most: int) -> None:
        points = [(float(place), value) for place, value in enumerate(values)]
        kept = thinned(points, most)
        assert len(kept) <= most
        assert set(kept) <= set(points)
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert {min(value for _, value in kept), max(value for _, value in kept)} == {min(values), max(values)}
        assert [place for place, _ in kept] == sorted(place for place, _ in kept)

    def test_what_cannot_be_drawn_is_left_out(self) -> None:
        curve = Curve().with_points([("loss", 1, math.nan), ("loss", math.inf, 1), ("loss", 2, 1e40), ("loss", 3, 1.0)])
        assert curve.series["loss"] == ((3, 1.0),)

    @pytest.mark.parametrize(
        ("values", "title"),
        [
            ([3.0, 2.0], "cats-1"),
            ([300.0, 0.1], "$\\frac{"),
            ([0.0, -1.0], "a\nb\0"),
            ([1e-30, 1e29], "x" * 5000),
            ([5.0] * 500, ""),
            ([float(value) for value in range(2000)], "_^{}"),
        ],
    )
    def test_any_curve_is_drawn_whatever_its_title(self, values: list[float], title: str) -> None:
        curve = Curve().with_points(("loss", float(step), value) for step, value in enumerate(values))
        png = picture(curve.with_points([("eval_loss", 1.0, 1.5)]), title)
        assert png
        assert png.startswith(b"\x89PNG")
        assert len(png) < 200_000

    def test_of_a_single_point_there_is_nothing_to_draw(self) -> None:
        assert picture(Curve().with_points([("loss", 1, 2.0)]), "x") is None
        assert picture(Curve(), "x") is None


def test_a_sentence_says_nothing_of_what_is_not_known() -> None:
    assert Progress().sentence() == ""
    now = Progress(epoch=1, epochs=3, loss=0.25, eval_loss=0.5, percent=33.333, eta_seconds=7200)
    assert now.sentence() == "33 %, epoch 1 of 3, loss 0.25, evaluation loss 0.5, about 2.0 h left"
