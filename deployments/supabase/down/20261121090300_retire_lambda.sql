-- The deployments that were Lambda Labs' are so again, those and no others, with the configs they had; the CHECKs are what they
-- were. What was changed since stays changed: a deployment moved to another platform keeps it; a config somebody edited keeps
-- the edit and loses only our note (where there was no object before, it keeps the note: what was there is in it).

select set_config('lock_timeout', '5s', true);

do $$
declare
  old record;
begin
  if to_regclass('public.retired_platforms') is null then
    return;
  end if;
  lock table public.cloud_deployments in access exclusive mode;

  -- Before any row changes: it does not know lambda.
  alter table public.cloud_deployments drop constraint if exists cloud_deployments_platform_check;

  update public.cloud_deployments deployment
  set
    platform = case when deployment.platform = 'sagemaker' then retired.platform else deployment.platform end,
    config = case
      when deployment.config = retired.noted_config then retired.config
      when jsonb_typeof(deployment.config) = 'object'
        and deployment.config -> 'retired_platform' = retired.noted_config -> 'retired_platform'
        and (retired.config is null or jsonb_typeof(retired.config) = 'object')
      then deployment.config - 'retired_platform' || case
        when retired.config ? 'retired_platform'
        then jsonb_build_object('retired_platform', retired.config -> 'retired_platform')
        else '{}'
      end
      else deployment.config
    end
  from public.retired_platforms retired
  where retired.deployment_id = deployment.id;

  for old in select name, definition from public.retired_platform_checks loop
    begin
      execute format('alter table public.cloud_deployments add constraint %I %s', old.name, old.definition);
    exception when check_violation then
      -- Deployments made since are on a platform it did not know. They stay; it holds for those to come.
      raise warning 'CHECK % does not hold for every deployment made since: put back as NOT VALID', old.name;
      execute format('alter table public.cloud_deployments add constraint %I %s not valid', old.name, old.definition);
    end;
  end loop;

  drop table public.retired_platforms, public.retired_platform_checks;
end
$$;
