"""Hyperparameters as SageMaker takes them: strings of JSON, which its toolkit reads back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainmaster.training.problems import Problem

MOST, LONGEST_KEY, LONGEST_VALUE = 100, 256, 2500
"""AWS's (CreateTrainingJob, HyperParameters)."""
OURS = ("sagemaker_program", "sagemaker_submit_directory", "sagemaker_region", "sagemaker_container_log_level")
"""What script mode is told by hyperparameters of its own; a plan sets them."""
_NAMED = 80  # characters of a key that a message shows


def encoded(hyperparameters: Mapping[str, Any]) -> tuple[dict[str, str], list[Problem]]:
    """Each value as JSON, as the SageMaker SDK writes it and whatever the order of keys within; and all that AWS would refuse."""
    sent, problems = dict[str, str](), list[Problem]()
    for key, value in hyperparameters.items():
        try:
            text = json.dumps(value, allow_nan=False, sort_keys=True)
        except (ValueError, TypeError, RecursionError):
            problems.append(
                _problem(f"{shown(key)} is not JSON: it has NaN, infinity, or no end.", "Give finite numbers.")
            )
            continue
        problems += _problems_of(key, text)
        sent[key] = text
    if len(hyperparameters) > MOST - len(OURS):
        problems.append(
            _problem(
                f"There are {len(hyperparameters)} hyperparameters; SageMaker takes {MOST}, {len(OURS)} of them its own.",
                "Put some of them together in one, as JSON, or in a file of the program.",
            )
        )
    return sent, problems


def shown(key: str) -> str:
    """A key as a message names it, however long it is."""
    return repr(key if len(key) <= _NAMED else f"{key[:_NAMED]}…")


def _problems_of(key: str, text: str) -> list[Problem]:
    found = list[Problem]()
    if key in OURS:
        found.append(_problem(f"{shown(key)} is set by Trainmaster itself.", "Leave it out."))
    if not key.strip() or not key.isprintable():
        found.append(
            _problem(f"{shown(key)} cannot be the name of a hyperparameter.", "Give it one that can be typed.")
        )
    if len(key) > LONGEST_KEY:
        remedy = "Choose a shorter name."
        found.append(_problem(f"{shown(key)} has {len(key)} characters; at most {LONGEST_KEY} are taken.", remedy))
    if len(text) > LONGEST_VALUE:
        remedy = "Put it into a file of the program or of a dataset, or split it."
        found.append(
            _problem(f"{shown(key)} is {len(text):,} characters long; at most {LONGEST_VALUE:,} are taken.", remedy)
        )
    if "\\u0000" in text.replace("\\\\", ""):
        found.append(_problem(f"{shown(key)} has a NUL character, which no program can be given.", "Take it out."))
    return found


def _problem(message: str, remedy: str) -> Problem:
    return Problem(
        "hyperparameters", f"Hyperparameter {message}" if not message.startswith("There") else message, remedy
    )
