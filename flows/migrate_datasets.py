"""Move datasets from Supabase to S3, one phase at a time: copy, promote, prune; or back again: rollback.
Started every night by its schedule and by hand from the Prefect UI; any number of runs may be at work at once, and again.
Leaves datasets copied, verified and catalogued, never half; and in the run its plan, result, throughput, and what to do about the rest.
"""

from prefect import flow

from tasks.batching import batches_at_work
from tasks.migration import batches_of, carry_out_phase, copy_batch, name_of_migration, plan_copies
from tasks.migration_reports import Progress, ended_as, report_copies, report_phase, report_plan
from tasks.telling import say_why
from trainmaster.migration.outcomes import PhaseResult
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import MigrationResult


@flow(name="migrate-datasets", flow_run_name=name_of_migration, on_failure=[say_why])
def migrate_datasets(request: MigrateDatasetsRequest) -> MigrationResult | PhaseResult:
    result = copy_datasets(request) if request.phase == "copy" else change_phase(request)
    return ended_as(result)


def copy_datasets(request: MigrateDatasetsRequest) -> MigrationResult:
    """Until all is copied, a limit is reached, the window closes, or one end of the copies fails for all of them."""
    plan = plan_copies(request)
    report_plan(plan, return_state=True)  # reports that fail spoil no migration
    if request.rehearsed:
        return MigrationResult.of(plan, (), seconds=0.0)
    with batches_at_work(request) as at_work:
        progress = Progress(plan)
        batches = at_work.results(copy_batch, batches_of(request, plan), of=request, meanwhile=progress.show)
        copied = progress.result(at_work, batches)
    report_copies(copied, progress.stretches, return_state=True)
    return copied


def change_phase(request: MigrateDatasetsRequest) -> PhaseResult:
    """Promote, prune or roll back; a dry run asks the catalogue and the stores the same, and changes nothing."""
    changed = carry_out_phase(request)
    report_phase(changed, return_state=True)
    return changed
