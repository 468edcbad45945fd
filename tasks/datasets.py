"""Steps that bring a dataset from where its user has it into storage and catalogue."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.aws import client, step
from trainmaster.datasets.report import DatasetReport
from trainmaster.datasets.request import SweepRequest, SweptUploads, UploadDatasetRequest, UploadedDataset
from trainmaster.datasets.showing.markdown import as_markdown, plain
from trainmaster.datasets.showing.wording import verdict
from trainmaster.settings import Settings
from trainmaster.storage import intake
from trainmaster.storage.library import open_library
from trainmaster.storage.removing import sweep
from trainmaster.storage.sources import Source
from trainmaster.storage.uploading import NewDataset, upload

OTHERS_MAY_BE_DONE = 8
"""Retries, together nine minutes: a claim that a killed upload left has run out long before."""


@step(task_run_name="choose stores")
def choose_stores(request: UploadDatasetRequest, settings: Settings) -> None:
    """Refused, before anything is fetched, when a store that was chosen is not set up."""
    with open_library(settings, partial(client, settings, "s3")) as library:
        for store in intake.require_stores(library, request, settings):
            get_run_logger().info("It will be stored in %s, bucket %s.", store.provider, store.bucket)


@step(task_run_name="fetch")
def fetch_source(request: UploadDatasetRequest, folder: Path, settings: Settings) -> Source:
    """The file where it can be read; downloaded when it is not on this machine."""
    source = intake.fetch_source(request, folder, settings, partial(client, settings, "s3"))
    get_run_logger().info("%s: %s bytes.", source.uri, f"{source.path.stat().st_size:,}")
    return source


@step(task_run_name="check")
def check_source(request: UploadDatasetRequest, source: Source, folder: Path) -> DatasetReport:
    """Read the whole file, find all that is wrong with it, and write what is to be stored."""
    report = intake.check_source(request, source, folder)
    get_run_logger().info("%s", verdict(report))
    return report


@step(task_run_name="report on the check")
def report_check(report: DatasetReport) -> None:
    """A page with the verdict, what is in the dataset and a picture of it; and the problems as a table to search."""
    said = plain(verdict(report))
    create_markdown_artifact(as_markdown(report), key="dataset-check", description=said)
    if report.problems:
        create_table_artifact(_problems(report), key="dataset-problems", description=said)


@step(task_run_name="store", retries=OTHERS_MAY_BE_DONE)
def store_dataset(request: UploadDatasetRequest, new: NewDataset, settings: Settings) -> UploadedDataset:
    """Put each copy, verify it, catalogue it; what abandoned uploads left is removed first."""
    logger = get_run_logger()
    with open_library(settings, partial(client, settings, "s3")) as library:
        for left in sweep(library, sparing=new.id).objects:
            logger.info("Removed what an abandoned upload had left: %s", left)
        uploaded = upload(library, new, intake.providers_of(request))
    for warning in uploaded.warnings:
        logger.warning("%s", warning)
    return uploaded


@step(task_run_name="report on {uploaded.name}")
def report_upload(uploaded: UploadedDataset) -> None:
    """Where the dataset is now, and what did not work."""
    get_run_logger().info("%s", uploaded.sentence())
    table = [{"what": row["what"], "value": plain(row["value"])} for row in uploaded.table()]
    create_table_artifact(key="dataset", table=table, description=plain(uploaded.sentence()))


@step(task_run_name="sweep")
def sweep_stores(request: SweepRequest, settings: Settings) -> SweptUploads:
    """Remove objects that nobody vouches for or works on any more."""
    with open_library(settings, partial(client, settings, "s3")) as library:
        removed = sweep(library, request.limit)
    swept = SweptUploads(removed=list(removed.objects), left=list(removed.left))
    get_run_logger().info("%s", swept.sentence())
    return swept


@step(task_run_name="report on the sweep")
def report_sweep(swept: SweptUploads) -> None:
    """A table of what is left to be removed, if anything is."""
    if swept.left:
        create_table_artifact(
            key="swept-uploads", table=[{"left": one} for one in swept.left], description=swept.sentence()
        )


def _problems(report: DatasetReport) -> list[dict[str, Any]]:
    """Cells are shown as Markdown, and what is found in a file may be any."""
    return [
        {
            "where": f"{problem.unit} {problem.number or ''}".strip(),
            "place": plain(problem.place or ""),
            "kind": problem.kind,
            "found": plain(problem.found),
            "wanted": plain(problem.wanted),
        }
        for problem in report.problems
    ]
