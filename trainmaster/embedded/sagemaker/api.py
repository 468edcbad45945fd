"""The table of SageMaker operations, and the one way a request reaches one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from trainmaster.embedded.sagemaker import tags, wire
from trainmaster.embedded.sagemaker.wire import AwsError, Json

Operation = Callable[[Json], Json]
"""Takes the validated request, returns the answer's members, raises AwsError."""


class SageMakerApi:
    """Answers `X-Amz-Target: SageMaker.<operation>` requests with the operations it was given."""

    def __init__(self, *tables: Mapping[str, Operation]) -> None:
        self._operations: dict[str, Operation] = {}
        for table in tables:
            if twice := self._operations.keys() & table.keys():
                raise ValueError(f"operations given twice: {sorted(twice)}")
            self._operations.update(table)

    def answer(self, operation: str, body: bytes) -> Json:
        """The answer's JSON; raises AwsError for a bad request and for an operation AWS or we do not have."""
        model = wire.operation_model(operation)
        if model is None:
            raise AwsError("UnknownOperationException", f"SageMaker has no operation {operation!r}.", status=404)
        handler = self._operations.get(operation)
        if handler is None:
            have = ", ".join(sorted(self._operations))
            raise AwsError(
                "NotImplementedException", f"The embedded AWS does not do {operation}. It does: {have}.", status=501
            )
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            raise AwsError("SerializationException", "The request body is not JSON.") from None
        known = wire.checked(model, request)
        tags.check(known.get("Tags", []))
        return wire.answered(model, handler(known))
