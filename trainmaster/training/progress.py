"""How far training is, read from what trainers print: our own, Hugging Face's, tqdm's, Keras's and plain ones. Never trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from trainmaster.training.curves import Curve
from trainmaster.training.log_sinks import Line

LONGEST_LINE = 4000
"""Of a longer line only its beginning and its end are looked at, half of this each."""
MOST = 1e15
"""A step, an epoch or a count beyond is none."""

_NUMBER = r"[-+]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][-+]?\d{1,3})?|[-+]?(?:nan|inf(?:inity)?)"
_WORDS = {
    "epoch": "epoch", "epochs": "epochs", "num_epochs": "epochs", "num_train_epochs": "epochs", "total_epochs": "epochs",
    "step": "step", "global_step": "step", "iter": "step", "iteration": "step",
    "steps": "steps", "max_steps": "steps", "total_steps": "steps",
    "loss": "loss", "train_loss": "loss", "training_loss": "loss", "train/loss": "loss", "train:loss": "loss",
    "eval_loss": "eval_loss", "val_loss": "eval_loss", "valid_loss": "eval_loss", "validation_loss": "eval_loss",
    "eval/loss": "eval_loss", "val/loss": "eval_loss", "eval:loss": "eval_loss", "validation:loss": "eval_loss",
    "learning_rate": "learning_rate", "lr": "learning_rate", "tokens_per_second": "tokens_per_second",
    "rewards/margins": "reward_margin", "rewards/accuracies": "reward_accuracy",
    "progress": "percent",
}  # fmt: skip
"""What trainers call what we know by the name on the right."""
_PAIR = re.compile(
    r"(?<![\w/:.-])[\"']?(?P<word>[A-Za-z][A-Za-z_/]{1,30}(?::loss)?)[\"']?\s{0,3}[=:]\s{0,3}[\"'(\[]?"
    rf"(?P<number>{_NUMBER})(?![\w.])",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(?<![\w/.-])(?P<word>epoch|step|iteration|iter)\s{0,3}[=:#(\[]{0,2}\s{0,3}(?P<number>\d{1,15})"
    r"(?:\s{0,2}(?:/|of)\s{0,2}(?P<of>\d{1,15}))?(?![\w.])",
    re.IGNORECASE,
)
"""`Epoch 3/10`, `step=40/100`, `Iteration 7`."""
_PROMISING = re.compile(
    r"(?:loss|epoch|step|iter|lr|rate|second|progress|eta)\w{0,12}[\"']?\s{0,3}[=:#(\[\d]|%\|", re.IGNORECASE
)
_LEFT = re.compile(
    r"(?<!\w)eta[\"']?\s{0,3}[=:]\s{0,3}[\"']?(?P<left>\d{1,9}(?::\d\d){1,2}|\d{1,12}(?:\.\d{0,9})?)", re.IGNORECASE
)
_BAR = re.compile(
    r"\d{1,3}%\|[^|]{0,200}\|\s{0,6}(?P<step>\d{1,15})/(?P<steps>\d{1,15})\s{1,3}"
    r"\[[\d:]{1,12}<(?P<left>[\d:?]{1,12})"
)
_TITLE_OF_TRAINING = re.compile(r"^\W*$|train|step", re.IGNORECASE)
"""A bar without a title, or with one of these words, is the training's; others are of data that is loaded, models and the like."""
_TITLE_OF_EPOCH = re.compile(r"epoch\W{0,3}(?P<number>\d{1,9})(?:\s?/\s?(?P<of>\d{1,9}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Progress:
    """What is known of how far a job is; None is unknown. Times are seconds, `percent` of the whole training.

    `diverged` when the last loss was not a number. Of trainings on preferences, how much better the chosen answer is rewarded than the
    rejected one, and the share of examples where it is.
    """

    epoch: float | None = None
    epochs: float | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    percent: float | None = None
    eta_seconds: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None
    diverged: bool = False

    def sentence(self) -> str:
        """For people: what is known of it, `` when nothing is."""
        parts = []
        if self.percent is not None:
            parts.append(f"{self.percent:.0f} %")
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch:.4g}" + (f" of {self.epochs:.4g}" if self.epochs else ""))
        if self.step is not None:
            parts.append(f"step {self.step}" + (f" of {self.steps}" if self.steps else ""))
        if self.diverged:
            parts.append("loss is not a number any more")
        elif self.loss is not None:
            parts.append(f"loss {self.loss:.4g}")
        if self.eval_loss is not None:
            parts.append(f"evaluation loss {self.eval_loss:.4g}")
        if self.reward_accuracy is not None:
            parts.append(f"chosen answers preferred in {100 * self.reward_accuracy:.0f} %")
        if self.eta_seconds is not None and self.eta_seconds >= 1:
            parts.append(f"about {_spoken(self.eta_seconds)} left")
        return ", ".join(parts)


@dataclass(frozen=True)
class Reading:
    """What a line says: `values` by the names of Progress, which may be NaN or infinite, and the `share` of all epochs done."""

    values: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None


@dataclass(frozen=True)
class Reckoning:
    """What the time left is reckoned from: the share done at a moment (epoch seconds). And what the trainer says itself."""

    began: float | None = None
    ahead: float = 0.0
    says_percent: bool = False
    says_left: bool = False


@dataclass(frozen=True)
class Course:
    """A job's progress and its curve. Of several hosts the first that reports is listened to, so that they are not mixed up."""

    now: Progress = field(default_factory=Progress)
    curve: Curve = field(default_factory=Curve)
    host: int = 0
    reports: int = 0
    reckoning: Reckoning = field(default_factory=Reckoning)

    def after(self, lines: Iterable[Line]) -> Self:
        """What is known after these lines."""
        now, reckoning, reports, host = self.now, self.reckoning, self.reports, self.host
        axis, points = self.curve.axis if self.curve.series else "", list[tuple[str, float, float]]()
        for line in lines:
            said, speaker = reading(line.text), _host(line.stream)
            if not (said.values or said.share is not None) or (host and speaker > host):
                continue
            host, reports = speaker, reports + 1
            now, reckoning = _heard(now, reckoning, said, line.at / 1000)
            losses = [(name, said.values[name]) for name in ("loss", "eval_loss") if name in said.values]
            if losses and not axis:
                axis = "step" if now.step is not None else "epoch" if now.epoch is not None else "report"
            place = {"step": now.step, "epoch": now.epoch, "report": reports}.get(axis)
            points += [(name, float(place), value) for name, value in losses if place is not None]
        curve = replace(self.curve, axis=axis or self.curve.axis).with_points(points)
        return replace(self, now=now, curve=curve, host=host, reports=reports, reckoning=reckoning)

    def at(self, description: Mapping[str, Any]) -> Self:
        """With what Describe knows: metrics of a job whose lines say nothing, epochs that were asked for, an end that has come."""
        now = self.now
        if now.epochs is None:
            now = replace(now, epochs=epochs_of(description.get("HyperParameters") or {}))
        known = {name: value for name, value in _metrics(description).items() if getattr(now, name) is None}
        now = replace(now, **_typed(known))
        if description.get("TrainingJobStatus") == "Completed":
            now = replace(now, percent=100.0, eta_seconds=0.0)
        return replace(self, now=now)

    def as_json(self) -> dict[str, Any]:
        """For the job's row: what is known of its progress, and its `curve`."""
        known = {name: value for name, value in asdict(self.now).items() if value is not None}
        reckoned = {"host": self.host, "reports": self.reports, **asdict(self.reckoning)}
        return {**known, "curve": self.curve.as_json(), "reckoned": reckoned}

    @classmethod
    def of_json(cls, kept: Any) -> Self:
        """What `as_json` said; what is none of it is left out."""
        kept = kept if isinstance(kept, Mapping) else {}
        reckoned = kept.get("reckoned")
        reckoned = reckoned if isinstance(reckoned, Mapping) else {}
        known = {one.name: kept[one.name] for one in fields(Progress) if _is_number(kept.get(one.name))}
        return cls(
            now=Progress(**_typed(known), diverged=kept.get("diverged") is True),
            curve=Curve.of_json(kept.get("curve")),
            host=_whole(reckoned.get("host")),
            reports=_whole(reckoned.get("reports")),
            reckoning=Reckoning(
                began=_number(reckoned.get("began")),
                ahead=_number(reckoned.get("ahead")) or 0.0,
                says_percent=reckoned.get("says_percent") is True,
                says_left=reckoned.get("says_left") is True,
            ),
        )


def _heard(before: Progress, reckoning: Reckoning, said: Reading, at: float) -> tuple[Progress, Reckoning]:
    """What was known and a reading put together; the share done and the time left are reckoned where they are not said."""
    values = dict(said.values)
    if "steps" in values and before.steps and values["steps"] != before.steps and _is_under_way(before):
        for name in ("step", "steps", "eta_seconds"):  # a bar of an evaluation in between
            values.pop(name, None)
    now = replace(before, **_typed({name: value for name, value in values.items() if math.isfinite(value)}))
    if "loss" in values:
        diverged = not math.isfinite(values["loss"])
        now = replace(now, diverged=diverged, loss=None if diverged else now.loss)
    reckoning = replace(
        reckoning,
        says_percent=reckoning.says_percent or "percent" in values,
        says_left=reckoning.says_left or "eta_seconds" in values,
    )
    share = now.percent / 100 if reckoning.says_percent and now.percent is not None else _share(now, said)
    if share is None:
        return now, reckoning
    began, ahead = reckoning.began, reckoning.ahead
    fell_back = before.percent is not None and share < before.percent / 100 - 0.001
    if began is None or fell_back or at < began:  # it begins, or again from a checkpoint
        reckoning = replace(reckoning, began=at, ahead=share)
        began, ahead = at, share
    now = replace(now, percent=round(share * 100, 2))
    if not reckoning.says_left and share > ahead and at > began:
        now = replace(now, eta_seconds=round((at - began) * (1 - share) / (share - ahead), 1))
    return now, reckoning


def reading(text: str) -> Reading:
    """What a line says. Of one that overwrites itself, as bars do, what a terminal would show at last."""
    shown = text.rstrip("\r\n ").rpartition("\r")[2]
    if len(shown) > LONGEST_LINE:
        shown = f"{shown[: LONGEST_LINE // 2]} … {shown[-LONGEST_LINE // 2 :]}"
    if not _PROMISING.search(shown):  # most lines; ten times as fast
        return Reading()
    values: dict[str, float] = {}
    share: float | None = None
    for match in _COUNTED.finditer(shown):
        name = "epoch" if match["word"].lower() == "epoch" else "step"
        values[name] = float(match["number"])
        if match["of"]:
            values[f"{name}s"] = float(match["of"])
    counted_epoch = "epochs" in values
    for match in _PAIR.finditer(shown):
        if name := _WORDS.get(match["word"].lower(), ""):
            values[name] = float(match["number"])
    # `Epoch [2/10], Step [100/600]`: its steps are those of one epoch.
    if counted_epoch and {"step", "steps"} <= values.keys():
        values["step"] += (values["epoch"] - 1) * values["steps"]
        values["steps"] *= values["epochs"]
    elif counted_epoch and values["epochs"]:
        # A line with a loss is an epoch's last word, one without is its first.
        share = (values["epoch"] - ("loss" not in values)) / values["epochs"]
    if left := _LEFT.search(shown):
        values["eta_seconds"] = _clock(left["left"])
    if "%|" in shown and (bar := _BAR.search(shown)):
        in_bar, share = _bar(shown[: bar.start()][-80:], bar, share)
        values |= in_bar
    likely = {name: value for name, value in values.items() if _is_likely(name, value)}
    return Reading(likely, share if share is not None and math.isfinite(share) else None)


def _bar(title: str, match: re.Match[str], share: float | None) -> tuple[dict[str, float], float | None]:
    """What tqdm's bar says, and the share of all epochs done when it is one epoch's."""
    step, steps = float(match["step"]), float(match["steps"])
    if epoch := _TITLE_OF_EPOCH.search(title):
        of, done = float(epoch["of"] or 0), step / steps if steps else 0.0
        # Who counts to a total begins at one, who does not (Lightning) at zero.
        before = float(epoch["number"]) - (1 if of else 0)
        values = {"epoch": before + done, **({"epochs": of} if of else {})}
        return values, (before + done) / of if of else share
    if not _TITLE_OF_TRAINING.search(title):
        return {}, share
    left = {} if "?" in match["left"] else {"eta_seconds": _clock(match["left"])}
    return {"step": step, "steps": steps, **left}, share


def _share(now: Progress, said: Reading) -> float | None:
    if now.step is not None and now.steps:
        share = now.step / now.steps
    elif said.share is not None:
        share = said.share
    elif now.epoch is not None and now.epochs and "epoch" in said.values:
        share = now.epoch / now.epochs
    else:
        return None
    return min(max(share, 0.0), 1.0)


def _is_under_way(now: Progress) -> bool:
    return now.step is not None and now.steps is not None and now.step < now.steps


def _is_likely(name: str, value: float) -> bool:
    """Losses may be anything, NaN too; everything else is a number that can be."""
    if name in ("loss", "eval_loss"):
        return True
    if name == "reward_margin":
        return abs(value) <= MOST
    return 0 <= value <= {"percent": 100, "reward_accuracy": 1}.get(name, MOST)


def _typed(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: int(value) if name in ("step", "steps") else float(value) for name, value in values.items()}


def epochs_of(hyperparameters: Mapping[str, str]) -> float | None:
    """How many epochs were asked for, where a hyperparameter of a usual name says so."""
    for name, value in hyperparameters.items():
        if _WORDS.get(name.lower().replace("-", "_")) not in ("epochs", "epoch"):
            continue
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", number := str(value).strip('" ')) and float(number) > 0:
            return float(number)
    return None


def _metrics(description: Mapping[str, Any]) -> dict[str, float]:
    """The job's metrics that go by a name we know; where several do, the last."""
    found = [
        (_WORDS.get(str(one.get("MetricName")).lower()), one.get("Value"))
        for one in description.get("FinalMetricDataList") or []
    ]
    return {name: value for name, value in found if name and _is_number(value) and _is_likely(name, value)}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= MOST


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _whole(value: Any) -> int:
    return int(_number(value) or 0)


def _host(stream: str) -> int:
    """The number in `algo-2`; the first host of a stream of another name."""
    found = re.search(r"/[^/]*?-(\d{1,9})-", stream)
    return int(found[1]) if found else 1


def _clock(said: str) -> float:
    """Seconds: `90`, `1:30` or `1:01:30`."""
    seconds = 0.0
    for part in said.split(":"):
        seconds = seconds * 60 + float(part or 0)
    return seconds


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
