"""The shapes of AWS's own service model: requests checked against it, errors and answers written by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import regex
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

Json = dict[str, Any]


class AwsError(Exception):
    """Raised when AWS would answer with an error of this code; `extra` are further members of the answer."""

    def __init__(self, code: str, message: str, *, status: int = 400, **extra: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.extra = code, message, status, extra

    def body(self) -> bytes:
        return json.dumps(
            {"__type": self.code, "message": self.message, "Message": self.message, **self.extra}
        ).encode()


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def not_found(message: str = "Requested resource not found.") -> AwsError:
    return AwsError("ValidationException", message)


@cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def operation_model(operation: str) -> OperationModel | None:
    """The model of a SageMaker operation, or None when AWS has no such operation."""
    model = service_model()
    return model.operation_model(operation) if operation in model.operation_names else None


def checked(operation: OperationModel, request: Any) -> Json:
    """The request reduced to members AWS knows; every violated constraint is reported in one ValidationException."""
    if not isinstance(request, dict):
        raise AwsError("SerializationException", "The request body must be a JSON object.")
    if operation.input_shape is None:
        return {}
    problems: list[str] = []
    known = _member(operation.input_shape, request, "", problems)
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        raise invalid(f"{len(problems)} validation {noun} detected: " + "; ".join(problems))
    assert isinstance(known, dict)
    return known


def answered(operation: OperationModel, answer: Mapping[str, Any]) -> Json:
    """The members of `answer` that the operation's output shape has, nested ones too; None is left out."""
    if operation.output_shape is None:
        return {}
    written = _written(operation.output_shape, answer)
    assert isinstance(written, dict)
    return written


def _written(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: _written(member, value[name]) for name, member in shape.members.items() if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_written(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {key: _written(shape.value, item) for key, item in value.items()}
    return value


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
    "blob": (str,),
}


def _member(shape: Shape, value: Any, path: str, problems: list[str]) -> Any:
    expected = _PYTHON_TYPES[shape.type_name]
    correct = isinstance(value, expected)
    if not correct or (isinstance(value, bool) and bool not in expected):
        raise AwsError("SerializationException", f"'{path or 'request'}' must be a {shape.type_name}.")
    problems.extend(_violations(shape, value, path))
    if isinstance(shape, StructureShape):
        problems.extend(
            f"Value null at '{_joined(path, name)}' failed to satisfy constraint: Member must not be null"
            for name in shape.required_members
            if value.get(name) is None
        )
        return {
            name: _member(member, value[name], _joined(path, name), problems)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_member(shape.member, item, f"{path}.{n}.member", problems) for n, item in enumerate(value, 1)]
    if isinstance(shape, MapShape):
        for key, item in value.items():
            problems.extend(_violations(shape.key, key, f"{path}.{key}.key"))
            _member(shape.value, item, f"{path}.{key}.value", problems)
    return value


def _joined(path: str, name: str) -> str:
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    rules = shape.metadata
    low, high = rules.get("min"), rules.get("max")
    if isinstance(value, (str, list, dict)):
        size, noun = len(value), "length"
    else:
        size, noun = value, "value"
    said = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must"
    if shape.type_name not in ("boolean", "timestamp", "structure"):
        if low is not None and size < low:
            yield f"{said} have {noun} greater than or equal to {low}"
        if high is not None and size > high:
            yield f"{said} have {noun} less than or equal to {high}"
    if shape.type_name == "string":
        pattern, choices = rules.get("pattern"), rules.get("enum")
        if pattern and not compiled(pattern).fullmatch(value):
            yield f"{said} satisfy regular expression pattern: {pattern}"
        if choices and value not in choices:
            yield f"{said} satisfy enum value set: [{', '.join(choices)}]"


@cache
def compiled(pattern: str) -> regex.Pattern[str]:
    """AWS's patterns are Java's: `regex` reads them all once surrogate pairs are written as the characters they mean."""
    return regex.compile(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"), regex.DOTALL)
