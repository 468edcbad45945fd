"""What is tried again: what may pass by itself, and never a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.states import Failed

from tasks.aws import may_pass
from trainmaster import errors

PASSING = {
    errors.CatalogueUnavailableError,
    errors.CorruptedUploadError,
    errors.LeaseLostError,
    errors.StorageUnavailableError,
    errors.UploadUnderWayError,
}


REFUSALS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RefusedError)]


def tried_again(kind: type[BaseException]) -> bool:
    run: Any = None
    return may_pass(None, run, Failed(data=kind.__new__(kind)))


@pytest.mark.parametrize("kind", sorted(PASSING, key=str))
def test_what_may_pass_is_tried_again(kind: type[BaseException]) -> None:
    assert tried_again(kind)


@pytest.mark.parametrize("kind", REFUSALS)
def test_no_refusal_is(kind: type[BaseException]) -> None:
    assert not tried_again(kind)
