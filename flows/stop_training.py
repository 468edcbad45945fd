"""Stop a user's training job, wait until it has ended, and book what it cost.
Started from the Prefect UI; again, or for a job that has ended, it only says how that stands.
Leaves no job running, who stopped it and why in its row, and a list of the checkpoints and artifacts it left.
"""

from prefect import flow

from tasks.jobs import report_stopped, stop_one
from trainmaster.settings import Settings
from trainmaster.training.stop_request import StoppedJob, StopRequest


@flow(name="stop-training", flow_run_name="stop {request.job}")
def stop_training(request: StopRequest) -> StoppedJob:
    stopped = stop_one(request, Settings())
    report_stopped(stopped, return_state=True)  # a report that fails changes nothing
    return stopped
