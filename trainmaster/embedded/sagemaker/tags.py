"""Tags of any recorded resource: AddTags, ListTags, DeleteTags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

_LIMIT = 50
_PAGE = 50


def operations(account: Account) -> Mapping[str, Operation]:
    def add(request: Json) -> Json:
        arn = _known(account, request)
        with account.records.transaction():
            after = account.records.tags(arn) | {tag["Key"]: tag["Value"] for tag in request["Tags"]}
            if len(after) > _LIMIT:
                raise AwsError("ResourceLimitExceeded", f"{arn} would have {len(after)} tags; the limit is {_LIMIT}.")
            account.records.tag(arn, after)
        return {"Tags": _listed(after)}

    def listing(request: Json) -> Json:
        given = request.get("NextToken", "")
        rest = _listed(
            {key: value for key, value in account.records.tags(_known(account, request)).items() if key > given}
        )
        size = request.get("MaxResults", _PAGE)
        page = list(islice(rest, size))
        return {"Tags": page, "NextToken": page[-1]["Key"] if len(rest) > size else None}

    def delete(request: Json) -> Json:
        account.records.untag(_known(account, request), request["TagKeys"])
        return {}

    return {"AddTags": add, "ListTags": listing, "DeleteTags": delete}


def check(tags: list[dict[str, str]]) -> None:
    """Raises AWS's refusal of keys given twice or reserved."""
    twice = [key for key, count in Counter(tag["Key"] for tag in tags).items() if count > 1]
    if twice:
        raise invalid(f"Duplicate tag keys: {', '.join(twice)}.")
    if any(tag["Key"].lower().startswith("aws:") for tag in tags):
        raise invalid("aws: prefixed tag key names are not allowed for external use.")


def _known(account: Account, request: Json) -> str:
    arn: str = request["ResourceArn"]
    if not account.records.has_arn(arn):
        raise invalid(f"Could not find resource {arn}.")
    return arn


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
