"""The page of a run that opened or closed a workspace, or would: what it is, what it costs, what now. It lets nobody in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainmaster.aws.console import domain_page, instance_page
from trainmaster.datasets.showing.markdown import plain
from trainmaster.reporting.page import facts, links, page
from trainmaster.workspaces.results import WorkspaceResult
from trainmaster.workspaces.workspace import Workspace


def workspace_page(result: WorkspaceResult, row: Workspace | None) -> str:
    """Markdown; `row` is the workspace's in the catalogue, where there is one."""
    return page(f"Workspace {result.name}", result.sentence(), _sections(result, row))


def _sections(result: WorkspaceResult, row: Workspace | None) -> Iterator[tuple[str, str]]:
    refusals = [*result.violations, *([result.over_budget] if result.over_budget else [])]
    yield "Why it would be refused", "\n".join(f"- {plain(one)}" for one in refusals)
    told = {row["what"]: row["value"] for row in result.table() if row["value"] not in refusals}
    costs = {what: value for what, value in told.items() if what.startswith(("an hour", "budget"))}
    if row and row.auto_stop_minutes and result.action == "open":
        costs["if nobody uses it"] = f"it is stopped after {row.auto_stop_minutes} idle minutes"
    happened = [(what, value) for what, value in told.items() if what not in costs]
    yield "What would happen" if result.dry_run else "What happened", facts(happened)
    yield "What it costs", facts(costs.items())
    yield "What now", _now(result)
    yield "In AWS", links(_links(row)) if row and result.status != "deleted" else ""


def _now(result: WorkspaceResult) -> str:
    name = plain(result.name)
    if result.dry_run:
        return "Nothing was done. Turn dry_run off to do it." if not result.violations else "Ask for what the policy gives you, or ask an owner."  # fmt: skip
    if result.status == "running":
        return f"`trainmaster connect {name}` says how to get in. `close-workspace` stops it, and its files are kept."
    if result.status == "deleted":
        return "Nothing of it is left, and nothing is billed any more. `open-workspace` makes another of that name."
    return f"`trainmaster start {name}` or `open-workspace` brings it back; delete it by `close-workspace` to end what its files cost."  # fmt: skip


def _links(row: Workspace) -> Iterator[tuple[str, str]]:
    parts: Mapping[str, str] = row.resources
    if instance := parts.get("instance_id"):
        yield "Its machine", instance_page(row.resource, instance)
    if domain := parts.get("domain_id"):
        yield "Its Studio domain", domain_page(row.resource, domain)
