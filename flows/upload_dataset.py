"""Check a dataset and store it where the user chose, catalogued with its statistics; or say all that is wrong with it.
Started from the Prefect UI; the same upload again finds what is there, and completes what is not.
Leaves the dataset in Supabase, S3 or both, a row in the catalogue, and a report with a picture; of a refused file only the report.
"""

from prefect import flow

from tasks.datasets import check_source, choose_stores, fetch_source, report_check, report_upload, store_dataset
from trainmaster.datasets.request import UploadDatasetRequest, UploadedDataset
from trainmaster.settings import Settings
from trainmaster.storage.intake import accepted
from trainmaster.storage.working_folder import working_folder


@flow(name="upload-dataset", flow_run_name="upload {request.name}")
def upload_dataset(request: UploadDatasetRequest) -> UploadedDataset:
    settings = Settings()
    choose_stores(request, settings)
    with working_folder(settings.state_dir / "uploads") as folder:
        source = fetch_source(request, folder, settings)
        report = check_source(request, source, folder)
        report_check(report, return_state=True)  # a report that fails spoils no upload
        new = accepted(request, source, report, folder, settings)
        uploaded = store_dataset(request, new, settings)
    report_upload(uploaded, return_state=True)
    return uploaded
