"""Domains, user profiles, spaces and apps as records: found, refused as AWS refuses, taken from one status to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainmaster.embedded.sagemaker import listing
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.studio.settling import Settling
from trainmaster.embedded.sagemaker.wire import AwsError, Json

IN_SERVICE, PENDING, UPDATING, DELETING, DELETED, FAILED = (
    "InService", "Pending", "Updating", "Deleting", "Deleted", "Failed",
)  # fmt: skip
LIVING = frozenset({IN_SERVICE, PENDING, DELETING})
"""Statuses in which an app stands in the way of whatever it belongs to."""


@dataclass(frozen=True)
class Kind:
    """`kind` is the type in ARNs and records, `noun` AWS's word for it in messages and members."""

    kind: str
    noun: str


DOMAIN = Kind("domain", "Domain")
PROFILE = Kind("user-profile", "UserProfile")
SPACE = Kind("space", "Space")
APP = Kind("app", "App")


def missing(kind: Kind, name: str) -> AwsError:
    return AwsError("ResourceNotFound", f"{kind.noun} [{name}] does not exist.")


def in_use(verb: str, kind: Kind, arn: str, why: str) -> AwsError:
    return AwsError("ResourceInUse", f"Unable to {verb} {kind.noun} [{arn}] because {why}.")


class Parts:
    """Safe to share between threads. Of racing creations one succeeds; no part outlives what it belongs to."""

    def __init__(self, account: Account, settling: Settling) -> None:
        self.account, self._records, self._settling = account, account.records, settling

    def create(self, kind: Kind, key: str, body: Json, tags: list[dict[str, str]] | None, status: str = PENDING) -> str:
        """Its ARN. Raises AwsError ResourceInUse when the name is taken."""
        arn, now = self.account.arn(kind.kind, key), self.account.now()
        whole = body | {
            f"{kind.noun}Arn": arn,
            "Key": key,
            "Status": status,
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        try:
            self._records.create(kind.kind, key, arn, whole, tags)
        except AlreadyRecordedError:
            raise in_use("create", kind, arn, "it already exists") from None
        return arn

    def find(self, kind: Kind, key: str) -> Json | None:
        return self._records.get(kind.kind, key)

    def known(self, kind: Kind, key: str) -> Json:
        """Raises AwsError ResourceNotFound."""
        body = self.find(kind, key)
        if body is None:
            raise missing(kind, key.rpartition("/")[2])
        return body

    def serving(self, kind: Kind, key: str) -> Json:
        """One that something may be added to. Raises AwsError when it is not there, or not in service."""
        body = self.known(kind, key)
        if body["Status"] not in (IN_SERVICE, UPDATING):
            raise AwsError(
                "ValidationException",
                f"{kind.noun} [{body[f'{kind.noun}Arn']}] is {body['Status']}; it must be InService.",
            )
        return body

    def all(self, kind: Kind, domain: str | None = None) -> list[Json]:
        return [body for body in self._records.all(kind.kind) if domain is None or body["DomainId"] == domain]

    @staticmethod
    def page(request: Json, summaries: str, bodies: Iterable[Json]) -> Json:
        """One page of a List operation, oldest first as these are listed."""
        asked = {"SortOrder": "Ascending", "SortBy": "CreationTime"} | request
        return listing.page(list(bodies), asked, name="Key", summaries=summaries)

    @contextmanager
    def changing(self, kind: Kind, key: str) -> Iterator[Json]:
        """The body, to be changed in place, with nothing else changing meanwhile. Raises AwsError ResourceNotFound."""
        with self._records.transaction():
            self.known(kind, key)
            with self._records.changing(kind.kind, key) as body:
                yield body
                body["LastModifiedTime"] = self.account.now()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is looked at and changed in the block is so at one moment."""
        with self._records.transaction():
            yield

    def begin(self, kind: Kind, key: str, status: str, verb: str) -> Json:
        """Take one in service, or failed, to a status on the way. Raises AwsError while it is on the way elsewhere."""
        with self.changing(kind, key) as body:
            if body["Status"] in (PENDING, UPDATING, DELETING):
                raise in_use(verb, kind, body[f"{kind.noun}Arn"], f"it is {body['Status']}")
            body["Status"] = status
            return body

    def settle(self, kind: Kind, key: str, **members: Any) -> None:
        """In service in a while."""
        self.in_a_while(lambda: self.reach(kind, key, IN_SERVICE, **members))

    def reach(self, kind: Kind, key: str, status: str, **members: Any) -> None:
        """Its way ends here, if it is still on it."""
        with self.together():
            body = self.find(kind, key)
            if body is None or body["Status"] not in (PENDING, UPDATING):
                return
            with self.changing(kind, key) as changed:
                changed.update(members, Status=status)

    def in_a_while(self, change: Callable[[], None]) -> None:
        self._settling.later(change)

    def remove(self, kind: Kind, key: str) -> None:
        """Gone in a while."""
        self.in_a_while(lambda: self.forget(kind, key))

    def forget(self, kind: Kind, key: str) -> None:
        self._records.delete(kind.kind, key)


def merged(before: Json, given: Json) -> Json:
    """As AWS updates settings: what is given takes the place of what was, member by member; lists are taken whole."""
    both = {
        name: merged(before[name], value) if isinstance(value, dict) and isinstance(before.get(name), dict) else value
        for name, value in given.items()
    }
    return before | both
