"""SageMaker Experiments: experiments, their trials, and the component that each training job becomes in a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.listing import page
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

OF_JOB = "-aws-training-job"
"""What AWS adds to a job's name for the name of its component."""


@dataclass(frozen=True)
class Kind:
    """`noun` names operations and members: CreateTrial, TrialName, TrialSummaries; `kind` is the type in the ARN."""

    noun: str
    kind: str


EXPERIMENT, TRIAL, COMPONENT = (
    Kind("Experiment", "experiment"), Kind("Trial", "experiment-trial"), Kind("TrialComponent", "experiment-trial-component"),
)  # fmt: skip


def operations(account: Account) -> Mapping[str, Operation]:
    """Create, Describe, List and Delete of experiments, trials and components, and what ties components to trials."""
    table: dict[str, Operation] = {}
    for kind in (EXPERIMENT, TRIAL, COMPONENT):
        table |= {
            f"Create{kind.noun}": partial(_create, account, kind),
            f"Describe{kind.noun}": partial(_describe, account, kind),
            f"Update{kind.noun}": partial(_update, account, kind),
            f"Delete{kind.noun}": partial(_delete, account, kind),
            f"List{kind.noun}s": partial(_list, account, kind),
        }
    return table | {
        "AssociateTrialComponent": partial(_associate, account, there=True),
        "DisassociateTrialComponent": partial(_associate, account, there=False),
    }


def check(account: Account, config: Json) -> None:
    """Raises AWS's refusal of an ExperimentConfig that names what there is not."""
    experiment, trial = config.get("ExperimentName"), config.get("TrialName")
    if experiment:
        _known(account, EXPERIMENT, experiment)
    if trial:
        its = _known(account, TRIAL, trial)["ExperimentName"]
        if experiment and its != experiment:
            raise invalid(f"Trial '{trial}' is of experiment '{its}', not of '{experiment}'.")


def track(account: Account, job: Json) -> None:
    """Make a training job a component of the trial it names; of the experiment's own default trial when it names none."""
    config = job.get("ExperimentConfig")
    if not config:
        return
    trial = config.get("TrialName")
    if not trial and config.get("ExperimentName"):
        trial = f"Default-Run-Group-{config['ExperimentName']}"[:120]
        if account.records.get(TRIAL.kind, trial) is None:
            _create(account, TRIAL, {"TrialName": trial, "ExperimentName": config["ExperimentName"]})
    name = config.get("RunName") or f"{job['TrainingJobName']}{OF_JOB}"
    if account.records.get(COMPONENT.kind, name) is None:
        source = {"SourceArn": job["TrainingJobArn"], "SourceType": "SageMakerTrainingJob"}
        display = config.get("TrialComponentDisplayName", name)
        _create(account, COMPONENT, {"TrialComponentName": name, "DisplayName": display, "Source": source})
    if trial:
        _associate(account, {"TrialComponentName": name, "TrialName": trial}, there=True)


def _create(account: Account, kind: Kind, request: Json) -> Json:
    name = request[f"{kind.noun}Name"]
    arn, now = account.arn(kind.kind, name.lower()), account.now()
    if kind is TRIAL:
        _known(account, EXPERIMENT, request["ExperimentName"])
    body = {"DisplayName": name, **{member: value for member, value in request.items() if member != "Tags"}}
    body |= {f"{kind.noun}Arn": arn, "CreationTime": now, "LastModifiedTime": now}
    try:
        account.records.create(kind.kind, name, arn, body, request.get("Tags"))
    except AlreadyRecordedError:
        raise invalid(
            f"{_called(kind)} names must be unique within an AWS account and region. {_called(kind)} with name ({name})"
            " already exists."
        ) from None
    return {f"{kind.noun}Arn": arn}


def _describe(account: Account, kind: Kind, request: Json) -> Json:
    return _known(account, kind, request[f"{kind.noun}Name"])


def _update(account: Account, kind: Kind, request: Json) -> Json:
    name = request[f"{kind.noun}Name"]
    _known(account, kind, name)
    removed = {member for member in request if member.endswith("ToRemove")}
    with account.records.changing(kind.kind, name) as body:
        for member, value in request.items():
            if member in removed:
                held = body.get(member.removesuffix("ToRemove"), {})
                body[member.removesuffix("ToRemove")] = {key: one for key, one in held.items() if key not in value}
            elif isinstance(value, dict) and isinstance(body.get(member), dict) and member != "Status":
                body[member] |= value
            else:
                body[member] = value
        body["LastModifiedTime"] = account.now()
        return {f"{kind.noun}Arn": body[f"{kind.noun}Arn"]}


def _delete(account: Account, kind: Kind, request: Json) -> Json:
    """As on AWS, what still holds something cannot be deleted."""
    name = request[f"{kind.noun}Name"]
    body = _known(account, kind, name)
    holds: dict[Kind, Callable[[], bool]] = {
        EXPERIMENT: lambda: any(each["ExperimentName"] == name for each in account.records.all(TRIAL.kind)),
        TRIAL: lambda: any(name in each.get("Trials", ()) for each in account.records.all(COMPONENT.kind)),
        COMPONENT: lambda: bool(body.get("Trials")),
    }
    if holds[kind]():
        raise invalid(f"{_called(kind)} '{body[f'{kind.noun}Arn']}' cannot be deleted: it has associations.")
    account.records.delete(kind.kind, name)
    return {f"{kind.noun}Arn": body[f"{kind.noun}Arn"]}


def _list(account: Account, kind: Kind, request: Json) -> Json:
    records = account.records.all(kind.kind)
    if (experiment := request.pop("ExperimentName", None)) is not None:
        _known(account, EXPERIMENT, experiment)
        trials = {each["TrialName"] for each in account.records.all(TRIAL.kind) if each["ExperimentName"] == experiment}
        records = [
            each for each in records if each.get("ExperimentName") == experiment or trials & set(each.get("Trials", ()))
        ]
    if trial := request.pop("TrialName", None):
        records = [each for each in records if trial in each.get("Trials", ())]
    if component := request.pop("TrialComponentName", None):
        its = _known(account, COMPONENT, component).get("Trials", ())
        records = [each for each in records if each["TrialName"] in its]
    if source := request.pop("SourceArn", None):
        records = [each for each in records if each.get("Source", {}).get("SourceArn") == source]
    times = {
        f"CreationTime{when}": request.pop(f"Created{when}")
        for when in ("After", "Before")
        if f"Created{when}" in request
    }
    summaries = [each | {f"{kind.noun}Source": each.get("Source")} for each in records]
    return page(summaries, request | times, name=f"{kind.noun}Name", summaries=f"{kind.noun}Summaries")


def _associate(account: Account, request: Json, *, there: bool) -> Json:
    component, trial = request["TrialComponentName"], request["TrialName"]
    arns = {
        "TrialComponentArn": _known(account, COMPONENT, component)["TrialComponentArn"],
        "TrialArn": _known(account, TRIAL, trial)["TrialArn"],
    }
    with account.records.changing(COMPONENT.kind, component) as body:
        others = [each for each in body.get("Trials", []) if each != trial]
        body["Trials"] = [*others, trial] if there else others
    return arns


def _known(account: Account, kind: Kind, name: str) -> Json:
    body = account.records.get(kind.kind, name)
    if body is None:
        arn = account.arn(kind.kind, name.lower())
        raise AwsError("ResourceNotFound", f"{_called(kind)} '{arn}' does not exist.")
    return body


def _called(kind: Kind) -> str:
    return {"TrialComponent": "Trial component"}.get(kind.noun, kind.noun)
