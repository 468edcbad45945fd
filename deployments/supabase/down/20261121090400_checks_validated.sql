-- The CHECKs hold for new rows only again.

select set_config('lock_timeout', '5s', true);

do $$
declare
  validated record;
begin
  for validated in
    select conrelid::regclass as of_table, conname, pg_get_constraintdef(oid) as definition
    from pg_constraint
    where convalidated
      and (conrelid, conname) in (
        (to_regclass('public.training_datasets'), 'training_datasets_storage_provider_check'),
        (to_regclass('public.cloud_deployments'), 'cloud_deployments_platform_check')
      )
      -- Once the migration that made it is undone, a CHECK of that name is the application's own.
      and (conname <> 'cloud_deployments_platform_check' or to_regclass('public.retired_platforms') is not null)
  loop
    execute format('alter table %s drop constraint %I', validated.of_table, validated.conname);
    execute format('alter table %s add constraint %I %s not valid', validated.of_table, validated.conname, validated.definition);
  end loop;
end
$$;
