"""A job stopped from a terminal: asked for, confirmed, and what it leaves behind."""

from __future__ import annotations

import getpass

from trainmaster.aws.polling import Patience
from trainmaster.catalog.deployments import Deployment
from trainmaster.commands.train_reporting import note
from trainmaster.commands.train_showing import Seen
from trainmaster.training.desk import Desk
from trainmaster.training.following import STOP_SECONDS
from trainmaster.training.looking import describe
from trainmaster.training.stopping import await_stopped
from trainmaster.training.tending import tend


def stop(desk: Desk, deployment: Deployment, why: str) -> Seen:
    """The job once AWS says that it has ended, however it did. Raises WaitTimedOutError when it does not end in ten minutes.

    Safe to repeat. The wish is kept first: whatever becomes of this command, the sweeps stop the job.
    """
    name = deployment.deployment_id
    if not deployment.has_ended:
        desk.deployments.ask_stop(deployment.id, by=getpass.getuser(), why=why)
    description = describe(desk.client("sagemaker"), name)
    if description is None:
        return Seen(desk.deployments.find(name) or deployment, desk.ledger.find(name))
    tended = tend(desk, name, description)
    if tended.deployment and not tended.deployment.has_ended:
        note(f"{name} is told to stop; AWS gives it two minutes to put down what it has. Ctrl-C does not call it back.")
        patience = Patience(desk.settings.poll_seconds, desk.settings.outage_seconds, STOP_SECONDS)
        description = await_stopped(desk.client("sagemaker"), name, patience)
        tended = tend(desk, name, description)
    return Seen(tended.deployment or deployment, tended.reservation, description)
