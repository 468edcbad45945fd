"""Read copies in S3 again and hold every byte against the catalogue: a sample, those first that were not read for longest, or all.
Started every week by its schedule and by hand from the Prefect UI; any number of runs may be at work at once, and again.
Leaves in the catalogue when each was proven and which are damaged; fails if any are, with a table of them and what to do.
"""

from prefect import flow

from tasks.migration import name_of_verification, verify
from tasks.migration_reports import ended_as, report_verification
from trainmaster.migration.outcomes import VerifiedCopies
from trainmaster.migration.request import VerifyCopiesRequest


@flow(name="verify-copies", flow_run_name=name_of_verification)
def verify_copies(request: VerifyCopiesRequest) -> VerifiedCopies:
    verified = verify(request)
    report_verification(verified, return_state=True)  # a report that fails hides no damage
    return ended_as(verified)
