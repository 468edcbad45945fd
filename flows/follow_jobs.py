"""Follow every training job that no flow run follows: its row, progress and last log lines, its bill when it ends, its stop when due.
Started every two minutes by its schedule; any number may run at once, and again.
Leaves rows and books true, models that were trained in the registry, and a table of the jobs it follows with what it did.
"""

from prefect import flow

from tasks.jobs import (
    find_jobs_to_follow,
    in_region,
    read_new_lines,
    report_sweep,
    require_all_tended,
    result_in,
    tend_batch,
)
from tasks.registry import register_model
from trainmaster.settings import Settings
from trainmaster.training.sweeping import FollowJobsRequest, Sweep


@flow(name="follow-jobs", flow_run_name="follow jobs")
def follow_jobs(request: FollowJobsRequest) -> Sweep:
    settings, sweep = Settings(), Sweep()
    found = find_jobs_to_follow(settings)
    sweep.add(found.failed)
    for region, jobs in found.jobs.items():
        here = in_region(settings, region)
        # What fails is said at the end: neither a log nor a region keeps other jobs from being looked after.
        read = read_new_lines(jobs, here, return_state=True)
        sweep.lines += result_in(sweep, read, f"the logs in {region}") or 0
        for batch in request.batches(jobs):
            tended = tend_batch(batch, here, return_state=True)
            swept = result_in(sweep, tended, f"{batch[0]} and {len(batch) - 1} more in {region}")
            sweep.add(swept or [])
            for job in [one.job for one in swept or [] if one.trained]:
                result_in(sweep, register_model(job, here, return_state=True), f"the model of {job}")
    report_sweep(sweep, return_state=True)  # a report that fails spoils no books
    require_all_tended(sweep.failures)
    return sweep
