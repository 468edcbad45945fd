"""Follow every training job that no flow run follows: its row, progress and last log lines, its bill when it ends, its stop when due.
Started every two minutes by its schedule; any number may run at once, and again.
Leaves rows and books true, and a table of the jobs it follows with what it did.
"""

from __future__ import annotations

from prefect import flow

from tasks.jobs import find_jobs_to_follow, in_region, read_new_lines, report_sweep, require_all_tended, tend_batch
from trainmaster.settings import Settings
from trainmaster.training.sweeping import FollowJobsRequest, Sweep


@flow(name="follow-jobs", flow_run_name="follow jobs")
def follow_jobs(request: FollowJobsRequest) -> Sweep:
    settings, sweep, reads = Settings(), Sweep(), []
    for region, jobs in find_jobs_to_follow(settings).items():
        here = in_region(settings, region)
        reads.append(read_new_lines(jobs, here, return_state=True))  # fails further down: the jobs come first
        for batch in request.batches(jobs):
            sweep.add(tend_batch(batch, here))
    report_sweep(sweep, return_state=True)  # a report that fails spoils no books
    require_all_tended(sweep.failures)
    sweep.lines = sum(read.result() for read in reads)
    return sweep
