-- How far each reader of a training job's log has come. Nobody but the service reads it.

select set_config('lock_timeout', '5s', true);

create table if not exists public.log_positions (
  job text not null,
  reader text not null,
  stream text not null,
  token text,
  at timestamptz not null,
  primary key (job, reader, stream)
);

do $$
declare
  visitor name;
begin
  alter table public.log_positions enable row level security;
  revoke all on public.log_positions from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.log_positions from %I', visitor);
  end loop;
end
$$;
