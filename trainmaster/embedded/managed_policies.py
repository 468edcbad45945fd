"""AWS's own policies, which moto has and does not load: each is there once somebody attaches it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends

from trainmaster.embedded.calls import Call

_ARN = re.compile(r"arn:aws:iam::aws:policy/(?:.*/)?(?P<name>[^/]+)")


def make_known(call: Call) -> None:
    """Before a call that attaches one: to every account of moto's, of which there is one."""
    named = _ARN.fullmatch(call.parameters.get("PolicyArn", [""])[0])
    data = _all().get(named["name"]) if named else None
    if named is None or data is None:
        return
    for account_id, backends in list(iam_backends.items()):
        backend = backends["aws"]
        if named[0] not in backend.managed_policies:
            policy = AWSManagedPolicy.from_data(named["name"], account_id, backend.region_name, data)
            backend.managed_policies[policy.arn] = policy


@cache
def _all() -> dict[str, dict[str, Any]]:
    """All of AWS's: most of a second to read, so only where one is wanted."""
    found: dict[str, dict[str, Any]] = json.loads(aws_managed_policies_data)
    return found
