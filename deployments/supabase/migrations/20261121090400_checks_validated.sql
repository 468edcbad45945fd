-- The CHECKs of 20261121090000 and 20261121090300 hold for the rows that were there before them too. In a transaction of its
-- own: a validation reads the whole table, and alone it does so under a lock that lets others read and write.

select set_config('lock_timeout', '5s', true);

alter table public.training_datasets validate constraint training_datasets_storage_provider_check;
alter table public.cloud_deployments validate constraint cloud_deployments_platform_check;
