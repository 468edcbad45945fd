"""What the file systems that workspaces share cost, in the books: by what they hold, and paid by the whole lab, for nobody's part is known.

All of it is counted at the price of the Standard class, so that what AWS moved to a colder one costs less than is said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import ceil

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.failures import code_of
from trainmaster.budget.metering import Metered, Meters
from trainmaster.errors import TrainmasterError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.metering import WorkspaceHours, told

GIGABYTE = 1024**3
_KIND = ":file-system/"


def meter_file_systems(desk: Desk) -> Iterator[WorkspaceHours]:
    """Each file system that workspaces of the desk's account and region mount, or did and that is still there, as it is now.

    What fails for one is a finding, and the others are counted all the same.
    """
    rows = desk.catalogue.workspaces.all(account=desk.account, region=desk.settings.region)
    here = f"arn:aws:elasticfilesystem:{desk.settings.region}:{desk.account}{_KIND}"
    counted = {meter.resource for meter in Meters(desk.ledger).running() if meter.resource.startswith(here)}
    for arn in sorted(counted | {here + row.resources["efs_id"] for row in rows if row.resources.get("efs_id")}):
        try:
            yield from _of(desk, arn)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            yield WorkspaceHours(_name(arn), "shared files", "failed", why=str(error))


def _of(desk: Desk, arn: str) -> Iterator[WorkspaceHours]:
    books = Meters(desk.ledger)
    gigabytes = _size(desk, arn)
    if gigabytes is None:
        found = [books.end(meter) for meter in books.running(arn)]
    else:
        hourly = desk.prices.storage_hour(gigabytes, desk.settings.region, "efs")
        found = [books.look(books.start(Metered(arn, hourly), whatever=True), hourly)]
    yield from (told(_name(arn), looked, part="shared files") for looked in found if looked)


def _size(desk: Desk, arn: str) -> int | None:
    """GB, at least one; None where there is no such file system."""
    try:
        [found] = desk.client("efs").describe_file_systems(FileSystemId=_name(arn))["FileSystems"]
    except ClientError as error:
        if code_of(error) == "FileSystemNotFound":
            return None
        raise
    return max(ceil(Decimal(found["SizeInBytes"]["Value"]) / GIGABYTE), 1)


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]
