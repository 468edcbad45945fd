"""App image configurations and lifecycle configurations: kept, attached to domains and profiles, and told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker import listing
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.studio.parts import DOMAIN, PROFILE, Kind, in_use
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

_MODIFIED = {"ModifiedTimeBefore": "LastModifiedTimeBefore", "ModifiedTimeAfter": "LastModifiedTimeAfter"}


@dataclass(frozen=True)
class _Sort:
    """`settings` are members of which one only may be given; `is_held` says whether one may not be deleted yet."""

    kind: Kind
    summaries: str
    settings: tuple[str, ...]
    is_held: Callable[[Account, Json], bool]


def _is_attached(account: Account, body: Json) -> bool:
    held = [one.get("DefaultUserSettings", {}) for one in account.records.all(DOMAIN.kind)]
    held += [one.get("UserSettings", {}) for one in account.records.all(PROFILE.kind)]
    arns = [arn for layer in held for app in layer.values() if isinstance(app, dict) for arn in app.get("LifecycleConfigArns", [])]  # fmt: skip
    return body["StudioLifecycleConfigArn"] in arns


_APP_IMAGE = _Sort(
    Kind("app-image-config", "AppImageConfig"),
    "AppImageConfigs",
    ("KernelGatewayImageConfig", "JupyterLabAppImageConfig", "CodeEditorAppImageConfig"),
    lambda _account, _body: False,
)
_LIFECYCLE = _Sort(Kind("studio-lifecycle-config", "StudioLifecycleConfig"), "StudioLifecycleConfigs", (), _is_attached)


def operations(account: Account) -> Mapping[str, Operation]:
    """Create, Describe, List and Delete of both; app image configurations can be updated, as on AWS."""
    table: dict[str, Operation] = {"UpdateAppImageConfig": partial(_update, account)}
    for sort in (_APP_IMAGE, _LIFECYCLE):
        noun = sort.kind.noun
        table |= {
            f"Create{noun}": partial(_create, account, sort),
            f"Describe{noun}": partial(_describe, account, sort),
            f"List{noun}s": partial(_list, account, sort),
            f"Delete{noun}": partial(_delete, account, sort),
        }
    return table


def _create(account: Account, sort: _Sort, request: Json) -> Json:
    noun = sort.kind.noun
    _check_one(sort, request)
    name = request[f"{noun}Name"]
    arn, now = account.arn(sort.kind.kind, name), account.now()
    body = {member: value for member, value in request.items() if member != "Tags"} | {
        f"{noun}Arn": arn,
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    try:
        account.records.create(sort.kind.kind, name, arn, body, request.get("Tags"))
    except AlreadyRecordedError:
        raise in_use("create", sort.kind, arn, "it already exists") from None
    return {f"{noun}Arn": arn}


def _describe(account: Account, sort: _Sort, request: Json) -> Json:
    name = request[f"{sort.kind.noun}Name"]
    body = account.records.get(sort.kind.kind, name)
    if body is None:
        raise AwsError("ResourceNotFound", f"{sort.kind.noun} [{account.arn(sort.kind.kind, name)}] does not exist.")
    return body


def _update(account: Account, request: Json) -> Json:
    _check_one(_APP_IMAGE, request)
    with account.records.transaction():
        known = _describe(account, _APP_IMAGE, request)
        with account.records.changing(_APP_IMAGE.kind.kind, request["AppImageConfigName"]) as body:
            if given := [member for member in _APP_IMAGE.settings if member in request]:
                for member in _APP_IMAGE.settings:
                    body.pop(member, None)
                body[given[0]] = request[given[0]]
            body["LastModifiedTime"] = account.now()
    return {"AppImageConfigArn": known["AppImageConfigArn"]}


def _list(account: Account, sort: _Sort, request: Json) -> Json:
    asked = {_MODIFIED.get(member, member): value for member, value in request.items()}
    app_type = asked.pop("AppTypeEquals", None)
    found = [
        body
        for body in account.records.all(sort.kind.kind)
        if app_type in (None, body.get("StudioLifecycleConfigAppType"))
    ]
    return listing.page(found, asked, name=f"{sort.kind.noun}Name", summaries=sort.summaries)


def _delete(account: Account, sort: _Sort, request: Json) -> Json:
    with account.records.transaction():
        body = _describe(account, sort, request)
        if sort.is_held(account, body):
            raise in_use("delete", sort.kind, body[f"{sort.kind.noun}Arn"], "it is attached to a domain or user profile")  # fmt: skip
        account.records.delete(sort.kind.kind, request[f"{sort.kind.noun}Name"])
    return {}


def _check_one(sort: _Sort, request: Json) -> None:
    if len(given := [member for member in sort.settings if member in request]) > 1:
        raise invalid(f"Give one of {' and '.join(given)} only.")
