-- Every dataset is in Supabase Storage again. Refused while one is not: without the column nobody would find its bytes.

select set_config('lock_timeout', '5s', true);

do $$
declare
  elsewhere bigint;
begin
  if exists (
    select from pg_attribute
    where attrelid = 'public.training_datasets'::regclass and attname = 'storage_provider' and not attisdropped
  ) then
    lock table public.training_datasets in access exclusive mode;
    select count(*) into elsewhere from public.training_datasets where storage_provider <> 'supabase';
    if elsewhere > 0 then
      raise exception '% dataset(s) lie in S3, which the way back would forget', elsewhere
        using hint = 'Move them to Supabase or delete them: select id, user_id from training_datasets where storage_provider = ''s3''.';
    end if;
    alter table public.training_datasets drop column storage_provider;  -- its CHECK and index go with it
  end if;
end
$$;
