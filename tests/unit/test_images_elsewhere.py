"""What is reserved for an image is of one account and region, and is looked after there."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from books import Clock
from paid_workspaces import ACCOUNT_ID, desk_without_aws

from trainmaster.budget.budgets import Payer
from trainmaster.workspaces.images.left import regions_with_images
from trainmaster.workspaces.images.paying import Cost, reserved

COST = Cost(Decimal("1.20"), 60)
CHECKED = datetime(2026, 11, 3, 8, tzinfo=UTC)


def project(region: str, account: str = ACCOUNT_ID) -> str:
    return f"arn:aws:codebuild:{region}:{account}:project/trainmaster-own-1b3c5d7e"


def test_two_regions_that_make_the_same_image_reserve_for_each(tmp_path: Path) -> None:
    with desk_without_aws(tmp_path, Clock(CHECKED)) as desk:
        here = reserved(desk, "image-own-f", project("us-east-1"), COST, Payer())
        there = reserved(desk, "image-own-f", project("eu-west-1"), COST, Payer())
        assert here.key != there.key
        assert {one.charge.resource for one in desk.ledger.open_reservations()} == {
            project("us-east-1"),
            project("eu-west-1"),
        }
        assert reserved(desk, "image-own-f", project("us-east-1"), COST, Payer()).key == here.key
        assert reserved(desk, "image-own-f", project("eu-west-1"), COST, Payer()).key == there.key


def test_images_left_over_are_looked_for_in_every_region_they_are_reserved_in(tmp_path: Path) -> None:
    with desk_without_aws(tmp_path, Clock(CHECKED)) as desk:
        assert regions_with_images(desk) == []
        reserved(desk, "image-own-f", project("eu-west-1"), COST, Payer())
        reserved(desk, "image-box-f", f"arn:aws:ec2:us-west-2:{ACCOUNT_ID}:image/trainmaster-box-f", COST, Payer())
        reserved(desk, "image-far-f", project("sa-east-1", "999999999999"), COST, Payer())
        reserved(desk, "job", f"arn:aws:sagemaker:us-east-2:{ACCOUNT_ID}:training-job/job", COST, Payer())
        assert regions_with_images(desk) == ["eu-west-1", "us-west-2"]
