"""Steps that make the images workspaces start from, and show what came of it."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from tasks.aws import desk_of, step
from tasks.jobs import in_region
from trainmaster.settings import Settings
from trainmaster.workspaces.images import compiling
from trainmaster.workspaces.images.left import regions_with_images, settle_left
from trainmaster.workspaces.images.request import CompileImageRequest
from trainmaster.workspaces.images.results import ImageResult, compiled_result, planned_result
from trainmaster.workspaces.watch.activity import PASSING


@step(task_run_name="plan image of {request.template}")
def plan_image(request: CompileImageRequest, settings: Settings) -> ImageResult:
    """What would be made, and what that costs at most."""
    with desk_of(settings) as desk:
        planned = planned_result(compiling.planned_image(desk, request))
    get_run_logger().info("%s Steps: %s.", planned.sentence(), "; ".join(planned.steps) or "none")
    return planned


@step(task_run_name="make image of {request.template}")
def make_image(request: CompileImageRequest, settings: Settings) -> ImageResult:
    """Paid for, made step by step, and ready; what is there of it already is not made again."""
    with desk_of(settings) as desk:
        return compiled_result(compiling.compile_image(desk, request, get_run_logger().info))


@step(task_run_name="settle images")
def settle_images(settings: Settings) -> list[dict[str, str]]:
    """Bill or release what runs that were never started again left reserved for images, in every region; what was done, in rows of a table.

    A region that AWS refuses or that does not answer is a row, and keeps no other from being looked at.
    """
    with desk_of(settings) as desk:
        regions = regions_with_images(desk)
    rows: list[dict[str, str]] = []
    for region in regions:
        try:
            with desk_of(in_region(settings, region)) as desk:
                rows += [left.row() for left in settle_left(desk)]
        except PASSING as error:
            get_run_logger().warning("What is reserved for images in %s is not settled: %s", region, error)
            rows.append(
                {"job": f"images in {region}", "what": "failed", "why": str(error), "reserved": "", "billed": ""}
            )
    return rows


@step(task_run_name="report on image of {result.template}")
def report_image(result: ImageResult) -> None:
    """A table of what it is, what making it costs and what was done."""
    get_run_logger().info("%s", result.sentence())
    key = "image-plan" if result.dry_run else "image"
    create_table_artifact(key=key, table=result.table(), description=result.sentence())
