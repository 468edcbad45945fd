"""Remove what abandoned uploads and half-way deletions left in the stores: objects no catalogue row vouches for.
Started every hour by its schedule; any number may run at once, and again.
Leaves only what is catalogued or still being worked on, and a table of what could not be removed yet.
"""

from prefect import flow

from tasks.datasets import report_sweep, sweep_stores
from trainmaster.datasets.request import SweepRequest, SweptUploads
from trainmaster.settings import Settings


@flow(name="sweep-uploads", flow_run_name="sweep uploads")
def sweep_uploads(request: SweepRequest) -> SweptUploads:
    swept = sweep_stores(request, Settings())
    report_sweep(swept)
    return swept
