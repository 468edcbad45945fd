-- Deployments are looked for without their indexes.

select set_config('lock_timeout', '5s', true);

drop index if exists public.cloud_deployments_listing_idx;
drop index if exists public.cloud_deployments_job_idx;
drop index if exists public.cloud_deployments_open_idx;
