-- Fails loudly unless Lambda Labs is retired everywhere: run it after the migrations, and whenever in doubt. Changes nothing.

do $$
declare
  left_over text;
begin
  select string_agg(format('%s (%s)', id, platform), ', ' order by id) into left_over
  from (
    select id, platform from public.cloud_deployments where platform in ('lambda', 'lambda-labs') order by id limit 20
  ) some_of_them;
  if left_over is not null then
    raise exception '% deployment(s) are still on Lambda Labs: %',
      (select count(*) from public.cloud_deployments where platform in ('lambda', 'lambda-labs')), left_over
      using hint = 'Apply deployments/supabase/migrations/20261121090300_retire_lambda.sql.';
  end if;

  select string_agg(conname, ', ') into left_over
  from pg_constraint
  join pg_attribute platform on platform.attrelid = conrelid and platform.attname = 'platform'
  where conrelid = 'public.cloud_deployments'::regclass
    and contype = 'c'
    and conkey = array[platform.attnum]
    and pg_get_constraintdef(oid) like '%''lambda%';
  if left_over is not null then
    raise exception 'a CHECK of cloud_deployments still lets Lambda Labs in: %', left_over;
  end if;

  if not exists (
    select from pg_constraint
    where conrelid = 'public.cloud_deployments'::regclass and conname = 'cloud_deployments_platform_check' and convalidated
  ) then
    raise exception 'cloud_deployments has no validated CHECK of its platforms'
      using hint = 'Apply deployments/supabase/migrations/20261121090400_checks_validated.sql.';
  end if;
end
$$;
