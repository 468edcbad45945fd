-- Deployments as they are looked for: those of a user, newest first; those of a job, by its name; those whose jobs have not ended.
-- Plain ones in a file of their own, as for the dataset picker.

select set_config('lock_timeout', '5s', true);

create index if not exists cloud_deployments_listing_idx on public.cloud_deployments (user_id, created_at desc, id desc);
create index if not exists cloud_deployments_job_idx on public.cloud_deployments (deployment_id, created_at desc);
create index if not exists cloud_deployments_open_idx on public.cloud_deployments (created_at, id)
  where platform = 'sagemaker' and completed_at is null;
