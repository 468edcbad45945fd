"""Why a job likely did not complete, and what to do about it. Pure: from Describe, the end of the log, and who stopped it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainmaster.catalog.deployments import Stop
from trainmaster.training.attempts import FALLBACK

Kind = Literal[
    "memory", "disk", "quota", "capacity", "interrupted", "permission", "data", "code", "service", "budget", "runtime",
    "stopped", "diverged", "unknown",
]  # fmt: skip
LACKED_MACHINES = frozenset({"capacity", "interrupted"})
"""Kinds for which the same job on other machines, or later, may do."""
LONGEST_LINE = 2000
LOOKED_AT = 200
"""Lines from the end of the log; an error before those was survived."""
_SHOWN = 200
TRAINMASTER = "Trainmaster"
"""Who stopped a job that no person stopped."""


@dataclass(frozen=True)
class Cause:
    """`why` and `advice` are sentences; `evidence` is the line it was told by, where it was one."""

    kind: Kind
    why: str
    advice: str
    evidence: str = ""

    @property
    def is_capacity(self) -> bool:
        return self.kind in LACKED_MACHINES

    def sentence(self) -> str:
        return f"{self.why} {self.advice}"


_CAUSES: dict[Kind, tuple[str, str]] = {
    "memory": (
        "It likely ran out of memory.",
        "Take a smaller batch or sequence, or an instance type with more memory (`trainmaster train plan` names some).",
    ),
    "disk": ("Its volume is full.", "Raise volume_size_gb, or keep fewer checkpoints."),
    "quota": (
        "The account's quota for these instances is used up, or 0.",
        "Ask for more in AWS's Service Quotas, or choose another instance type.",
    ),
    "capacity": (
        "AWS had no free instances of this type.",
        "Name others in instance_types, set fall_back_to_on_demand, or try again later.",
    ),
    "interrupted": (
        "Its spot instances were taken away and no others became free in time.",
        "Raise max_wait_seconds, set fall_back_to_on_demand, and see that it goes on from its checkpoints.",
    ),
    "permission": (
        "AWS refused the job something it needed.",
        "Give the execution role access to what the message names: the bucket, its KMS key or the container image.",
    ),
    "data": ("It could not use its data.", "Correct the data or the channel the message names, and check it by `trainmaster datasets check`."),
    "code": ("The training program failed.", "Correct what the last lines of the log name, then train again."),
    "service": ("SageMaker itself failed.", "Train again; nothing about the request is wrong."),
    "runtime": ("It ran for as long as it was allowed to.", "Raise max_runtime_seconds, and go on from its checkpoints."),
    "budget": ("Its money was spent.", "Raise budget_limit or the monthly budget, and go on from its checkpoints."),
    "stopped": ("It was stopped.", ""),
    "diverged": (
        "Its numbers were not finite any more.",
        "Lower learning_rate, raise warmup_ratio, or take a larger effective batch, and look for examples with nothing to learn from.",
    ),
    "unknown": ("AWS gave no reason.", "Look at its log."),
}  # fmt: skip

_SIGNS: list[tuple[Kind, re.Pattern[str]]] = [
    ("diverged", re.compile(
        r"^(?:AlgorithmError: )?Training diverged: |FloatingPointError|\bloss (?:is|was|became) (?:nan|inf|not finite)\b", re.IGNORECASE)),
    ("disk", re.compile(r"No space left on device|\bENOSPC\b|\[Errno 28\]|Disk quota exceeded", re.IGNORECASE)),
    ("memory", re.compile(
        r"^(?:AlgorithmError: )?Out of memory: |\b(?:CUDA|HIP|GPU) out of memory|OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED"
        r"|\bMemoryError\b|std::bad_alloc|Cannot allocate memory|can't allocate memory|Unable to allocate \S+ \w+ for an array"
        r"|RESOURCE_EXHAUSTED|ResourceExhaustedError|oom[-_ ]?kill|signal 9\b|SIGKILL", re.IGNORECASE)),
    ("permission", re.compile(
        r"\bAccess ?Denied|AccessDeniedException|not authorized to perform|\b403\b.{0,20}Forbidden|UnauthorizedOperation"
        r"|KMS\.\w*(?:Disabled|NotFound)\w*|\[Errno 13\]|gated repo|\b401 Client Error", re.IGNORECASE)),
    ("data", re.compile(
        r"No S3 objects found|Data download failed|There is no CSV file in the training channel|The training data has [\d,]+ problem"
        r"|There is no data: the job has no channel|FileNotFoundError.{0,200}(?:/opt/ml/input|SM_CHANNEL|\.(?:jsonl?|csv|parquet|txt)\b)"
        r"|UnicodeDecodeError|JSONDecodeError|DatasetGenerationError|ArrowInvalid|ParserError|EmptyDataError|BadGzipFile"
        r"|\bpyarrow\.lib\.\w+|could not convert string to float|NoSuchKey|No such file or directory:? .{0,20}/opt/ml/input", re.IGNORECASE)),
]  # fmt: skip
_OWN = re.compile(
    r"^(?:AlgorithmError: )?(?P<why>(?:Out of memory: |Training diverged: |The (?:training process|process of rank \d{1,6}) was killed by)"
    r".{1,600}?)\.? (?P<advice>(?:Change, by effect|Try): .{1,1000}?)\.?(?: It said: .*|, exit code: -?\d{1,3})?$",
    re.DOTALL,
)
"""What our own trainer says of itself: it names the settings to change, with the run's numbers."""
_CODES: dict[str, Kind] = {
    "ResourceLimitExceeded": "quota",
    "CapacityError": "capacity",
    "InsufficientCapacityError": "capacity",
    "InternalServerError": "service",
}
"""At the beginning of a FailureReason; of a client's and an algorithm's error the rest says more."""
_ERROR = re.compile(
    r"^\W{0,8}(?:\[?\w{1,12}\]?:\s{0,3}){0,3}(?:[A-Za-z_]\w{0,60}\.){0,8}(?:\w{0,60}(?:Error|Exception|Exit|Interrupt)\b|Killed\b|OOM|oom-kill"
    r"|terminate called|OSError)|No space left on device\W{0,3}$|std::bad_alloc"
)
"""How a line begins that a program ends with. What is only spoken of in a log (`will retry on CUDA out of memory`) begins otherwise."""
_EXIT = re.compile(r"exit ?code:? ?\"?(-?\d{1,3})\b", re.IGNORECASE)
_KILLED = {137, -9, 9}


def cause_of(
    description: Mapping[str, Any], lines: Sequence[str] = (), *, stop: Stop | None = None, is_cut: bool = False
) -> Cause | None:
    """None of a job that completed or goes on. `lines` are the last of its log, `stop` who stopped it; `is_cut` when its runtime
    is what its budget paid for."""
    status = description.get("TrainingJobStatus")
    if status == "Failed":
        return _failed(description, [line[:LONGEST_LINE] for line in lines[-LOOKED_AT:]])
    if status in ("Stopped", "Deleting"):
        return _stopped(description, stop, is_cut=is_cut)
    return None


def cause_of_reason(reason: str, lines: Sequence[str] = ()) -> Cause:
    """Of a FailureReason, or of the code and message of a refused Create as `code: message`."""
    code = reason.partition(":")[0].strip()
    if code in _CODES:
        return _cause(_CODES[code], reason)
    evidence = [reason[:LONGEST_LINE], *_errors(lines)]
    for text in evidence:
        for kind, sign in _SIGNS:
            if sign.search(text):
                own = _OWN.match(text)
                return Cause(kind, f"{own['why']}.", f"{own['advice']}.", text[:_SHOWN]) if own else _cause(kind, text)
    said = _EXIT.search(reason)
    if said and int(said[1]) in _KILLED:
        return _cause("memory", reason)
    if said or code == "AlgorithmError" or len(evidence) > 1:
        return _cause("code", next(_errors(lines), reason))
    return (
        _cause("unknown", reason)
        if not reason
        else Cause("unknown", "AWS did not say why in words we know.", "Look at its log.", reason)
    )


def _failed(description: Mapping[str, Any], lines: Sequence[str]) -> Cause:
    return cause_of_reason(str(description.get("FailureReason") or ""), lines)


def _stopped(description: Mapping[str, Any], stop: Stop | None, *, is_cut: bool) -> Cause:
    limits = description.get("StoppingCondition") or {}
    match description.get("SecondaryStatus"):
        case "MaxRuntimeExceeded":
            ran = (
                f"It ran for {limits['MaxRuntimeInSeconds']} s, " if "MaxRuntimeInSeconds" in limits else "It ran for "
            )
            if is_cut:
                return Cause("budget", f"{ran}what its budget pays for.", _CAUSES["budget"][1])
            return Cause("runtime", f"{ran}the longest runtime asked for.", _CAUSES["runtime"][1])
        case "MaxWaitTimeExceeded":
            transitions = description.get("SecondaryStatusTransitions") or []
            taken = any(one.get("Status") == "Interrupted" for one in transitions)
            if taken or description.get("TrainingStartTime"):
                return _cause("interrupted")
            return Cause("capacity", "No spot instances became free in time.", _CAUSES["capacity"][1])
    if stop is None:
        return Cause("stopped", "It was stopped, AWS does not say by whom.", _CAUSES["stopped"][1])
    kind: Kind = "budget" if stop.by == TRAINMASTER else "capacity" if stop.by == FALLBACK else "stopped"
    why = f": {stop.why.rstrip('.')}" if stop.why else ""
    return Cause(kind, f"It was stopped by {stop.by}{why}.", _CAUSES[kind][1])


def _errors(lines: Sequence[str]) -> Iterator[str]:
    """Lines a program ended with, the last one first."""
    for line in reversed(lines):
        if _ERROR.search(line.rpartition("\r")[2]):
            yield line.strip()


def _cause(kind: Kind, evidence: str = "") -> Cause:
    return Cause(kind, *_CAUSES[kind], evidence=evidence[:_SHOWN])
