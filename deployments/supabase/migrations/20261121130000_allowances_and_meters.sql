-- What the books need for what is approved beyond a budget and for what is paid by the hour: allowances, and what was really
-- there, are added and never changed, like entries; who tells people of a threshold is noted until they were told. Closed to
-- everybody but the service.

select set_config('lock_timeout', '5s', true);

create table if not exists public.budget_allowances (
  position bigint primary key,
  budget text not null,
  month text not null,
  limit_position bigint not null,
  amount numeric not null,
  key text not null,
  set_by text not null,
  at timestamptz not null
);
create index if not exists budget_allowances_budget_idx on public.budget_allowances (budget, month);

create table if not exists public.budget_sightings (
  meter text primary key,
  at timestamptz not null
);

create table if not exists public.budget_tellings (
  budget text not null,
  month text not null,
  percent integer not null,
  handed_at timestamptz not null,
  told_at timestamptz,
  primary key (budget, month, percent)
);

create index if not exists budget_entries_resource_idx on public.budget_entries (resource, position);

do $$
declare
  ours text;
  visitor name;
begin
  foreach ours in array array['budget_allowances', 'budget_sightings', 'budget_tellings'] loop
    execute format('alter table public.%I enable row level security', ours);
    execute format('revoke all on public.%I from public', ours);
    for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
      execute format('revoke all on public.%I from %I', ours, visitor);
    end loop;
  end loop;
  foreach ours in array array['budget_allowances', 'budget_sightings'] loop
    execute format(
      'create or replace trigger append_only before update or delete on public.%I'
      ' for each row execute function public.trainmaster_append_only()', ours
    );
  end loop;
end
$$;
