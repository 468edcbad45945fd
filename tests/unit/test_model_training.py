"""train.py: what it reads, what it refuses, what it leaves behind."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from model import inference, train
from model.data import generate
from trainmaster.datasets.tables import HOUSE_PRICES

HOUSE_DATA = Path(train.__file__).parent / "data" / "house_data.csv"


class Job:
    """The folders of one training job, laid out as SageMaker does."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.channel, self.model = base / "input" / "data" / "training", base / "model"
        self.output, self.output_data = base / "output", base / "output" / "data"
        self.channel.mkdir(parents=True)
        self.output.mkdir()
        monkeypatch.setenv("SM_CHANNEL_TRAINING", str(self.channel))
        monkeypatch.setenv("SM_MODEL_DIR", str(self.model))
        monkeypatch.setenv("SM_OUTPUT_DIR", str(self.output))
        monkeypatch.setenv("SM_OUTPUT_DATA_DIR", str(self.output_data))

    def holds(self, name: str, text: str) -> Job:
        path = self.channel / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return self

    def run(self, *hyperparameters: str) -> int:
        return train.main(hyperparameters)

    @property
    def card(self) -> Any:
        return json.loads((self.model / "model_card.json").read_text())

    @property
    def failure(self) -> str:
        return (self.output / "failure").read_text()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


@pytest.fixture
def trained(job: Job) -> Job:
    assert job.holds("house_data.csv", HOUSE_DATA.read_text()).run() == 0
    return job


def test_the_committed_data_is_what_the_seeded_script_writes() -> None:
    assert generate.house_data().encode() == HOUSE_DATA.read_bytes()
    assert len(HOUSE_DATA.read_text().splitlines()) == 1 + 200


def test_another_seed_makes_other_houses() -> None:
    assert generate.house_data(seed=generate.SEED + 1) != generate.house_data()


def test_a_model_of_the_committed_data_explains_over_four_fifths_of_held_out_prices(trained: Job) -> None:
    assert trained.card["metrics"]["r2"] > 0.8


def test_the_smoke_test_is_of_held_out_houses_from_the_cheapest_to_the_dearest_as_inference_prices_them(
    trained: Job,
) -> None:
    examples = json.loads((trained.model / "smoke_test.json").read_text())["predictions"]
    prices = [one["predicted_price"] for one in examples]
    assert len(examples) == 20
    assert prices == sorted(prices)
    with (trained.output_data / "predictions.csv").open() as lines:
        held_out = [
            {name: float(row[name]) for name in (*train.FEATURES, "predicted")} for row in csv.DictReader(lines)
        ]
    assert all({**one["inputs"], "predicted": one["predicted_price"]} in held_out for one in examples)
    assert prices[-1] == max(one["predicted"] for one in held_out)
    model = inference.model_fn(str(trained.model))
    answered = inference.predict_fn(inference.Houses([one["inputs"] for one in examples], batch=True), model)
    assert isinstance(answered, inference.Prices)
    assert [round(price) for price in prices] == list(answered.dollars)


def test_houses_that_inference_would_refuse_are_not_in_the_smoke_test() -> None:
    accepted = dict.fromkeys(train.FEATURES, (0.0, 10.0))
    houses = np.array([[1.0] * 4, [11.0] * 4, [2.0] * 4, [3.0] * 4])
    examples = train.smoke_houses(houses, np.array([5.0, 6.0, -7.0, 0.4]), accepted)
    assert examples == [{"inputs": dict.fromkeys(train.FEATURES, 1.0), "predicted_price": 5.0}]
    assert train.smoke_houses(houses[1:2], np.array([6.0]), accepted) == []


def test_metrics_are_printed_for_metric_definitions(trained: Job, capfd: pytest.CaptureFixture[str]) -> None:
    assert trained.run() == 0

    out = capfd.readouterr().out
    found = {
        name: float(re.search(rf"(?:^|\s){name}=([-+0-9.eE]+);", out)[1])  # type: ignore[index]
        for name in ("r2", "mae", "rmse", "train_rows", "validation_rows")
    }
    metrics = trained.card["metrics"]
    assert found["r2"] == pytest.approx(metrics["r2"], abs=1e-4)
    assert found["mae"] == pytest.approx(metrics["mae"], abs=0.01)
    assert found["rmse"] == pytest.approx(metrics["rmse"], abs=0.01)
    assert (found["train_rows"], found["validation_rows"]) == (160, 40)


def test_the_card_says_what_the_model_is_and_where_it_comes_from(trained: Job) -> None:
    card = trained.card

    assert card["model_version"] == "v1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", card["created"])
    assert card["target"]["name"] == "price"
    assert card["target"]["unit"] == "USD"
    assert card["rows"] == {"total": 200, "training": 160, "validation": 40}
    assert set(card["metrics"]) == {"r2", "mae", "rmse"}
    assert set(card["libraries"]) == {"python", "scikit-learn", "numpy", "joblib"}
    assert card["data"] == [
        {"file": "house_data.csv", "rows": 200, "sha256": hashlib.sha256(HOUSE_DATA.read_bytes()).hexdigest()}
    ]
    for name, feature in card["features"].items():
        assert feature["min"] <= feature["mean"] <= feature["max"], name
        assert feature["accepted"][0] <= feature["min"], name
        assert feature["accepted"][1] >= feature["max"], name
        assert len(feature["shares"]) == len(feature["bins"]) + 1, name
        assert (feature["shares"][0], feature["shares"][-1]) == (0, 0), name
        assert sum(feature["shares"]) == pytest.approx(1), name
        assert feature["bins"] == sorted(set(feature["bins"])), name


def test_the_card_has_a_place_for_what_was_never_seen_even_where_all_rows_are_alike() -> None:
    alike = train.shares(np.array([2.0, 2.0, 2.0]))
    assert alike["shares"] == [0, 1, 0]
    assert alike["bins"][0] == 2 < alike["bins"][1]


def test_one_list_of_features_is_meant_everywhere(trained: Job) -> None:
    assert train.FEATURES == inference.FEATURES == tuple(trained.card["features"])
    assert [column.name for column in HOUSE_PRICES.columns] == list(train.COLUMNS)
    assert generate.HEADER.split(",") == list(train.COLUMNS)


def test_the_artifact_holds_what_serves_it(trained: Job) -> None:
    source = Path(train.__file__).parent
    for name in ("inference.py", "requirements.txt"):
        assert (trained.model / "code" / name).read_bytes() == (source / name).read_bytes()


def test_held_out_predictions_are_those_of_the_saved_model(trained: Job) -> None:
    with (trained.output_data / "predictions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    model = joblib.load(trained.model / "model.joblib")

    assert len(rows) == 40
    again = model.predict([[float(row[name]) for name in train.FEATURES] for row in rows])
    assert [float(row["predicted"]) for row in rows] == pytest.approx(list(again))
    errors = [abs(float(row["predicted"]) - float(row["actual"])) for row in rows]
    assert sum(errors) / len(errors) == pytest.approx(trained.card["metrics"]["mae"])


def test_the_seed_decides_which_houses_are_held_out(trained: Job) -> None:
    def held_out(seed: int) -> str:
        assert trained.run("--seed", str(seed)) == 0
        return (trained.output_data / "predictions.csv").read_text()

    first = held_out(1)
    assert held_out(1) == first
    assert held_out(2) != first


def test_hyperparameters_reach_the_model(trained: Job) -> None:
    assert trained.run("--validation-fraction", "0.25", "--model-version", "2026-11.b") == 0

    assert trained.card["rows"] == {"total": 200, "training": 150, "validation": 50}
    assert trained.card["model_version"] == "2026-11.b"


def test_all_csv_files_of_the_channel_are_read_and_nothing_else(job: Job) -> None:
    header, *rows = HOUSE_DATA.read_text().splitlines(keepends=True)
    job.holds("a.csv", header + "".join(rows[:80])).holds("deeper/B.CSV", header + "".join(rows[80:]))
    job.holds("notes.txt", "not a table")

    assert job.run() == 0
    assert [(data["file"], data["rows"]) for data in job.card["data"]] == [("a.csv", 80), ("B.CSV", 120)]


def test_columns_may_stand_in_any_order_among_others(trained: Job) -> None:
    straight = trained.card["metrics"]
    with HOUSE_DATA.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    shuffled = ["price,note,sqft,year_built,bathrooms,Bedrooms"]
    order = ("sqft", "year_built", "bathrooms", "bedrooms")
    shuffled += [",".join([row["price"], '"seen, twice"', *(row[name] for name in order)]) for row in rows]
    trained.holds("house_data.csv", "\r\n".join(shuffled))

    assert trained.run() == 0
    assert trained.card["metrics"] == pytest.approx(straight)


def test_a_weak_model_is_reported_honestly_and_does_not_fail(job: Job) -> None:
    rows = "".join(f"3,2,1500,1990,{100_000 + 1_000 * (row * 7919 % 97)}\n" for row in range(50))

    assert job.holds("noise.csv", generate.HEADER + "\n" + rows).run() == 0
    assert job.card["metrics"]["r2"] < 0.2


def test_accepted_ranges_are_sane_bounds_widened_to_the_training_data(job: Job) -> None:
    rows = "".join(f"{3 + row % 3},2,{1500 + row},{1990 + row % 9},{200_000 + row}\n" for row in range(30))
    rows += "33,2,1620,1700,640000\n" * 5

    assert job.holds("odd.csv", generate.HEADER + "\n" + rows).run("--seed", "1") == 0
    features = job.card["features"]
    assert features["bedrooms"]["accepted"] == [0, 33]
    assert features["year_built"]["accepted"][0] == 1700
    assert features["sqft"]["accepted"] == [100, 20_000]


BAD_DATA = {
    "3,2,1500,1990,abc": "bad.csv line 2, column price: 'abc' is not a number",
    "3,,1500,1990,1": "bad.csv line 2, column bathrooms: '' is not a number",
    "3,2,nan,1990,1": "bad.csv line 2, column sqft: 'nan' is not a number",
    "3,2,1_500,1990,1": "bad.csv line 2, column sqft: '1_500' is not a number",
    "3,2,-1500,1990,1": "bad.csv line 2, column sqft: -1500 must not be negative",
    "3,2,1500,1990,0": "bad.csv line 2, column price: 0 must be above 0",
    "3,2,1500,1990": "bad.csv line 2: 4 cells where the header has 5",
}


@pytest.mark.parametrize(("row", "said"), BAD_DATA.items())
def test_bad_data_fails_the_job_naming_file_line_and_column(job: Job, row: str, said: str) -> None:
    assert job.holds("bad.csv", f"{generate.HEADER}\n{row}\n").run() == 1
    assert said in job.failure
    assert not job.model.exists()


def test_lines_are_counted_as_an_editor_counts_them(job: Job) -> None:
    text = 'note,bedrooms,bathrooms,sqft,year_built,price\n"two\nlines",3,2,1500,1990,1\n\n"a\nb",3,2,x,1990,1\n'

    assert job.holds("notes.csv", text).run() == 1
    assert "notes.csv line 5, column sqft: 'x'" in job.failure


def test_all_problems_are_counted_and_the_first_fit_into_a_failure_reason(job: Job) -> None:
    assert job.holds("bad.csv", generate.HEADER + "\n" + "3,2,x,1990,1\n" * 500).run() == 1
    assert job.failure.startswith("The training data has 500 problems: ")
    assert "and 492 more" in job.failure
    assert len(job.failure) <= 1024


def test_a_missing_column_is_named_with_the_header_that_was_found(job: Job) -> None:
    assert job.holds("bad.csv", "bedrooms,baths,sqft,year_built,price\n3,2,1500,1990,1\n").run() == 1
    assert "bad.csv has no column bathrooms; its header is: bedrooms, baths, sqft, year_built, price" in job.failure


def test_a_column_given_twice_is_refused(job: Job) -> None:
    assert job.holds("bad.csv", generate.HEADER + ",sqft\n3,2,1500,1990,1,1600\n").run() == 1
    assert "bad.csv has 2 columns named sqft" in job.failure


def test_a_channel_without_csv_files_is_refused(job: Job) -> None:
    assert job.holds("houses.json", "[]").run() == 1
    assert "no CSV file in the training channel; it holds: houses.json" in job.failure


def test_a_job_without_the_channel_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SM_CHANNEL_TRAINING")
    assert job.run() == 1
    assert "no channel named 'training'" in job.failure


def test_a_file_that_is_not_utf8_is_refused(job: Job) -> None:
    (job.channel / "bad.csv").write_bytes(generate.HEADER.encode("utf-16"))
    assert job.run() == 1
    assert "bad.csv is not CSV in UTF-8" in job.failure


def test_too_few_rows_to_hold_some_out_are_refused(job: Job) -> None:
    assert job.holds("few.csv", generate.HEADER + "\n" + "3,2,1500,1990,200000\n" * 6).run() == 1
    assert "6 rows with validation-fraction 0.2 leave 4 to train and 2 to validate" in job.failure


def test_as_many_rows_as_a_table_must_have_are_enough_to_train_on(job: Job) -> None:
    rows = "".join(
        f"{row % 4},2,{1500 + row},{1990 - row},{200_000 + row}\n" for row in range(HOUSE_PRICES.minimum_rows)
    )
    assert job.holds("few.csv", f"{generate.HEADER}\n{rows}").run() == 0


BAD_HYPERPARAMETERS = {
    ("--validation-fraction", "1"): "validation-fraction is 1; it must lie between 0 and 1",
    ("--validation-fraction", "nan"): "validation-fraction is nan",
    ("--seed", "-1"): "seed is -1",
    ("--seed", "many"): "invalid int value: 'many'",
    ("--model-version", "v 1"): "model-version is 'v 1'",
    ("--epochs", "3"): "unrecognized arguments: --epochs 3",
}


@pytest.mark.parametrize(("given", "said"), BAD_HYPERPARAMETERS.items())
def test_a_wrong_hyperparameter_fails_the_job_by_name(job: Job, given: tuple[str, str], said: str) -> None:
    job.holds("house_data.csv", HOUSE_DATA.read_text())
    assert job.run(*given) == 1
    assert said in job.failure


def test_a_model_that_could_not_be_served_fails_the_job(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "__file__", str(tmp_path / "train.py"))
    assert job.holds("house_data.csv", HOUSE_DATA.read_text()).run() == 1
    assert "inference.py is not beside train.py" in job.failure


def test_an_unforeseen_error_is_reported_and_not_hidden(job: Job) -> None:
    job.holds("house_data.csv", HOUSE_DATA.read_text())
    job.model.write_text("a file where a folder belongs")

    with pytest.raises(OSError, match="model"):
        job.run()
    assert job.failure.startswith("NotADirectoryError: ")


def test_numbers_are_finite_or_no_numbers() -> None:
    assert train.number("1e3") == 1000
    assert [train.number(cell) for cell in ("inf", "-Infinity", "1e999", "NaN", "", "1,000")] == [None] * 6
    assert not math.isnan(train.number("0") or 0)
