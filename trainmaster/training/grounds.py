"""Whose places in S3 a request names: the role that jobs run as reaches further than any one of its users should."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.training.problems import Kind, Problem

OURS = "trainmaster/"
"""Below which what jobs need and leave is kept in the bucket, whoever's they are."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ANY_UUID = "00000000-0000-0000-0000-000000000000"
_CHECKPOINTS = re.compile(rf"{OURS}[^/]+/jobs/(?P<job>[^/]+)/checkpoints(/.*)?")


@dataclass(frozen=True)
class Grounds:
    """Where an installation keeps things, seen by one user (empty: nobody is named). `bucket` has the jobs', `datasets` the users'
    (`{user_id}` in its name stands for the user); `is_own_job` tells by name whether a job is this user's."""

    user_id: str
    bucket: str
    datasets: str
    is_own_job: Callable[[str], bool]

    def reading(self, uri: str, field: str, kind: Kind) -> Problem | None:
        """What is wrong with having a job read all that begins with an address; None when nothing of another user does."""
        if not self._reaches_others(*_split(uri)):
            return None
        said = f"{field} is {uri}, where datasets of other users are kept."
        return Problem(
            kind, said, f"Give an address of your own, with a slash where its folder ends{self._own_folder}."
        )

    def keeping(self, uri: str) -> Problem | None:
        """What is wrong with having SageMaker keep checkpoints there, and bring all that is there to the job."""
        bucket, key = _split(uri)
        kept = _CHECKPOINTS.fullmatch(key) if bucket == self.bucket else None
        if kept and self.is_own_job(kept["job"]):
            return None
        remedy = "Leave it out for a folder of the job's own, or give one below a folder that nothing else is kept in."
        if bucket == self.bucket and (key.startswith(OURS) or OURS.startswith(key)):
            said = f"checkpoint_s3_uri is {uri}, where Trainmaster keeps what other jobs need and leave."
            return Problem(
                "request", said, f"{remedy} To go on from a job of yours, give its checkpoints' own address."
            )
        if self._is_of_datasets(bucket, key):
            return Problem("request", f"checkpoint_s3_uri is {uri}, where datasets are kept.", remedy)
        return None

    def _reaches_others(self, bucket: str, key: str) -> bool:
        if self._is_anothers_bucket(bucket):
            return True
        own = f"{self.user_id}/"
        return bucket == self._home and _begins_users_folder(key) and not (self.user_id and f"{key}/".startswith(own))

    def _is_of_datasets(self, bucket: str, key: str) -> bool:
        if self._is_anothers_bucket(bucket):
            return True
        return bucket == self._home and (bucket != self.bucket or _begins_users_folder(key))

    def _is_anothers_bucket(self, bucket: str) -> bool:
        if "{user_id}" not in self.datasets or bucket == self._home:
            return False
        before, _, after = self.datasets.partition("{user_id}")
        return bool(re.fullmatch(re.escape(before) + _UUID.pattern + re.escape(after), bucket))

    @property
    def _home(self) -> str:
        return self.datasets.replace("{user_id}", self.user_id)

    @property
    def _own_folder(self) -> str:
        return f": your datasets are below s3://{self._home}/{self.user_id}/" if self.user_id else ""


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key, which may be empty."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _begins_users_folder(key: str) -> bool:
    """Whether keys below the folder of some user begin so: S3 knows no folders, and takes `s3://bucket/0` for all that begins so."""
    first, slash, _ = key.lower().partition("/")
    return bool(
        _UUID.fullmatch(first if slash else first + _ANY_UUID[len(first) :]) or (not slash and _UUID.match(first))
    )
