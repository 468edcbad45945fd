"""A language model that knows nothing learns on the embedded AWS: supervised, on preferences, on raw text; with its spot instances taken
away on the way; on two hosts. Then it is deployed and asked. A table for people, and as the last line one JSON object; the exit code says
whether all of it held.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.tuning.lab import Lab, Trained
from benchmarks.tuning.lessons import COLOURS, LESSONS, SAVE_STEPS, answer, question
from trainmaster.aws.clients import default_clients
from trainmaster.budget.money import shown
from trainmaster.embedded.launch import running
from trainmaster.errors import TrainmasterError
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk

AT_ONCE = 2
ASKED = "sky"
AS_GOOD = 0.05
"""How much higher the loss may end that was learned with an interruption, or on two hosts, than without."""


@dataclass
class Findings:
    """What was seen, and what ought not to be."""

    trained: dict[str, Trained] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    billed: Decimal = Decimal(0)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def expect(self, held: bool, otherwise: str) -> None:
        if not held:
            self.wrong.append(otherwise)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="finetune-demo-", ignore_cleanup_errors=True) as folder:
        findings = demo(Path(folder))
    report(findings)
    return 1 if findings.wrong else 0


def demo(folder: Path) -> Findings:
    """From an empty folder to the answers of an endpoint and the books."""
    began, findings, before = time.monotonic(), Findings(), dict(os.environ)
    try:
        with running(folder / "state", stop_grace=1) as environment:
            os.environ.update(environment)
            settings = Settings()
            with open_desk(settings, default_clients(settings.region)) as desk:
                lab = Lab(desk, environment, folder)
                lab.furnish()
                train(lab, findings)
                serve(lab, findings)
                check_books(lab, findings)
    finally:
        os.environ.clear()
        os.environ.update(before)
    findings.seconds = time.monotonic() - began
    return findings


def train(lab: Lab, findings: Findings) -> None:
    """Every lesson, two jobs at a time; what each claims is held against its log and its bill."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in pool.map(lab.train, LESSONS):
            findings.trained[one.lesson.name] = one
            last = one.last
            print(f"{one.job}: {one.steps} steps in {one.seconds:.0f} s, loss {last}", file=sys.stderr, flush=True)
            for sentence in broken(one):
                findings.wrong.append(f"{one.lesson.name}: {sentence}")
    alone = findings.trained["sft"].last
    for name in ("sft-spot", "sft-two-hosts"):
        last = findings.trained[name].last
        if alone is not None and last is not None:
            findings.expect(last <= alone + AS_GOOD, f"{name}: its loss ends at {last:.3f}, without at {alone:.3f}")


def broken(one: Trained) -> Iterator[str]:
    """What is not as the lesson has it."""
    if one.failure or one.first is None or one.last is None:
        yield one.failure or "its log tells no loss"
        return
    if not one.last < one.lesson.bound:
        yield f"its loss went from {one.first:.3f} to {one.last:.3f}; it was to come below {one.lesson.bound}"
    if one.lesson.interrupted_after and not one.interruptions:
        yield "its instances were never taken away"
    if one.steps_lost > SAVE_STEPS:
        yield f"{one.steps_lost} steps were done again; it keeps a checkpoint every {SAVE_STEPS}"
    if one.interruptions and one.losses[-1][0] >= len(one.losses):
        yield "it went on with steps that its log does not tell"
    if one.bill is None:
        yield "its bill is not in the ledger"


def serve(lab: Lab, findings: Findings) -> None:
    """Deploy what was trained supervised, and ask it for everything it was taught."""
    trained = findings.trained["sft"]
    if trained.failure:
        return
    try:
        lab.deploy(trained.model_uri)
    except TrainmasterError as error:
        findings.wrong.append(f"it could not be deployed: {error}")
        return
    findings.answers = {thing: lab.ask(question(thing)) for thing in COLOURS}
    lab.close()
    for thing, said in findings.answers.items():
        findings.expect(said.strip() == answer(thing), f"asked for the {thing}, it answered {said!r}")


def check_books(lab: Lab, findings: Findings) -> None:
    standing = lab.books()
    findings.billed = standing.settled
    jobs = sum((one.bill or Decimal(0) for one in findings.trained.values()), Decimal(0))
    findings.expect(standing.reserved == 0, f"{shown(standing.reserved)} are still reserved")
    findings.expect(jobs > 0, "the jobs cost nothing")
    if not findings.answers:
        findings.expect(standing.settled == jobs, f"the jobs were billed {jobs}, the budget {standing.settled}")


def report(findings: Findings) -> None:
    print(f"\n{'lesson':<30} {'steps':>5} {'loss':>16} {'bound':>6} {'again':>6} {'seconds':>8} {'bill':>10}")
    for one in findings.trained.values():
        loss = f"{one.first:.3f} → {one.last:.3f}" if one.first is not None and one.last is not None else "-"
        bill = f"${one.bill:f}" if one.bill is not None else "-"
        print(
            f"{one.lesson.what:<30} {one.steps:>5} {loss:>16} {one.lesson.bound:>6} {one.steps_lost:>6} {one.seconds:>8.0f} {bill:>10}"
        )
    if findings.answers:
        print(f"\nasked     {question(ASKED)[0]['content']}\nanswered  {findings.answers[ASKED]}")
    print(f"\n{findings.seconds:.0f} s, ${findings.billed:f} booked.")
    for sentence in findings.wrong:
        print(f"  WRONG: {sentence}")
    print(json.dumps(facts(findings)))


def facts(findings: Findings) -> dict[str, Any]:
    """For machines: of the job that was interrupted, of what the endpoint answered, and of every lesson."""
    lessons = {
        name: {
            "loss_first": one.first,
            "loss_last": one.last,
            "bound": one.lesson.bound,
            "steps": one.steps,
            "interruptions": one.interruptions,
            "resumed_steps_lost": one.steps_lost,
            "seconds": round(one.seconds, 1),
            "billed": None if one.bill is None else f"{one.bill:f}",
        }
        for name, one in findings.trained.items()
    }
    main = lessons.get("sft-spot", {})
    return {
        **{name: main.get(name) for name in ("loss_first", "loss_last", "steps", "resumed_steps_lost")},
        "answer": findings.answers.get(ASKED),
        "save_steps": SAVE_STEPS,
        "lessons": lessons,
        "billed": f"{findings.billed:f}",
        "seconds": round(findings.seconds, 1),
        "cores": os.cpu_count(),
        "wrong": findings.wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
