"""What to do about datasets that a phase could not do, or was not to do, anything for."""

COPY_FIRST = "Run migrate-datasets with phase copy; then this again."
COPY_AGAIN = (
    "Copy it again: run migrate-datasets with phase rollback for this dataset (its id in dataset_ids) and take_newer"
    " (--take-newer), which makes Supabase's bytes the ones that count and deletes S3's; then with phase copy. If S3's are the"
    " right ones, remove the object in Supabase, and phase rollback puts S3's back there (its id in dataset_ids again)."
)
HEAL = (
    "Supabase has the bytes as they were, which count: run migrate-datasets with phase rollback for this dataset, then with phase"
    " copy, and it is copied again (`trainmaster datasets migrate rollback --dataset ID`, then `copy --dataset ID`)."
)
HEALS_ITSELF = (
    "Supabase, where readers get it, has the bytes as they were: the next run with phase copy copies it again."
)
NO_OTHER = (
    "No other copy is known to be good. Upload the same file under the same name again, which puts every copy right; or restore"
    " the object from an older version or a backup of the bucket: verify-copies clears this once the bytes are right again."
)
RUN_AGAIN = "The next run looks again."
TRY_AGAIN = "Once that is remedied, the next run tries again."
PROMOTE_FIRST = (
    "Run migrate-datasets with phase promote if Supabase's copy is to go; once its grace period is over, this again."
)
NOBODYS = (
    "Readers get S3. Look at the object in Supabase: no dataset names it; upload it as one of its own if it is to stay."
)
SWEPT = "Readers get S3. The sweep of uploads (sweep-uploads) removes what is left in Supabase."
DROPPED_DIFFER = (
    "Look at both, whose names end with .dropped.jsonl.gz, and remove the wrong one: once S3's is gone, the next run copies"
    " Supabase's there; once Supabase's is, S3's is kept."
)
LOOK_AT_IT = (
    "Look at both. If S3's are right, remove that object in Supabase and run this again; if Supabase's are, upload them as a"
    " dataset of their own."
)
NEVER_THERE = (
    "Nothing is to be undone. Name the dataset in dataset_ids if readers are to get it from Supabase all the same."
)
UPLOAD_ANEW = "Upload the dataset anew, or restore its object from a backup."
