-- What `stop-idle` stopped and what an hour of it cost, by which the weekly report says what that saved. Added to and never changed,
-- closed to everybody but the service.

select set_config('lock_timeout', '5s', true);

create table if not exists public.idle_stops (
  meter text not null,
  at timestamptz not null,
  resource text not null,
  user_id uuid,
  team text,
  hourly numeric not null,
  reason text not null,
  primary key (meter, at)
);

create index if not exists idle_stops_at_idx on public.idle_stops (at);

do $$
declare
  visitor name;
begin
  alter table public.idle_stops enable row level security;
  revoke all on public.idle_stops from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.idle_stops from %I', visitor);
  end loop;
end
$$;

create or replace trigger append_only before update or delete on public.idle_stops
  for each row execute function public.trainmaster_append_only();
