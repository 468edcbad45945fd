"""A tour of the product's screen by a real browser: every form, a training started, watched, approved over budget and cancelled.

`make tour` runs this, leaves a picture of each step in `.trainmaster/tour`, and renews those in `docs/pictures`; `make test` does
not: it takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import boto3
import browser
import httpx
import pytest

pytestmark = pytest.mark.timeout(1500)
ROOT = Path(__file__).parents[2]
PICTURES = ROOT / ".trainmaster" / "tour"
IN_DOCS = {"choose-gpu": ROOT / "docs" / "pictures" / "choosing-a-machine.png"}
HOUSES = ROOT / "model" / "data" / "house_data.csv"
WITHIN = 400.0
USER = str(uuid4())
_LISTEN = """(() => {
  window.refused = false;
  const listener = new MutationObserver(() => {
    if (!document.body.innerText.includes(%s)) return;
    window.refused = true;
    listener.disconnect();
  });
  listener.observe(document.body, {childList: true, subtree: true, characterData: true});
})()"""
"""JavaScript that notes whether a text was shown, however briefly."""
T = TypeVar("T")


def until(condition: Callable[[], T], why: str) -> T:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


@dataclass(frozen=True)
class Up:
    """`make up` as it runs, on a state of its own."""

    ui: str
    environment: dict[str, str]
    deployments: dict[str, dict[str, Any]]

    def client(self, service: str) -> Any:
        env, connect = self.environment, cast("Any", boto3.client)
        return connect(
            service,
            endpoint_url=env.get(f"AWS_ENDPOINT_URL_{service.upper()}", env["AWS_ENDPOINT_URL"]),
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def jobs(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client("sagemaker").list_training_jobs(NameContains=name)[
            "TrainingJobSummaries"
        ]
        return found

    def runs(self, deployment: str) -> int:
        asked = {"deployments": {"name": {"any_": [deployment]}}}
        return int(httpx.post(f"{self.environment['PREFECT_API_URL']}/flow_runs/count", json=asked, timeout=60).json())

    def command(self, *typed: str) -> None:
        command = [sys.executable, "-m", "trainmaster.cli", *typed]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, timeout=WITHIN, capture_output=True)

    @contextmanager
    def no_spot_instances(self) -> Iterator[None]:
        """Spot jobs wait for their instances until the block ends, or they are stopped."""
        self._fault("POST", {"operation": "LaunchingMLInstances", "error": "CapacityError"})
        try:
            yield
        finally:
            self._fault("DELETE")

    def _fault(self, method: str, rule: dict[str, str] | None = None) -> None:
        url = f"{self.environment['AWS_ENDPOINT_URL']}/_trainmaster/faults"
        httpx.request(method, url, json=rule, timeout=60).raise_for_status()


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    shutil.rmtree(PICTURES, ignore_errors=True)
    state = PICTURES / "state"
    state.mkdir(parents=True)
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_", "TRAINMASTER_"))
    }
    with (PICTURES / "up.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "trainmaster.cli", "up", "--port", "0"],
            env={**clean, "TRAINMASTER_STATE_DIR": str(state)}, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        ui = until(lambda: "".join(re.findall(r"Prefect UI: (\S+)/deployments", log_text())), "it never came up")
        environment = dict(re.findall(r"^export (\w+)=(.*)$", (state / "env").read_text(), re.MULTILINE))
        environment = {name: value.strip("'") for name, value in environment.items()}
        found = httpx.post(f"{environment['PREFECT_API_URL']}/deployments/filter", json={}, timeout=60).json()
        yield Up(ui, environment, {one["name"]: one for one in found})
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)


def log_text() -> str:
    return (PICTURES / "up.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def page(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    assert up
    program = browser.installed()
    if not program:
        pytest.fail(f"There is none of {', '.join(browser.PROGRAMS)} here. On Debian: sudo apt-get install chromium.")
    with browser.page_in(program, tmp_path_factory.mktemp("chromium") / "profile") as opened:
        yield opened


class Screen:
    """The forms and pages of Prefect's UI, by what people see on them."""

    def __init__(self, up: Up, page: browser.Page) -> None:
        self.up, self.page = up, page

    def open_form(self, deployment: str) -> list[str]:
        """The titles of its fields, all of which are shown by then."""
        found = self.up.deployments[deployment]
        schema = found["parameter_openapi_schema"]
        name = schema["properties"]["request"]["$ref"].rpartition("/")[2]
        titles = [field["title"] for field in schema["definitions"][name]["properties"].values()]
        self.page.open("about:blank")  # nothing of the form before
        self.page.open(f"{self.up.ui}/deployments/deployment/{found['id']}/run")
        for title in titles:
            self.page.says(title)
        return titles

    def field(self, label: str) -> str:
        """The control under a label."""
        return (
            "(label => label && document.getElementById(label.htmlFor))([...document.querySelectorAll('label')]"
            f".find(each => [{json.dumps(label)}, {json.dumps(label + ' (Optional)')}].includes(each.innerText.trim())))"
        )

    def button(self, text: str) -> str:
        return (
            f"[...document.querySelectorAll('button')].findLast(each => each.innerText.trim() === {json.dumps(text)})"
        )

    def option(self, text: str) -> str:
        return (
            "[...document.querySelectorAll('[role=option], [role=menuitem]')]"
            f".find(each => each.innerText.trim().startsWith({json.dumps(text)}))"
        )

    def tab(self, text: str) -> str:
        return (
            f"[...document.querySelectorAll('[role=tab]')].find(each => each.innerText.trim() === {json.dumps(text)})"
        )

    def choose(self, label: str, text: str) -> None:
        """From a drop-down: what begins with the text."""
        self.page.click(self.field(label))
        self.page.click(self.option(text))

    def is_in(self, state: str) -> None:
        """Returns once the run's badge says so; its log may have said the word of a step before."""
        found = (
            f"[...document.querySelectorAll('span, div')].some(each => each.innerText.trim() === {json.dumps(state)})"
        )
        self.page.until(found)

    def from_menu(self, text: str) -> None:
        """What can be done with a run: behind the three dots of its page."""
        self.page.click(self.button("Open menu"))
        self.page.click(self.option(text))

    def press(self, text: str, refusal: str, is_taken: Callable[[], bool]) -> None:
        """Presses a button; again where Prefect's SQLite was busy and the page only says so for some seconds, as people do."""

        def taken() -> bool:
            until(lambda: refusal not in self.page.text(), f"it never stopped saying {refusal}")
            self.page.evaluate(_LISTEN % json.dumps(refusal))
            self.page.click(self.button(text))
            until(lambda: is_taken() or self.page.evaluate("window.refused"), f"{text} was never answered")
            return is_taken()

        until(taken, f"{text} was never taken")

    def answer(self, text: str, refusal: str) -> None:
        """Presses a button of a dialog, which is gone then."""
        self.press(text, refusal, lambda: self.page.evaluate("!document.querySelector('[role$=dialog]')") is True)

    def submit(self) -> None:
        self.page.click(self.button("Submit"))

    def picture(self, name: str, *, whole: bool = False) -> None:
        time.sleep(1.0)  # for fonts and animations; decides nothing
        picture = PICTURES / f"{name}.png"
        self.page.screenshot(picture, whole=whole)
        if name in IN_DOCS:
            shutil.copyfile(picture, IN_DOCS[name])

    def see_run(self, name: str) -> None:
        """Submits, and opens the page of the run: the deployment's page lists it by its name once it has begun."""
        before = self.up.runs("train-model")
        self.press("Submit", "Error creating flow run", lambda: self.up.runs("train-model") > before)
        self.page.click(
            f"[...document.querySelectorAll('a')].find(each => each.innerText.includes({json.dumps(name)}))"
        )
        self.page.says("Task Runs")


@pytest.fixture(scope="module")
def screen(up: Up, page: browser.Page) -> Screen:
    bucket = up.environment["TRAINMASTER_BUCKET"]
    up.client("s3").put_object(Bucket=bucket, Key="tour/data.csv", Body=HOUSES.read_bytes())
    return Screen(up, page)


def test_every_form_opens_with_one_control_a_field(screen: Screen) -> None:
    for name in sorted(screen.up.deployments):
        assert screen.open_form(name)
        screen.picture(f"form-{name}", whole=True)
        said = screen.page.text()
        assert 'Property is type "None"' not in said, name
        assert "Schema type not implemented" not in said, name
        editors = "document.querySelectorAll('.cm-editor').length"
        assert not screen.page.evaluate(editors), name


def test_a_machine_is_chosen_by_price_and_gpu(screen: Screen) -> None:
    screen.open_form("train-model")
    screen.page.click(screen.field("Instance type"))
    screen.page.says("ml.m5.xlarge · $0.23/h · 4 vCPU, 16 GiB")
    screen.picture("choose-instance")
    screen.page.write("document.querySelector('input[placeholder=\"Search...\"]')", "a10g")
    screen.page.says("ml.g5.xlarge · $1.408/h · 1 × A10G 24 GB")
    screen.picture("choose-gpu")


def fill_in(screen: Screen, name: str, **more: str) -> None:
    screen.open_form("train-model")
    fields = {
        "Training data": f"s3://{screen.up.environment['TRAINMASTER_BUCKET']}/tour/",
        "Model name": name,
        "Budget (USD)": "1.5",
        "Longest runtime (s)": "3600",
        **more,
    }
    for label, value in fields.items():
        screen.page.write(screen.field(label), value)


def test_what_is_out_of_bounds_is_told_in_the_form_and_starts_nothing(screen: Screen) -> None:
    before = screen.up.runs("train-model")
    fill_in(screen, "tour-bounds", **{"Longest runtime (s)": "59"})
    screen.submit()
    told = screen.page.until("(wrong => wrong && wrong.validationMessage)(document.querySelector('input:invalid'))")
    assert "60" in told
    screen.picture("out-of-bounds")
    fill_in(screen, "two words")
    screen.submit()
    screen.page.says("'two words' does not match")
    screen.picture("not-a-name", whole=True)
    assert screen.up.runs("train-model") == before


def test_a_training_is_started_watched_and_says_what_it_cost(screen: Screen) -> None:
    fill_in(screen, "tour-watched")
    screen.choose("Instance type", "ml.m5.xlarge ·")
    screen.picture("train-filled-in", whole=True)
    with screen.up.no_spot_instances():
        screen.see_run("tour-watched")
        until(lambda: screen.up.jobs("tour-watched"), "it was never launched")
        screen.is_in("Running")
        screen.picture("train-running")
    screen.is_in("Completed")
    screen.picture("train-completed", whole=True)
    [job] = screen.up.jobs("tour-watched")
    described = screen.up.client("sagemaker").describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert described["TrainingJobStatus"] == "Completed"
    assert described["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    screen.page.click(screen.tab("Artifacts"))
    screen.page.says("summary")
    screen.picture("train-artifacts", whole=True)
    screen.page.click("[...document.querySelectorAll('a')].find(each => each.href.endsWith('/artifacts/key/summary'))")
    screen.page.says("billed")
    screen.page.click("[...document.querySelectorAll('a')].find(each => each.href.includes('/artifacts/artifact/'))")
    screen.page.says("From data to model")
    screen.picture("train-summary", whole=True)


def test_a_training_over_budget_waits_is_approved_and_goes_on(screen: Screen) -> None:
    screen.up.command("budget", "set", "--user", USER, "0.05")
    fill_in(screen, "tour-approved", User=USER)
    screen.choose("When a monthly budget has too little left", "ask")
    screen.see_run("tour-approved")
    screen.is_in("Suspended")
    screen.picture("over-budget-waiting")
    assert screen.up.jobs("tour-approved") == []
    screen.from_menu("Resume")
    screen.page.says("Decided by")
    screen.page.says("Would fit in what is left: up to $0.05.")
    screen.picture("over-budget-asked")
    screen.choose("Decision", "approve")
    screen.page.write(screen.field("Decided by"), "Ada")
    screen.page.write(screen.field("Remark"), "worth it")
    screen.picture("over-budget-answer")
    screen.answer("Resume", "Failed to resume")
    screen.is_in("Completed")
    screen.picture("over-budget-completed", whole=True)
    [job] = screen.up.jobs("tour-approved")
    assert job["TrainingJobStatus"] == "Completed"


def test_a_training_that_is_cancelled_stops_its_job(screen: Screen) -> None:
    with screen.up.no_spot_instances():
        fill_in(screen, "tour-cancelled")
        screen.see_run("tour-cancelled")
        until(lambda: screen.up.jobs("tour-cancelled"), "it was never launched")
        screen.picture("cancel-running")
        screen.from_menu("Cancel")
        screen.page.says("Are you sure")
        screen.picture("cancel-asked")
        screen.answer("Cancel Flow Run", "Failed to cancel flow run")
        screen.is_in("Cancelled")
        screen.picture("cancel-done")
    [job] = screen.up.jobs("tour-cancelled")
    assert job["TrainingJobStatus"] == "Stopped"
