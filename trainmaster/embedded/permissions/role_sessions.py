"""Sessions of roles, held to the policies of their role. Whoever has the account's own keys may do everything.

A user's keys too: what IAM users may is only simulated.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from botocore.credentials import Credentials
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call, Protocol
from trainmaster.embedded.permissions import objects
from trainmaster.embedded.permissions.evaluation import (
    Asked,
    Decision,
    NotUnderstoodError,
    Statement,
    decide,
    statements_of,
)
from trainmaster.embedded.permissions.needs import Needs
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError, Json
from trainmaster.embedded.signatures import is_current
from trainmaster.embedded.sigv4 import AUTHORIZATION, S3Signer

_MOST_REMEMBERED = 100_000
_SESSION_SECONDS = 12 * 3600
"""Which nobody counts here: a session ends with this process."""
_DENIED = {Protocol.EC2: "UnauthorizedOperation", Protocol.XML: "AccessDenied", Protocol.S3: "AccessDenied"}


@dataclass
class RoleSessions:
    """Judges each call that a role's session signed, and remembers what was decided. Safe to share between threads."""

    account: Account
    _decided: dict[str, Json] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, call: Call) -> None:
        """Raises AWS's refusal of what the caller's role is not allowed; of calls of others nothing."""
        if session := self._session(call):
            self._judge(call, session, Needs(self.account.account_id, self.account.region, self._tags).of(call))

    def of_s3(self, call: Call) -> Response:
        """S3's answer to a role's session, where its policies allow it. Raises AwsError, for all others too."""
        session = self._session(call)
        if session is None:
            raise AwsError("InvalidRequest", f"S3 is at {self.account.s3_endpoint_url}. Set AWS_ENDPOINT_URL_S3 to it.")
        given = AUTHORIZATION.fullmatch(call.request.headers["Authorization"].strip())
        assert given
        signer = S3Signer(Credentials(session.access_key_id, session.secret_access_key), "s3", given["region"])
        moment = call.request.headers.get("X-Amz-Date", "")
        if not signer.matches(call.request, set(given["headers"].split(";")), moment, given["signature"]):
            raise AwsError("SignatureDoesNotMatch", "The signature is not that of this request.", status=403)
        if not is_current(moment):
            raise AwsError("RequestTimeTooSkewed", f"{moment} is not the time here.", status=403)
        self._judge(call, session, objects.needed(call.request))
        own = Credentials(self.account.access_key_id, self.account.secret_access_key)
        return objects.SignedAnew(self.account.s3_endpoint_url, own, self.account.region).answer(call.request)

    def decided(self) -> list[Json]:
        """What each role asked for, once each, in the order in which it first did, and by which statements it was allowed."""
        with self._lock:
            return list(self._decided.values())

    def _judge(self, call: Call, session: Any, needed: list[Asked]) -> None:
        role = session.role_arn.rpartition("/")[2]
        statements = list(self._statements(role))
        for asked in needed:
            decision = _decided(statements, asked)
            self._remember(role, asked, decision)
            if not decision.allowed:
                raise _refusal(call, session.arn, asked, decision)

    def _remember(self, role: str, asked: Asked, decision: Decision) -> None:
        said = {
            "role": role,
            "action": asked.action,
            "resource": asked.resource,
            "context": {key: list(values) for key, values in asked.context.items()},
            "allowed": decision.allowed,
            "by": list(decision.by),
        }
        with self._lock:
            if len(self._decided) < _MOST_REMEMBERED:
                self._decided.setdefault(json.dumps(said, sort_keys=True), said)

    def _session(self, call: Call) -> Any:
        given = AUTHORIZATION.fullmatch(call.request.headers.get("Authorization", "").strip())
        backend = sts_backends[self.account.account_id]["aws"]
        return backend.get_assumed_role_from_access_key(given["key"]) if given else None

    def _statements(self, role: str) -> Iterator[Statement]:
        """Those of all its policies, inline and attached; none for a role that is no more."""
        found = next(
            (one for one in iam_backends[self.account.account_id]["aws"].roles.values() if one.name == role), None
        )
        if found is None:
            return
        for document in found.policies.values():  # text as PutRolePolicy sends it, an object from CloudFormation
            yield from _parsed(document if isinstance(document, str) else json.dumps(document))
        for attached in found.managed_policies.values():
            yield from _parsed(_current(attached))

    def _tags(self, arn: str) -> Mapping[str, str]:
        service, name = arn.partition("arn:aws:")[2].partition(":")[0], arn.rpartition("/")[2]
        if service == "sagemaker":
            return self.account.records.tags(arn) or self.account.records.tags(arn.lower())
        if service == "ec2" and "*" not in name:
            backend: Any = ec2_backends[self.account.account_id][self.account.region]
            return {one["key"]: one["value"] for one in backend.describe_tags({"resource-id": [name]})}
        return {}


def session_environment(account: Account, role_arn: str, session: str) -> dict[str, str]:
    """What a process that has a role needs in its environment beside, or in place of, an account's own keys."""
    backend = sts_backends[account.account_id]["aws"]
    held = backend.assume_role(account.region, session, role_arn, "", _SESSION_SECONDS, "")
    return {
        "AWS_ACCESS_KEY_ID": held.access_key_id,
        "AWS_SECRET_ACCESS_KEY": held.secret_access_key,
        "AWS_SESSION_TOKEN": held.session_token,
        "AWS_ENDPOINT_URL_S3": account.endpoint_url,
    }


def _decided(statements: list[Statement], asked: Asked) -> Decision:
    try:
        return decide(statements, asked)
    except NotUnderstoodError as error:
        raise AwsError("NotImplementedException", f"The embedded AWS cannot evaluate it: {error}", status=501) from None


def _current(policy: Any) -> str:
    """The document of a managed policy's default version."""
    return next(str(one.document) for one in policy.versions if one.version_id == policy.default_version_id)


@lru_cache(maxsize=256)
def _parsed(document: str) -> tuple[Statement, ...]:
    return tuple(statements_of(json.loads(document)))


def _refusal(call: Call, caller: str, asked: Asked, decision: Decision) -> AwsError:
    why = (
        "with an explicit deny in an identity-based policy"
        if decision.by
        else "because no identity-based policy allows"
    )
    message = f"User: {caller} is not authorized to perform: {asked.action} on resource: {asked.resource} {why}" + (
        "" if decision.by else f" the {asked.action} action"
    )
    return AwsError(_DENIED.get(call.protocol, "AccessDeniedException"), message, status=403)
