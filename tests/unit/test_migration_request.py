"""What may be asked of a migration, where asking for the wrong thing would lose bytes."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import ValidationError

from trainmaster.migration.request import MigrateDatasetsRequest


def test_bytes_in_s3_are_given_up_only_for_datasets_that_are_named() -> None:
    named = [str(uuid4())]
    assert not MigrateDatasetsRequest(phase="rollback", dataset_ids=named).take_newer
    assert MigrateDatasetsRequest(phase="rollback", dataset_ids=named, take_newer=True).take_newer
    with pytest.raises(ValidationError, match="name those that are meant in dataset_ids"):
        MigrateDatasetsRequest(phase="rollback", take_newer=True)
