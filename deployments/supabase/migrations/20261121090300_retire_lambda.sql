-- Lambda Labs is retired: its deployments (lambda, lambda-labs) become SageMaker's, with a note in their config.
--
-- What each was is kept in retired_platforms, beside the table and not in the note: people edit configs, and a config that is
-- no object has no room. The CHECKs the platform had are kept in retired_platform_checks. The way back needs nothing else.
--
-- One statement, so that it is done whole or not at all however it is run. The first run exchanges the CHECKs, a further one
-- finds them exchanged. The old CHECK goes before any row changes: it may not know sagemaker. Those rows that are there are
-- checked against the new one by 20261121090400.

select set_config('lock_timeout', '5s', true);

do $$
declare
  first_run constant boolean := to_regclass('public.retired_platforms') is null;
  old record;
  unknown text;
  visitor name;
begin
  lock table public.cloud_deployments in access exclusive mode;

  if first_run then
    create table public.retired_platforms (
      deployment_id uuid primary key references public.cloud_deployments (id) on delete cascade,
      platform text not null,
      config jsonb,
      noted_config jsonb not null,
      retired_at timestamptz not null default now()
    );
    create table public.retired_platform_checks (
      name text primary key,
      definition text not null
    );
    alter table public.retired_platforms enable row level security;
    alter table public.retired_platform_checks enable row level security;
    revoke all on public.retired_platforms, public.retired_platform_checks from public;
    for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
      execute format('revoke all on public.retired_platforms, public.retired_platform_checks from %I', visitor);
    end loop;

    -- Found by what they say: their names are the application's.
    for old in
      select conname, pg_get_constraintdef(check_.oid) as definition
      from pg_constraint check_
      join pg_attribute platform on platform.attrelid = check_.conrelid and platform.attname = 'platform'
      where check_.conrelid = 'public.cloud_deployments'::regclass
        and contype = 'c'
        and conkey = array[platform.attnum]
        and (pg_get_constraintdef(check_.oid) like '%''lambda%' or conname = 'cloud_deployments_platform_check')
    loop
      insert into public.retired_platform_checks (name, definition) values (old.conname, old.definition);
      execute format('alter table public.cloud_deployments drop constraint %I', old.conname);
    end loop;
  end if;

  -- `||` takes objects only for what we mean: of NULL it makes NULL, of an array a longer one, of a scalar an array. Where there
  -- is no object the note becomes one, and keeps what was there.
  with retired as (
    insert into public.retired_platforms (deployment_id, platform, config, noted_config)
    select
      id,
      platform,
      config,
      case when jsonb_typeof(config) = 'object' then config else '{}' end || jsonb_build_object(
        'retired_platform',
        jsonb_build_object('platform', platform, 'reason', 'Lambda Labs is retired. This deployment counts as SageMaker''s.')
        || case
          when config is null or jsonb_typeof(config) = 'object' then '{}'
          else jsonb_build_object('config', config)
        end
      )
    from public.cloud_deployments
    where platform in ('lambda', 'lambda-labs')
    returning deployment_id, noted_config
  )
  update public.cloud_deployments deployment
  set platform = 'sagemaker', config = retired.noted_config
  from retired
  where deployment.id = retired.deployment_id;

  if first_run then
    select string_agg(distinct platform, ', ') into unknown
    from public.cloud_deployments
    where platform not in ('kaggle', 'runpod', 'sagemaker', 'huggingface-spaces', 'local-vllm', 'google-colab');
    if unknown is not null then
      raise exception 'cloud_deployments has platforms the new CHECK would refuse: %', unknown
        using hint = 'Give these deployments a platform of today, or delete them, and apply this migration again.';
    end if;

    alter table public.cloud_deployments add constraint cloud_deployments_platform_check
      check (platform in ('kaggle', 'runpod', 'sagemaker', 'huggingface-spaces', 'local-vllm', 'google-colab')) not valid;
  end if;
end
$$;
