"""What is in another account or region than is worked in is neither touched nor taken for gone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from books import Clock
from paid_workspaces import desk_without_aws, workspace

from trainmaster.budget.metering import Meters
from trainmaster.errors import RefusedError
from trainmaster.workspaces import metering
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import start_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest


@pytest.mark.parametrize("elsewhere", [{"account": "999999999999"}, {"region": "eu-west-1"}], ids=["account", "region"])
@pytest.mark.parametrize("action", ["stop", "delete"])
def test_a_workspace_elsewhere_is_not_closed_here_and_stays_in_the_books(
    tmp_path: Path, action: Literal["stop", "delete"], elsewhere: dict[str, Any]
) -> None:
    with desk_without_aws(tmp_path, Clock(datetime(2026, 11, 3, 8, tzinfo=UTC))) as desk:
        far = desk.catalogue.workspaces.begin(workspace(status="running", **elsewhere))
        metering.reserve(desk, far)
        request = CloseWorkspaceRequest(name=far.name, user_id=str(far.user_id), action=action, dry_run=False)
        with pytest.raises(RefusedError, match="Nothing was done") as refused:
            close_workspace(desk, request)
        assert far.account in str(refused.value)
        assert far.region in str(refused.value)
        assert desk.catalogue.workspaces.get(far.user_id, far.name).status == "running"
        assert Meters(desk.ledger).running(far.resource)


@pytest.mark.parametrize("elsewhere", [{"account": "999999999999"}, {"region": "eu-west-1"}], ids=["account", "region"])
def test_a_workspace_elsewhere_is_not_started_here_and_nobody_is_told_to_delete_it(
    tmp_path: Path, elsewhere: dict[str, Any]
) -> None:
    with desk_without_aws(tmp_path, Clock(datetime(2026, 11, 3, 8, tzinfo=UTC))) as desk:
        far = desk.catalogue.workspaces.begin(workspace(status="stopped", **elsewhere))
        with pytest.raises(RefusedError, match=f"in AWS account {far.account}, {far.region}"):
            start_workspace(desk, far.user_id, far.name)
        assert desk.catalogue.workspaces.get(far.user_id, far.name) == far
