-- Workspaces of users: a row for each name, written before anything is made for it. Closed to everybody but the service.

select set_config('lock_timeout', '5s', true);

create table if not exists public.workspaces (
  id uuid primary key,
  user_id uuid,
  name text not null,
  template text not null,
  service_type text not null,
  connection_type text not null,
  account text not null,
  region text not null,
  team text not null,
  instance_type text not null,
  volume_gb integer not null,
  hourly_cost numeric not null,
  storage_hourly_cost numeric not null,
  fingerprint text not null,
  status text not null,
  created_at timestamptz not null,
  spec jsonb not null,
  resources jsonb not null,
  incarnation integer not null,
  auto_stop_minutes integer,
  keep_until timestamptz,
  seen_at timestamptz,
  detail text not null,
  used_at timestamptz,
  warned text not null
);

create index if not exists workspaces_place_idx on public.workspaces (account, region, name);

do $$
declare
  visitor name;
begin
  alter table public.workspaces enable row level security;
  revoke all on public.workspaces from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.workspaces from %I', visitor);
  end loop;
end
$$;
