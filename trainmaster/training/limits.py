"""What AWS takes of a job's environment and tags, checked before it is asked: botocore does not. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from trainmaster.training.hyperparameters import shown
from trainmaster.training.plan import OUR_TAGS, OUR_VARIABLES
from trainmaster.training.problems import Problem

MOST_VARIABLES, LONGEST_VARIABLE = 100, 512
MOST_TAGS, LONGEST_TAG_KEY, LONGEST_TAG_VALUE = 50, 128, 256
"""AWS's (CreateTrainingJob, Environment and Tags)."""
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ALSO_IN_TAGS = frozenset("_.:/=+-@")


def environment_problems(environment: Mapping[str, str]) -> Iterator[Problem]:
    """What SageMaker would refuse of the container's variables."""
    count = len({*environment, *OUR_VARIABLES})
    if count > MOST_VARIABLES:
        said = f"There are {count} environment variables; SageMaker takes {MOST_VARIABLES}."
        yield Problem("request", said, "Leave some out, or put them together in one.")
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name) or len(name) > LONGEST_VARIABLE:
            said = f"{shown(name)} cannot be the name of an environment variable."
            remedy = f"Use letters, digits and _, no digit first, at most {LONGEST_VARIABLE} characters."
            yield Problem("request", said, remedy)
        if len(value) > LONGEST_VARIABLE or "\0" in value:
            said = f"Environment variable {shown(name)} has {len(value)} characters; SageMaker takes {LONGEST_VARIABLE}, and no NUL."
            yield Problem("request", said, "Shorten it, or put it into a file of the program.")


def tag_problems(tags: Mapping[str, str]) -> Iterator[Problem]:
    """What SageMaker would refuse of a job's tags, ours among them."""
    count = len({*tags, *OUR_TAGS})
    if count > MOST_TAGS:
        said = f"There are {count} tags, {len(OUR_TAGS)} of them Trainmaster's; AWS takes {MOST_TAGS}."
        yield Problem("request", said, f"Give at most {MOST_TAGS - len(OUR_TAGS)}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= LONGEST_TAG_KEY or len(value) > LONGEST_TAG_VALUE:
            said = f"Tag {shown(key)} has a key of {len(key)} and a value of {len(value)} characters."
            remedy = f"AWS takes 1 to {LONGEST_TAG_KEY} and at most {LONGEST_TAG_VALUE}."
            yield Problem("request", said, remedy)
        if key.lower().startswith("aws:"):
            yield Problem("request", f"Tag {shown(key)} begins with aws:, which AWS keeps to itself.", "Rename it.")
        if not (_is_plain(key) and _is_plain(value)):
            said = f"Tag {shown(key)} has characters that AWS does not take."
            yield Problem("request", said, "Use letters, digits, spaces and _ . : / = + - @.")


def _is_plain(text: str) -> bool:
    return all(each in _ALSO_IN_TAGS or unicodedata.category(each)[0] in "LNZ" for each in text)
