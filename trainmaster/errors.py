"""Every error of Trainmaster.

TrainmasterError
├── RefusedError                 we will not do this; nothing was launched, trying again changes nothing
│   ├── DatasetRefusedError      the data cannot be trained on
│   ├── FormRefusedError         what was sent over HTTP is no form with a file
│   ├── UploadTooLargeError      a file has more bytes than are taken over HTTP
│   ├── UnknownPriceError        nobody knows what it would cost
│   ├── OverBudgetError          it would cost more than was approved
│   ├── NotConfiguredError       a setting, role or bucket is missing
│   │   └── CredentialsMissingError  no AWS credentials were found
│   ├── NameConflictError        the name is taken by something else
│   ├── DatasetMissingError      this user has no such dataset
│   ├── FlowRunMissingError      this user has no such flow run
│   ├── FlowRunRefusedError      the form of a deployment does not take the request; also a FlowRunsUnavailableError
│   ├── UnknownChoiceError       there is nothing of that name to choose
│   │   └── WorkspaceMissingError    this user has no such workspace
│   ├── TrainingMissingError     this user has no such training, or no such training config
│   ├── KeyReusedError           an Idempotency-Key came with another request before
│   ├── TrainingRefusedError     a request to train has problems, all of them listed
│   ├── TemplatesRefusedError    workspace templates have problems, all of them listed
│   ├── WorkspaceBusyError       something else is under way with the workspace
│   ├── PolicyRefusedError       the policy does not give it to the role of whoever asked
│   ├── ModelRefusedError        the artifact cannot be served
│   ├── NotApprovedError         nobody has approved this version of the model for deployment
│   ├── UnauthenticatedError     nobody knows who asks
│   └── TooManyRequestsError     somebody asks more often than they may
├── ObjectMissingError           a catalogued object is not where it should be
├── ObjectChangedError           it was replaced while it was read
├── CorruptedUploadError         what arrived is not what was sent
├── StorageUnavailableError      a store fails still, after every retry; later may do
│   └── NoRoomError              the disk that files in between are on is full
├── UploadsBusyError             as many uploads over HTTP as may be are under way
├── CatalogueUnavailableError    the catalogue's database does not answer or is busy; later may do
├── FlowRunsUnavailableError     the Prefect server does not answer; later may do
├── SigningKeysUnavailableError  the keys that tokens are verified with are out of reach; later may do
├── UploadUnderWayError          somebody else is uploading the very same
├── SourceFailedError            what copies come from gives nothing any more
├── DestinationFailedError       where copies go takes nothing any more
├── MigrationEndedError          a run over many datasets ended early; going on would have been of no use
├── CopiesDamagedError           copies no longer have the bytes that were verified
├── LeaseLostError               an object was held too long without renewal, and somebody else took it over
├── TrainingFailedError          the job ended without a model
├── NoCapacityError              AWS had no machines for a job; later may do
├── DeploymentFailedError        the endpoint does not serve what was asked; what served before still does
├── WorkspaceFailedError         a workspace could not be opened or closed; what was made of it is kept, and the same again goes on
├── ImageFailedError             an image for workspaces could not be made
├── JupyterUnreachableError      a workspace's JupyterLab does not say when it was last in use, which counts as in use
├── JobsLeftError                some jobs, endpoints or workspaces could not be looked after; all the others were
└── WaitTimedOutError            it took longer than it may
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainmaster.datasets.problems import Problem as DatasetProblem
    from trainmaster.training.causes import Cause
    from trainmaster.training.problems import Problem
    from trainmaster.workspaces.policy.rules import Violation
    from trainmaster.workspaces.templates.loading import FileProblem

_NAMED = 8  # of the instance types a refusal lists
_LISTED = 20  # of the jobs that could not be looked after


class TrainmasterError(Exception):
    """Raised never itself; catch it to catch every error of Trainmaster."""


class RefusedError(TrainmasterError):
    """Raised when a request is not carried out. Nothing was launched; never retried."""


class DatasetRefusedError(RefusedError):
    """Raised when data cannot be trained on; the message lists what is wrong, by line and column, or `problems` do."""

    def __init__(self, message: str, problems: Sequence[DatasetProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class FormRefusedError(RefusedError):
    """Raised when what was sent over HTTP is no form with one file and the fields that go with it."""


class UploadTooLargeError(RefusedError):
    """Raised when a file has more bytes than are taken over HTTP; the message says how many those are."""


class UnknownPriceError(RefusedError):
    """Raised when no price is known for an instance type in a region, so its cost cannot be bounded."""

    def __init__(self, instance_type: str, use: str, region: str, known: list[str]) -> None:
        self.instance_type, self.use, self.region, self.known = instance_type, use, region, known
        near = get_close_matches(instance_type, known, _NAMED, cutoff=0.7) or known[:_NAMED]
        more = f" and {len(known) - len(near)} more" if len(known) > len(near) else ""
        there = f"Known there: {', '.join(near)}{more}." if known else f"No {use} price is known for {region} at all."
        super().__init__(
            f"No {use} price is known for {instance_type!r} in {region}, so it is refused. {there} `trainmaster prices"
            f" show --use {use} --region {region}` lists what is known, `trainmaster prices refresh --region {region}` asks AWS."
        )


class OverBudgetError(RefusedError):
    """Raised when something would cost more than was approved for it, or than is left of a budget, as `stands` says then.

    `approved` is what may be spent on it; `choices` are what that would pay for.
    """

    def __init__(
        self, subject: str, cost: str, approved: Decimal, choices: list[str], remedy: str, *, stands: str = ""
    ) -> None:
        self.subject, self.cost, self.approved, self.choices, self.remedy = subject, cost, approved, choices, remedy
        cheaper = f" Choose {' or '.join(choices)}, or" if choices else ""
        super().__init__(
            f"{subject} would cost {cost}; {stands or f'${approved} is approved'}.{cheaper or ' Please'} {remedy}."
        )


class NotConfiguredError(RefusedError):
    """Raised when a setting, role or bucket that the work needs is missing; the message says what to set."""


class CredentialsMissingError(NotConfiguredError):
    """Raised when no AWS credentials were found: whatever else is asked of AWS will fail alike, for whichever user."""


class NameConflictError(RefusedError):
    """Raised when the name derived from a request belongs to something made from a different request."""


class DatasetMissingError(RefusedError):
    """Raised when a user has no dataset of that id; somebody else's is missing too."""


class FlowRunMissingError(RefusedError):
    """Raised when a user has no flow run of that id; somebody else's is missing too."""


class UnknownChoiceError(RefusedError):
    """Raised when a request chooses something there is not; the message lists what there is."""


class WorkspaceMissingError(UnknownChoiceError):
    """Raised when a user has no workspace of that name; the message lists those there are."""


class TrainingMissingError(RefusedError):
    """Raised when a user has no training, or no training config, of that id; somebody else's is missing too."""


class KeyReusedError(RefusedError):
    """Raised when an Idempotency-Key came with another request before; nothing was done for this one."""


class TrainingRefusedError(RefusedError):
    """Raised when a request to train has problems; `problems` are all of them, each with what to do about it."""

    def __init__(self, subject: str, problems: Sequence[Problem], not_done: str = "launched") -> None:
        self.subject, self.problems = subject, tuple(problems)
        if len(problems) == 1:
            said = f" {problems[0].sentence()}"
        else:
            said = "".join(f"\n  {number}. {problem.sentence()}" for number, problem in enumerate(problems, 1))
        super().__init__(f"{subject} was not {not_done}.{said}")


class TemplatesRefusedError(RefusedError):
    """Raised when workspace templates have problems; `problems` are all of them, each with its file, line and key."""

    def __init__(self, subject: str, problems: Sequence[FileProblem]) -> None:
        self.subject, self.problems = subject, tuple(problems)
        said = "".join(f"\n  {one.sentence()}" for one in problems)
        super().__init__(f"{subject} cannot be used before this is put right:{said}")


class WorkspaceBusyError(RefusedError):
    """Raised when something else is under way with a workspace, or it is in no state for what is asked; the message says what to wait for."""


class PolicyRefusedError(RefusedError):
    """Raised when somebody asks for what the policy does not give their role; `violations` are all of them, each with what to do."""

    def __init__(self, subject: str, violations: Sequence[Violation]) -> None:
        self.subject, self.violations = subject, tuple(violations)
        said = "".join(f"\n  {number}. {one.sentence()}" for number, one in enumerate(violations, 1))
        super().__init__(
            f"{subject} is refused by the policy. {violations[0].sentence()}"
            if len(violations) == 1
            else f"{subject} is refused by the policy, for {len(violations)} reasons:{said}"
        )


class ModelRefusedError(RefusedError):
    """Raised when a model artifact is missing, corrupt, unsafe to unpack, or has no inference code."""


class NotApprovedError(RefusedError):
    """Raised when a version of the model registry is to be deployed that is rejected, or that nobody has approved yet."""


class UnauthenticatedError(RefusedError):
    """Raised when a request over HTTP has no valid token; never with the token."""


class TooManyRequestsError(RefusedError):
    """Raised when a user or an address asks more often than it may; `seconds` is how long to wait."""

    def __init__(self, whose: str, limit: str, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"{whose} may ask {limit}, and has. Ask again in {seconds} s.")


class ObjectMissingError(TrainmasterError):
    """Raised when a store has no such object, or a row for it without bytes."""


class ObjectChangedError(TrainmasterError):
    """Raised when an object was replaced while it was read; what was read belongs to none. Read it anew."""


class CorruptedUploadError(TrainmasterError):
    """Raised when a store holds something else than was sent; it is removed again."""


class StorageUnavailableError(TrainmasterError):
    """Raised when a store still throttles, fails or does not answer after every retry; trying later may help."""


class NoRoomError(StorageUnavailableError):
    """Raised when the disk that files in between are on is full; the message says where."""


class UploadsBusyError(TrainmasterError):
    """Raised when as many uploads over HTTP as may be are under way; the same may do a little later."""


class CatalogueUnavailableError(TrainmasterError):
    """Raised when the catalogue's database is out of reach, busy or shutting down; the same call may work later."""


class FlowRunsUnavailableError(TrainmasterError):
    """Raised when no flow run can be started or looked up now; the same may do later."""


class FlowRunRefusedError(RefusedError, FlowRunsUnavailableError):
    """Raised when the form of a deployment does not take a request; the same is refused again until either is changed."""


class SigningKeysUnavailableError(TrainmasterError):
    """Raised when a token is signed by a key that is not known, and nobody can be asked for it now."""


class UploadUnderWayError(TrainmasterError):
    """Raised when another run is uploading the very same dataset; its result is ours as soon as it ends."""


class SourceFailedError(TrainmasterError):
    """Raised when the source of many copies is out of reach or refuses us altogether: none of the others would do better."""


class DestinationFailedError(TrainmasterError):
    """Raised when the destination of many copies is gone, full, out of reach or closed to us: none of the others would do better."""


class MigrationEndedError(TrainmasterError):
    """Raised when a run over many datasets ends early, for all others would have failed alike; what it did before stands."""


class CopiesDamagedError(TrainmasterError):
    """Raised when copies in S3 no longer have the bytes that were verified; the message says which, and how they differ."""


class LeaseLostError(TrainmasterError):
    """Raised when the lease on a pending object ran out and it was taken over: what lies there may be gone; start anew."""


class TrainingFailedError(TrainmasterError):
    """Raised when a training job ended Failed or Stopped; `reason` is AWS's, `log_tail` the job's last lines.

    `found` is True when the job had been launched before this run. `cause` is what it likely was and what to do about it,
    `left` says what it left to go on from, if anything.
    """

    def __init__(
        self,
        job_name: str,
        status: str,
        reason: str,
        cost: Decimal,
        log_tail: list[str],
        *,
        found: bool,
        cause: Cause | None = None,
        left: str = "",
    ) -> None:
        self.job_name, self.status, self.reason, self.cost = job_name, status, reason, cost
        self.log_tail, self.found, self.cause, self.left = log_tail, found, cause, left
        about = [cause.why if cause and cause.why.rstrip(".") not in reason else "", cause.advice if cause else ""]
        about += [f"It left {left}." if left else "", "Set attempt to one more to train again."]
        said = "".join(f"\n  | {line}" for line in log_tail)
        super().__init__(
            f"Training job {job_name} ended {status}: {reason.rstrip('.') or 'AWS gave no reason'}. It cost ${cost}."
            f" {' '.join(filter(None, about))}{' Its last lines:' + said if said else ''}"
        )

    @property
    def kind(self) -> str:
        """What it likely was, in a word: memory, capacity, data … `unknown` where nobody knows."""
        return self.cause.kind if self.cause else "unknown"

    @property
    def is_capacity(self) -> bool:
        """Whether the same job on other machines may do."""
        return self.cause is not None and self.cause.is_capacity


class NoCapacityError(TrainmasterError):
    """Raised when AWS had no machines for any attempt at a training; `attempts` say which were tried, and what it said."""

    def __init__(self, attempts: Sequence[str]) -> None:
        self.attempts = tuple(attempts)
        said = "".join(f"\n  {number}. {attempt}" for number, attempt in enumerate(attempts, 1))
        super().__init__(
            f"AWS has no capacity for this training now.{said}\nTry again later with one more attempt, or allow more:"
            " instance_types, fall_back_to_on_demand, another region."
        )


class DeploymentFailedError(TrainmasterError):
    """Raised when an endpoint could not be brought to serve what was asked.

    `blames_it` is False where it is not what was deployed that failed: AWS had no machines, say, and the same may do later.
    """

    def __init__(self, message: str, *, blames_it: bool = True) -> None:
        self.blames_it = blames_it
        super().__init__(message)


class WorkspaceFailedError(TrainmasterError):
    """Raised when AWS could not open or close a workspace; the message says why, and what is left. The same again goes on from there."""


class JupyterUnreachableError(TrainmasterError):
    """Raised when a JupyterLab cannot be asked when it was last in use; never with its address, which lets anybody in."""


class ImageFailedError(TrainmasterError):
    """Raised when AWS could not make an image for workspaces; the message says why. The same again goes on from there."""


class JobsLeftError(TrainmasterError):
    """Raised when some of many jobs, endpoints or workspaces could not be looked after; `failures` say which and why. All the others were."""

    def __init__(self, failures: Sequence[str], things: str = "jobs") -> None:
        self.failures = tuple(failures)
        shown = "".join(f"\n  {failure}" for failure in self.failures[:_LISTED])
        more = len(self.failures) - _LISTED
        super().__init__(
            f"{len(self.failures)} of the {things} could not be looked after; all the others were, and the next run tries again:{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )


class WaitTimedOutError(TrainmasterError):
    """Raised when something did not end within the time it was given."""
