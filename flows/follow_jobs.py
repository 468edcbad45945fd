"""Follow every training job that no flow run follows: its row, progress and last log lines, its bill when it ends, its stop when due.
Started every two minutes by its schedule; any number may run at once, and again.
Leaves rows and books true, and a table of the jobs it follows with what it did.
"""

from __future__ import annotations

from prefect import flow

from tasks.jobs import find_jobs_to_follow, read_new_lines, report_sweep, require_all_tended, tend_batch
from trainmaster.settings import Settings
from trainmaster.training.sweeping import FollowJobsRequest, Sweep


@flow(name="follow-jobs", flow_run_name="follow jobs")
def follow_jobs(request: FollowJobsRequest) -> Sweep:
    settings, sweep = Settings(), Sweep()
    jobs = find_jobs_to_follow(settings)
    read = read_new_lines(jobs, settings, return_state=True) if jobs else None
    for batch in request.batches(jobs):
        sweep.add(tend_batch(batch, settings))
    report_sweep(sweep, return_state=True)  # a report that fails spoils no books
    if read:
        sweep.lines = read.result()  # fails only now: a log that cannot be read keeps no job from being looked after
    require_all_tended(sweep.failures)
    return sweep
