-- Datasets say where their bytes lie: in Supabase Storage, as all did until now, or in the user's S3 bucket.
--
-- A constant default adds the column without rewriting the table. The CHECK holds for new rows from now on; those that are
-- there are looked at by 20261121090400, under a lock that lets others write.

select set_config('lock_timeout', '5s', true);

alter table public.training_datasets add column if not exists storage_provider text not null default 'supabase';

do $$
begin
  -- The application may have made the column itself, and say nothing of the datasets that are older.
  if exists (
    select from pg_attribute
    where attrelid = 'public.training_datasets'::regclass and attname = 'storage_provider' and not attnotnull
  ) then
    update public.training_datasets set storage_provider = 'supabase' where storage_provider is null;
    alter table public.training_datasets
      alter column storage_provider set default 'supabase', alter column storage_provider set not null;
  end if;

  if not exists (
    select from pg_constraint
    where conrelid = 'public.training_datasets'::regclass and conname = 'training_datasets_storage_provider_check'
  ) then
    alter table public.training_datasets add constraint training_datasets_storage_provider_check
      check (storage_provider in ('supabase', 's3')) not valid;
  end if;
end
$$;

comment on column public.training_datasets.storage_provider is
  'Where the object at storage_path lies: supabase (bucket training-datasets) or s3 (the bucket of the dataset''s user).';
