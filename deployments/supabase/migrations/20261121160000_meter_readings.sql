-- How much of what may cost money by the hour runs at a time: readings of its meter, added and never changed, like entries. Closed to
-- everybody but the service.

select set_config('lock_timeout', '5s', true);

create table if not exists public.budget_readings (
  meter text not null,
  at timestamptz not null,
  running numeric not null,
  most numeric not null,
  what text not null,
  primary key (meter, at)
);

do $$
declare
  visitor name;
begin
  alter table public.budget_readings enable row level security;
  revoke all on public.budget_readings from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.budget_readings from %I', visitor);
  end loop;
end
$$;

create or replace trigger append_only before update or delete on public.budget_readings
  for each row execute function public.trainmaster_append_only();
